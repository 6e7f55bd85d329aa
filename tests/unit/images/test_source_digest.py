"""By which digest an image is told from all others, and under which name anybody can have it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from gns3_minivm.base.errors import EngineError
from gns3_minivm.images.engine.client import Engine
from gns3_minivm.images.engine.image import find_image
from gns3_minivm.images.files.rootfs import find_rootfs
from gns3_minivm.images.model import SourceDigest, chain_id
from gns3_minivm.images.registry.image import find_in_registry
from gns3_minivm.images.registry.options import RegistryOptions
from tests.support.fake_registry import FakeRegistry, fake_registry
from tests.support.oci import make_image

ID = f"sha256:{'1' * 64}"
DIGEST = f"sha256:{'2' * 64}"
DIFF_IDS = [f"sha256:{'3' * 64}", f"sha256:{'4' * 64}"]


class SomeEngine:
    """An engine that has one image under these names of registries."""

    is_local = False

    def __init__(self, *names: str, registry: str = "https://index.registry.example/v1/") -> None:
        self._names = names
        self._registry = registry

    def inspect(self, _reference: str) -> dict[str, Any]:
        return {"Id": ID, "Os": "linux", "Architecture": "amd64", "RepoTags": ["debian:12"],
                "RepoDigests": list(self._names), "RootFS": {"Layers": DIFF_IDS}, "Config": {}}  # fmt: skip

    def default_registry(self) -> str:
        if not self._registry:
            raise EngineError("it does not say")
        return self._registry.split("/")[2]


@pytest.mark.parametrize(
    ("names", "registry", "wanted"),
    [
        ((), "https://r.example/", SourceDigest(ID)),
        ((f"h.example:5000/t/x@{DIGEST}",), "", SourceDigest(DIGEST, "h.example:5000/t/x")),
        ((f"debian@{DIGEST}",), "https://index.registry.example/v1/", SourceDigest(DIGEST, "registry.example/debian")),
        ((f"debian@{DIGEST}",), "", SourceDigest(ID)),
        ((f"a.example/other@{DIGEST}", f"z.example/debian@{ID}"), "", SourceDigest(ID, "z.example/debian")),
        (("<none>@<none>", "no digest"), "", SourceDigest(ID)),
        ((f"gns3-minivm/debian-minivm@{DIGEST}",), "https://r.example/", SourceDigest(ID)),
    ],
)
def test_an_engines_image_has_the_digest_of_the_registry_that_it_knows_of(
    names: tuple[str, ...], registry: str, wanted: SourceDigest
) -> None:
    image = find_image(cast(Engine, SomeEngine(*names, registry=registry)), "debian:12")
    assert image.source_digest == wanted


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry(make_image([b"a layer"])) as server:
        yield server


def test_a_registrys_image_has_the_digest_of_its_manifest(registry: FakeRegistry) -> None:
    found = find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {}).source_digest
    assert found == SourceDigest(registry.tags["1"], f"{registry.host}/team/app")
    assert found.pinned == f"{registry.host}/team/app@{registry.tags['1']}"
    again = find_in_registry(found.pinned, RegistryOptions(), {})
    assert again.source_digest == found


def test_a_name_without_a_host_is_pinned_to_the_registry_and_never_to_this_users_mirror(registry: FakeRegistry) -> None:
    # The registry itself does not answer: what is found comes from the mirror.
    options = RegistryOptions(default="127.0.0.1:9", mirrors={"127.0.0.1:9": (registry.host,)})
    assert find_in_registry("team/app:1", options, {}).source_digest.repository == "127.0.0.1:9/team/app"


def test_an_archive_is_known_by_the_chain_of_its_layers(tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    image = find_rootfs(str(path))
    assert image.source_digest == SourceDigest(image.info.diff_ids[0]) and not image.source_digest.pinned
    text = f"{DIFF_IDS[0]} {DIFF_IDS[1]}".encode()
    assert chain_id(DIFF_IDS) == f"sha256:{hashlib.sha256(text).hexdigest()}"
