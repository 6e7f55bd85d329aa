"""The catalogue file: what is in it, and how each mistake is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.catalogue import Catalogue, find_catalogue, read_catalogue
from gns3_minivm.catalogue.credentials import exposed_secrets, password_of
from gns3_minivm.gns3.address import parse_address

SERVERS = "servers: {a: {url: 'http://h'}}\n"
PAGE = Path(__file__).parents[3] / "docs" / "use" / "catalogue.md"


def catalogue(folder: Path, text: str) -> Catalogue:
    path = folder / "minivm.yml"
    path.write_text(text)
    return read_catalogue(path)


def mistakes(folder: Path, text: str) -> list[str]:
    """The error's lines without the file's name, which each of them has."""
    with pytest.raises(ConfigError) as caught:
        catalogue(folder, text)
    start = f"{folder / 'minivm.yml'}:"
    lines = caught.value.message.splitlines()
    assert all(line.startswith(start) for line in lines), lines
    return [line.removeprefix(start) for line in lines]


def test_the_example_of_the_documents_is_a_catalogue(tmp_path: Path) -> None:
    example, versions = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [item.name for item in catalogue(tmp_path, SERVERS + versions).appliances] == [
        "web-1.26",
        "web-1.27",
        "web-gpu",
    ]
    found = catalogue(tmp_path, example)
    assert (found.name, found.compression, list(found.servers)) == ("our-lab", "zstd", ["lab1", "local"])
    lab1 = found.servers["lab1"]
    assert (lab1.username, lab1.password_env, lab1.ca_file) == ("admin", "LAB1_PASSWORD", "lab-ca.pem")
    assert [item.source for item in found.appliances_of("local")] == ["debian-minivm"]
    debian, web = found.appliances_of("lab1")
    assert (debian.name, web.name, web.ram, web.adapters) == (None, "web", 128, 2)


def test_every_key_is_in_the_documents() -> None:
    text = PAGE.read_text(encoding="utf-8")
    from gns3_minivm.catalogue import CatalogueAppliance, CatalogueServer

    for model in (Catalogue, CatalogueServer, CatalogueAppliance):
        for key in set(model.model_fields) - {"path"}:
            assert re.search(rf"^\| .*`{key}`.* \|", text, re.MULTILINE), key


def test_the_short_form_states_nothing_and_the_name_of_a_mapping_is_stated(tmp_path: Path) -> None:
    found = catalogue(tmp_path, SERVERS + "appliances: [debian-minivm, {name: alpine-minivm}, {image: 'nginx:1'}]")
    assert [(item.name, item.source) for item in found.appliances] == [
        (None, "debian-minivm"),
        ("alpine-minivm", "alpine-minivm"),
        (None, "nginx:1"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1:1: a catalogue must consist of `key: value` lines, found nothing"),
        ("- a", "1:1: a catalogue must consist of `key: value` lines, found a list"),
        ("a: [", "1:5: expected the node content, but found '<stream end>'"),
        (f"{SERVERS}appliances: []\npath: x", "3:1: unknown key 'path'"),
        (f"{SERVERS}appliances:\n\t- a", "3:1: found character '\\t' that cannot start any token"),
        ("servers: {}\nappliances: []", "1:1: servers: should not be empty"),
        (
            "servers:\n  a b: {url: x}\nappliances: []",
            (
                "2:3: servers.a b: a name has at most 63 letters, digits, '.', '_' and"
                " '-', with a letter or digit at both ends, found 'a b'"
            ),
        ),
        (f"{SERVERS}appliances: []\nserver: x", "3:1: unknown key 'server'"),
        (f"{SERVERS}appliances: []\n{SERVERS}", "3:1: the key 'servers' appears twice (first in line 1, column 1)"),
        ("appliances: []", "1:1: the key 'servers' is missing"),
        (SERVERS + "appliances:\n  - {name: a, rams: 1}", "3:15: unknown key 'appliances.0.rams'"),
        (SERVERS + "appliances:\n  - {}", "3:5: appliances.0: an appliance needs a name or an image"),
        (SERVERS + "appliances:\n  - 12", "3:5: appliances.0: should be `key: value` lines, found 12"),
        (
            SERVERS + "appliances:\n  - {name: a, ram: '128'}",
            "3:15: appliances.0.ram: Input should be a valid integer, found '128'",
        ),
        (
            SERVERS + "appliances: [{name: a, ram: 1}]",
            "2:24: appliances.0.ram: Input should be greater than or equal to 32, found 1",
        ),
        (SERVERS + "appliances: [{name: a, servers: [b]}]", "2:34: there is no server named 'b'"),
        (SERVERS + "appliances: [a, b, a]", "2:20: 'a' appears twice for the server 'a'"),
        (
            SERVERS + "appliances: [a]\ncompression: lz4",
            "3:1: compression: Input should be 'zstd', 'zlib' or 'none', found 'lz4'",
        ),
        (
            "servers: {a: {url: h, password: x, password_env: y, username: z}}\nappliances: []",
            "1:11: servers.a: only one source of the password is allowed, found password and password_env",
        ),
        (
            "servers: {a: {url: h, keyring: x}}\nappliances: []",
            "1:11: servers.a: keyring needs username",
        ),
        (
            "servers: {a: {url: h, verify: no, ca_file: x}}\nappliances: []",
            "1:11: servers.a: ca_file and verify: false contradict each other; leave one of them out",
        ),
    ],
)
def test_a_mistake_is_told_with_line_and_column(tmp_path: Path, text: str, told: str) -> None:
    assert mistakes(tmp_path, text) == [told]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "name: '-'\nservers: {a: {url: 1}}\nappliances: [{name: a, cpus: 0}]"
    assert [told.split(":")[:2] for told in mistakes(tmp_path, text)] == [["1", "1"], ["2", "15"], ["3", "24"]]


def test_a_password_that_is_no_text_is_not_shown(tmp_path: Path) -> None:
    [told] = mistakes(tmp_path, "servers: {a: {url: h, username: u, password: 12345678}}\nappliances: []")
    assert told == "1:36: servers.a.password: Input should be a valid string; put it in quotation marks"


def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_catalogue(tmp_path / "missing.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        read_catalogue(tmp_path / "binary.yml")


def test_the_usual_places_are_the_working_directory_and_the_users_configuration(tmp_path: Path) -> None:
    home, here = tmp_path / "config", tmp_path / "here"
    here.mkdir()
    environment = {"XDG_CONFIG_HOME": str(home)}
    with pytest.raises(ConfigError, match=r"minivm\.yml nor .*catalogue\.yml"):
        find_catalogue(here, environment)
    own = home / "gns3-minivm" / "catalogue.yml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_catalogue(here, environment) == own
    (here / "minivm.yml").touch()
    assert find_catalogue(here, environment) == here / "minivm.yml"


# Passwords


def password(folder: Path, settings: str, environment: dict[str, str] | None = None) -> str | None:
    found = catalogue(folder, f"servers: {{a: {{url: h, username: u, {settings}}}}}\nappliances: []")
    return password_of("a", found.servers["a"], folder, environment or {})


def test_a_password_comes_from_the_environment_a_file_or_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from file\nnot this\n")
    assert password(tmp_path, "password: here") == "here"
    assert password(tmp_path, "password_env: VAR", {"VAR": "from env"}) == "from env"
    assert password(tmp_path, "password_file: secret") == "from file"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("password_env: VAR", "server a: its password should be in the environment variable VAR, which is not set"),
        ("password_file: missing", "missing cannot be read: No such file or directory"),
        ("password_file: empty", "empty is empty"),
    ],
)
def test_a_password_that_cannot_be_had_is_told(tmp_path: Path, settings: str, told: str) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match=re.escape(told)):
        password(tmp_path, settings)


def test_a_password_comes_from_the_users_keyring(tmp_path: Path) -> None:
    keyring = pytest.importorskip("keyring")
    backend = pytest.importorskip("keyring.backend")
    errors = pytest.importorskip("keyring.errors")

    class Ring(backend.KeyringBackend):  # type: ignore[name-defined,misc]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            if service == "locked":
                raise errors.KeyringLocked("locked")
            return {("lab", "u"): "from ring"}.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        assert password(tmp_path, "keyring: lab") == "from ring"
        with pytest.raises(ConfigError, match="no password for the service 'other' and the user 'u'") as caught:
            password(tmp_path, "keyring: other")
        assert "keyring set other u" in caught.value.hint
        with pytest.raises(ConfigError, match="did not give a password"):
            password(tmp_path, "keyring: locked")
    finally:
        keyring.set_keyring(before)


def test_files_with_passwords_that_others_can_read_are_warned_about(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    text = (
        "servers:\n  a: {url: 'http://u:p@h'}\n  b: {url: h2, username: u, password: p}\n"
        "  c: {url: h3, username: u, password_file: secret}\n  d: {url: h4}\nappliances: []"
    )
    found = catalogue(tmp_path, text)
    for path in (found.path, tmp_path / "secret"):
        path.chmod(0o644)
    warnings = exposed_secrets(found, found.servers)
    assert [warning.split()[0] for warning in warnings] == [str(found.path), str(tmp_path / "secret")]
    assert f"chmod 600 {found.path}" in warnings[0]
    only_d = {"d": found.servers["d"]}
    assert exposed_secrets(found, only_d) == []
    for path in (found.path, tmp_path / "secret"):
        path.chmod(0o600)
    assert exposed_secrets(found, found.servers) == []


def test_a_models_text_shows_no_password(tmp_path: Path) -> None:
    servers = "servers: {a: {url: h, username: u, password: s3cret}, b: {url: 'http://u:s3cret@h2'}}"
    found = catalogue(tmp_path, f"{servers}\nappliances: []")
    assert "s3cret" not in repr(found)
    assert "s3cret" not in repr(parse_address("http://u:s3cret@h"))
