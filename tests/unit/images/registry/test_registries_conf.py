"""The user's registries.conf: plain names, aliases, mirrors and other locations; hosts that stand for a registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConfigError, ImageNotFoundError, RegistryError
from gns3_minivm.images.registry import image as registry_image
from gns3_minivm.images.registry.image import find_in_registry
from gns3_minivm.images.registry.options import RegistryOptions
from gns3_minivm.images.registry.reference import Reference, parse_reference
from gns3_minivm.images.registry.registries_conf import RegistriesConf, read_registries_conf
from tests.support.fake_registry import FakeRegistry, fake_registry
from tests.support.oci import make_image


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry(make_image([b"layer"])) as registry:
        yield registry


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "registries.conf"), "HOME": str(tmp_path)}


def write(environ: dict[str, str], text: str) -> RegistriesConf:
    Path(environ["CONTAINERS_REGISTRIES_CONF"]).write_text(text)
    return read_registries_conf(environ)


def test_plain_names_are_looked_for_in_the_registries_of_the_search_list(
    registry: FakeRegistry, environ: dict[str, str]
) -> None:
    write(environ, f'unqualified-search-registries = ["127.0.0.1:9", "{registry.host}"]')
    for name in ("team/app:1", "app:1"):
        assert find_in_registry(name, RegistryOptions(), environ).info.version == "1"


def test_a_registry_that_is_named_comes_before_the_search_list(registry: FakeRegistry, environ: dict[str, str]) -> None:
    write(environ, 'unqualified-search-registries = ["127.0.0.1:9"]\n[aliases]\n"team/app" = "127.0.0.1:9/x"')
    assert find_in_registry("team/app:1", RegistryOptions(default=registry.host), environ).info.version == "1"


def test_an_alias_stands_for_a_full_name(registry: FakeRegistry, environ: dict[str, str]) -> None:
    write(environ, f'[aliases]\n"short" = "{registry.host}/team/app"')
    assert find_in_registry("short:1", RegistryOptions(), environ).info.version == "1"
    with pytest.raises(ImageNotFoundError, match="has no registry in it"):
        find_in_registry("other:1", RegistryOptions(), environ)


def test_mirrors_and_locations_are_asked_instead_of_the_host(registry: FakeRegistry, environ: dict[str, str]) -> None:
    write(
        environ,
        f'''
        [[registry]]
        prefix = "a.example"
        location = "127.0.0.1:9"
        [[registry.mirror]]
        location = "{registry.host}"
        [[registry]]
        prefix = "b.example/deep"
        location = "{registry.host}/team"
        [[registry]]
        prefix = "*.wild.example"
        location = "{registry.host}"
        ''',
    )
    for name in ("a.example/team/app:1", "b.example/deep/app:1", "c.wild.example/team/app:1"):
        assert find_in_registry(name, RegistryOptions(), environ).info.version == "1"


def test_the_longest_prefix_counts_and_ends_at_a_slash(environ: dict[str, str]) -> None:
    conf = write(
        environ, '[[registry]]\nprefix = "a.example/x"\nlocation = "b.example"\n[[registry]]\nlocation = "a.example"'
    )
    places = {
        name: registry_image._places(parse_reference(name), RegistryOptions(), conf)
        for name in ("a.example/x/app", "a.example/xy/app")
    }
    assert places["a.example/x/app"] == [Reference("b.example", "app")]
    assert places["a.example/xy/app"] == [Reference("a.example", "xy/app")]


def test_a_blocked_registry_is_not_asked(environ: dict[str, str]) -> None:
    write(environ, '[[registry]]\nlocation = "a.example"\nblocked = true')
    with pytest.raises(RegistryError, match=r"^a\.example is blocked by the user's registries\.conf$"):
        find_in_registry("a.example/x", RegistryOptions(), environ)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "cannot be read"),
        ("unqualified-search-registries = 3", "3 is not a list"),
        ("registry = 3", "3 is not a list of tables"),
        ("[[registry]]\nblocked = true", "neither prefix nor location"),
        ("[[registry]]\nlocation = 3", "3 is not a string"),
        ("aliases = 3", "3 is not a table"),
    ],
)
def test_a_damaged_file_is_one_error_that_names_it(environ: dict[str, str], text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        write(environ, text)
    assert environ["CONTAINERS_REGISTRIES_CONF"] in caught.value.message


def test_the_users_own_file_hides_the_systems_and_drop_ins_add_to_both(tmp_path: Path) -> None:
    system, own = tmp_path / "etc", tmp_path / "home" / ".config" / "containers"
    for folder in (system, own):
        (folder / "registries.conf.d").mkdir(parents=True)
    (system / "registries.conf").write_text('unqualified-search-registries = ["system.example"]')
    (system / "registries.conf.d" / "1.conf").write_text('[aliases]\n"a" = "x.example/a"\n"b" = "x.example/b"')
    environ = {"HOME": str(tmp_path / "home")}
    assert read_registries_conf(environ, system).search == ("system.example",)
    (own / "registries.conf").write_text('unqualified-search-registries = ["own.example"]')
    (own / "registries.conf.d" / "1.conf").write_text('[aliases]\n"b" = "y.example/b"')
    found = read_registries_conf(environ, system)
    assert found.search == ("own.example",)
    assert found.aliases == {"a": "x.example/a", "b": "y.example/b"}


def test_where_there_are_no_files_nothing_is_said(tmp_path: Path) -> None:
    assert read_registries_conf({"HOME": str(tmp_path)}, tmp_path / "etc") == RegistriesConf()


def test_a_host_that_is_a_web_site_stands_for_its_index(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.page = "<html>Welcome</html>"
    with fake_registry(make_image([b"layer"])) as index:
        monkeypatch.setattr(registry_image, "_index_places", lambda place: [place.at(index.host, place.path)])
        assert find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {}).info.version == "1"
    monkeypatch.setattr(registry_image, "_index_places", lambda _: [])
    with pytest.raises(RegistryError, match="is a web site, not a registry"):
        find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (Reference("a.example", "app", "1"), ["index.a.example/app:1", "index.a.example/library/app:1"]),
        (Reference("a.example", "team/app"), ["index.a.example/team/app"]),
        (Reference("a.example:5000", "app"), []),
        (Reference("localhost", "app"), []),
        (Reference("index.a.example", "app"), []),
    ],
)
def test_only_a_plain_domain_has_an_index(place: Reference, found: list[str]) -> None:
    assert [str(one) for one in registry_image._index_places(place)] == found


def test_the_index_gets_the_credentials_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auths": {"a.example": {"auth": "bWU6c2VjcmV0"}}}')
    found = registry_image._credentials("index.a.example/team/app", {"DOCKER_CONFIG": str(tmp_path)})
    assert found is not None and (found.username, found.password) == ("me", "secret")
