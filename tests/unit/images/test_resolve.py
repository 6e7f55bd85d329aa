"""A name means an appliance first, then an image of the engine; what is not found is told with what comes close."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from gns3_minivm.appliances import Appliances
from gns3_minivm.base.errors import BugError, EngineError, ImageNotFoundError, UsageError
from gns3_minivm.base.events import Events
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images.engine.client import Engine
from gns3_minivm.images.registry.options import RegistryOptions
from gns3_minivm.images.resolve import Resolved, Sources, resolve, split_scheme
from tests.support.fake_registry import fake_registry
from tests.support.oci import make_image

BUSYBOX = b"\0[\0[[\0ash\0sh\0\0"
DIFF_ID = "sha256:" + "1" * 64


class FakeEngine(Engine):
    """An engine that holds some images, by name."""

    is_local = False

    def __init__(self, *names: str, registry: str = "") -> None:
        self.names = names
        self.registry = registry

    def default_registry(self) -> str:
        return self.registry

    def __str__(self) -> str:
        return "unix:///fake.sock"

    def inspect(self, reference: str) -> dict[str, Any]:
        if reference not in self.names and f"{reference}:latest" not in self.names:
            raise ImageNotFoundError(f"no image {reference}")
        return {"Id": "sha256:" + "ef" * 32, "Os": "linux", "Architecture": "amd64", "RootFS": {"Layers": [DIFF_ID]}}

    def image_names(self) -> list[str]:
        return list(self.names)


def no_engine() -> NoReturn:
    raise EngineError("no Docker engine answers", hint="Start it.")


def nothing() -> NoReturn:
    raise BugError("this was not needed")


def find(
    name: str, *, connect: Any = nothing, busybox: Any = nothing, folders: tuple[Path, ...] = (), registry: str = ""
) -> Resolved:
    return resolve(
        name,
        Sources(
            appliances=lambda: Appliances(folders),
            connect=connect,
            busybox=busybox,
            registries=RegistryOptions(default=registry),
        ),
        Events(),
    )


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", "/dev/null")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "by-name").mkdir()
    (tmp_path / "by-name" / "appliance.yaml").write_text(
        'name: by-name\nversion: "3"\ndescription: Some image.\nimage: team/app:1\n'
    )
    return tmp_path


def test_the_embedded_appliance_needs_no_engine() -> None:
    found = find("busybox-minivm", connect=no_engine, busybox=lambda: BUSYBOX)
    assert found.appliance is not None and found.appliance.name == "busybox-minivm"
    assert found.image.info.config == GuestConfig(cmd=("/etc/init.sh",))
    assert (found.image.info.name, found.image.info.version) == ("busybox-minivm", found.appliance.version)


def test_an_appliance_of_an_image_keeps_its_own_name(folder: Path) -> None:
    found = find("by-name", connect=lambda: FakeEngine("team/app:1"), folders=(folder,))
    assert (found.image.info.name, found.image.info.version) == ("by-name", "3")
    assert found.image.info.reference == "team/app:1"


def test_an_image_of_the_engine_is_found_by_its_name() -> None:
    found = find("team/app", connect=lambda: FakeEngine("team/app:latest"))
    assert found.appliance is None
    assert (found.image.info.name, found.image.info.version) == ("app", "latest")


def test_docker_daemon_means_the_engine_even_for_an_appliances_name() -> None:
    found = find("docker-daemon:busybox-minivm", connect=lambda: FakeEngine("busybox-minivm:latest"))
    assert found.appliance is None


def test_an_unknown_name_lists_what_comes_close() -> None:
    with pytest.raises(ImageNotFoundError) as caught:
        find("busibox-minivm", connect=lambda: FakeEngine("team/busybox-minivms:2", "other:1"))
    assert caught.value.message == (
        "'busibox-minivm' is neither an appliance nor an image of the Docker engine at unix:///fake.sock"
    )
    assert caught.value.hint.startswith("Did you mean busybox-minivm or team/busybox-minivms:2? Appliances: ")
    assert "`docker pull busibox-minivm`" in caught.value.hint


def test_without_an_engine_an_unknown_name_tells_both() -> None:
    with pytest.raises(EngineError) as caught:
        find("debian-minvm", connect=no_engine)
    assert caught.value.message == (
        "'debian-minvm' is not an appliance, and the Docker engine cannot be reached: no Docker engine answers"
    )
    assert caught.value.hint.startswith("Did you mean debian-minivm? Start it. ")
    assert "docker://HOST/NAME" in caught.value.hint and "--registry HOST" in caught.value.hint


@pytest.mark.parametrize("connect", [no_engine, FakeEngine], ids=["no-engine", "engine"])
def test_what_the_engine_has_not_is_taken_from_the_registry(connect: Any) -> None:
    with fake_registry(make_image([b"layer"])) as registry:
        for name, default in (
            (f"{registry.host}/team/app:1", ""),
            ("team/app:1", registry.host),
            ("app:1", registry.host),
        ):
            found = find(name, connect=connect, registry=default)
            assert (found.image.info.name, found.image.info.version) == ("app", "1")


def test_the_engines_image_comes_before_the_registrys() -> None:
    found = find("team/app:1", connect=lambda: FakeEngine("team/app:1"), registry="127.0.0.1:9")
    assert found.image.info.diff_ids == (DIFF_ID,)


def test_what_neither_engine_nor_registry_has_tells_both() -> None:
    with fake_registry(make_image([b"layer"])) as registry, pytest.raises(ImageNotFoundError) as caught:
        find("team/other", connect=lambda: FakeEngine(), registry=registry.host)
    assert "'team/other' is neither an appliance nor an image of the Docker engine" in caught.value.message
    assert f"the registry {registry.host} has no image team/other with 'latest'" in caught.value.message


def test_docker_with_slashes_means_the_registry_and_nothing_else() -> None:
    with fake_registry(make_image([b"layer"])) as registry:
        assert find(f"docker://{registry.host}/team/app:1").appliance is None
        assert find("docker://app:1", registry=registry.host).image.info.version == "1"
    for connect in (no_engine, FakeEngine):
        with pytest.raises(ImageNotFoundError, match="has no registry in it"):
            find("docker://busybox-minivm", connect=connect)


@pytest.mark.parametrize("name", ["docker://app:1", "app:1", "team/app:1"])
def test_a_name_without_a_registry_is_looked_for_where_the_engine_would(name: str) -> None:
    with fake_registry(make_image([b"layer"])) as registry:
        found = find(name, connect=lambda: FakeEngine(registry=registry.host))
    assert (found.image.info.name, found.image.info.version) == ("app", "1")


@pytest.mark.parametrize(
    ("options", "words"),
    [(("a b", (), ()), "HOST"), (("", ("a.example",), ()), "HOST=MIRROR"), (("", ("a=b c",), ()), "HOST"),
     (("", (), ("https://x",)), "HOST")],
)  # fmt: skip
def test_registries_that_are_none_are_refused(options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        RegistryOptions.parse(*options)


def test_an_appliance_that_is_built_needs_the_engine() -> None:
    with pytest.raises(EngineError, match="no Docker engine answers"):
        find("debian-minivm", connect=no_engine)


@pytest.mark.parametrize(
    "name",
    ["containers-storage:alpine", "dir:folder", "https://example.org/x", "x://y", "https://me:secret@example.org/x"],
)
def test_what_images_cannot_be_taken_from_is_told(name: str) -> None:
    with pytest.raises(UsageError, match=f"images cannot be read from {name.partition(':')[0]}:") as caught:
        find(name)
    assert "docker-daemon:, oci:, oci-archive:, docker-archive:, rootfs: or docker://." in caught.value.hint
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("name", ["", "  ", "docker-daemon:", "oci:", "docker://", "rootfs:"])
def test_no_name_at_all_is_told(name: str) -> None:
    with pytest.raises(UsageError, match="does not name an image"):
        find(name)


@pytest.mark.parametrize("name", ["debian:12", "docker", "example.org:5000/team/app:1", "dir", "a@sha256:" + "0" * 64])
def test_an_ordinary_name_is_not_taken_for_a_scheme(name: str) -> None:
    assert split_scheme(name) == ("", name)
