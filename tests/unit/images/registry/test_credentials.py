"""Credentials are found where ``docker login`` and ``podman login`` leave them, and shown to nobody."""

from __future__ import annotations

import base64
import json
import stat
import traceback
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import ConfigError, MiniVMError, ToolError
from gns3_minivm.images.registry.credentials import Credentials, find_credentials


def everything(error: BaseException) -> str:
    """All that a user could get to see of an error."""
    hint = error.hint if isinstance(error, MiniVMError) else ""
    return "".join(traceback.format_exception(error)) + hint


def helper(folder: Path, name: str, script: str) -> dict[str, str]:
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'read -r host; echo "$host $1" >"$(dirname "$0")/asked"; echo \'{"Username": "me", "Secret": "secret"}\''
    environ = helper(tmp_path, "test", script)
    monkeypatch.setenv("PATH", environ["PATH"])
    for config in ({"credsStore": "test"}, {"credHelpers": {"a.example:5000": "test"}, "credsStore": "other"}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert find_credentials("a.example:5000", environ) == Credentials("me", "secret")
        assert (tmp_path / "asked").read_text() == "a.example:5000 get\n"


def test_a_helpers_token_is_an_identity_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = helper(tmp_path, "test", 'echo \'{"Username": "<token>", "Secret": "idt"}\'')
    monkeypatch.setenv("PATH", environ["PATH"])
    (tmp_path / "config.json").write_text('{"credsStore": "test"}')
    assert find_credentials("a.example", environ) == Credentials("", "", "idt")


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo s3cret; exit 1", "ended with status 1"), ("echo s3cret", "printed no credentials")],
)
def test_a_helper_that_fails_is_told_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    environ = helper(tmp_path, "test", script)
    monkeypatch.setenv("PATH", environ["PATH"])
    (tmp_path / "config.json").write_text('{"credsStore": "test"}')
    with pytest.raises(ToolError, match=words) as caught:
        find_credentials("a.example", environ)
    assert "s3cret" not in everything(caught.value)


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = helper(tmp_path, "test", "echo credentials not found in native keychain; exit 1")
    monkeypatch.setenv("PATH", environ["PATH"])
    config = {"credsStore": "test", "auths": {"https://a.example/v1/": {"username": "u", "password": "p"}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_credentials("a.example", environ) == Credentials("u", "p")
    assert find_credentials("b.example", environ) is None


@pytest.mark.parametrize("config", ['{"credsStore": "../../bin/sh"}', "{", '{"auths": {"a.example": {"auth": "%%%"}}}'])
def test_a_damaged_configuration_is_told(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigError):
        find_credentials("a.example", {"DOCKER_CONFIG": str(tmp_path)})


def test_a_missing_helper_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "no-such-thing"}')
    with pytest.raises(ToolError, match="docker-credential-no-such-thing, named in .*, is not installed"):
        find_credentials("a.example", {"DOCKER_CONFIG": str(tmp_path), "PATH": "/nonexistent"})


def test_credentials_do_not_show_in_their_representation() -> None:
    assert "hidden" not in repr(Credentials("me", "hidden", "hidden"))


def entry(words: str) -> dict[str, str]:
    return {"auth": base64.b64encode(words.encode()).decode()}


def write(path: Path, **config: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def test_podmans_file_is_read_where_dockers_has_nothing(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert find_credentials("a.example", environ) is None
    write(tmp_path / ".config" / "containers" / "auth.json", auths={"a.example": entry("c:3")})
    assert find_credentials("a.example", environ) == Credentials("c", "3")
    write(tmp_path / "run" / "containers" / "auth.json", auths={"a.example": entry("b:2")})
    assert find_credentials("a.example", environ) == Credentials("b", "2")
    write(tmp_path / ".docker" / "config.json", auths={"a.example": entry("a:1")})
    assert find_credentials("a.example", environ) == Credentials("a", "1")
    named = write(tmp_path / "named.json", auths={"a.example": entry("n:0")})
    assert find_credentials("a.example", environ | {"REGISTRY_AUTH_FILE": str(named)}) == Credentials("n", "0")


def test_the_longest_part_of_a_name_that_has_credentials_counts(tmp_path: Path) -> None:
    auths = {"a.example": entry("host:1"), "a.example/team": entry("team:2"), "a.example/team/app": entry("app:3")}
    environ = {"REGISTRY_AUTH_FILE": str(write(tmp_path / "auth.json", auths=auths)), "HOME": str(tmp_path)}
    for place, user in (
        ("a.example/team/app", "app"),
        ("a.example/team/other", "team"),
        ("a.example/team", "team"),
        ("a.example/teams", "host"),
        ("a.example", "host"),
    ):
        found = find_credentials(place, environ)
        assert found is not None and found.username == user, place
    assert find_credentials("b.example/team", environ) is None


def test_credentials_of_one_team_do_not_go_to_another(tmp_path: Path) -> None:
    path = write(tmp_path / "auth.json", auths={"a.example/team": entry("team:2")})
    environ = {"REGISTRY_AUTH_FILE": str(path), "HOME": str(tmp_path)}
    assert find_credentials("a.example/other", environ) is None
    assert find_credentials("a.example", environ) is None


@pytest.mark.parametrize("name", ["https://a.example", "http://a.example/", "https://a.example/v1/", "a.example/v2/"])
def test_addresses_as_old_releases_wrote_them_mean_the_host(tmp_path: Path, name: str) -> None:
    write(tmp_path / "config.json", auths={name: entry("me:secret")})
    environ = {"DOCKER_CONFIG": str(tmp_path), "HOME": "/nonexistent"}
    assert find_credentials("a.example/team/app", environ) == Credentials("me", "secret")


def test_podmans_file_may_name_a_helper_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = helper(tmp_path, "test", 'echo \'{"Username": "me", "Secret": "secret"}\'')
    monkeypatch.setenv("PATH", environ["PATH"])
    path = write(tmp_path / "auth.json", credHelpers={"a.example": "test"})
    environ |= {"REGISTRY_AUTH_FILE": str(path)}
    assert find_credentials("a.example/team/app", environ) == Credentials("me", "secret")
    assert find_credentials("b.example/team/app", environ) is None
