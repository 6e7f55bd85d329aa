"""Credentials for registries, as ``docker login``, ``podman login`` and ``skopeo login`` have left them.

Docker's config.json (``DOCKER_CONFIG``, else ``~/.docker``) has them itself (``auths``) or names a program that has
them (``credHelpers`` for one registry, ``credsStore`` for all): ``docker-credential-NAME get`` reads the registry's
name and prints JSON.  Podman's auth.json is written alike, and its ``auths`` may name a part of a registry
(``HOST/TEAM``), where the longest name that fits counts.

https://docs.docker.com/reference/cli/docker/login/
https://github.com/docker/docker-credential-helpers
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gns3_minivm.base.errors import ConfigError, ToolError

_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_LIMIT_S = 60
_TOKEN_USER = "<token>"


@dataclass(frozen=True)
class Credentials:
    """A name and password, or an identity token; never shown."""

    username: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)


def find_credentials(place: str, environ: Mapping[str, str]) -> Credentials | None:
    """The credentials for ``HOST[:PORT]`` or ``HOST[:PORT]/PATH``, or None (blocking: a helper may ask the user).

    Raises ConfigError for a damaged file, ToolError for a helper that is missing or fails.
    """
    for path in _files(environ):
        found = _find_in(path, place, environ)
        if found is not None:
            return found
    return None


def _files(environ: Mapping[str, str]) -> list[Path]:
    """Where credentials may be: the file that the user names, Docker's, Podman's."""
    home = environ.get("HOME") or os.path.expanduser("~")
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    settings = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return [
        *([Path(environ["REGISTRY_AUTH_FILE"])] if environ.get("REGISTRY_AUTH_FILE") else []),
        Path(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json"),
        Path(runtime, "containers", "auth.json"),
        Path(settings, "containers", "auth.json"),
    ]


def _find_in(path: Path, place: str, environ: Mapping[str, str]) -> Credentials | None:
    config = _read(path)
    host = place.partition("/")[0]
    names = (host, f"https://{host}", f"http://{host}")
    helpers = _object(config.get("credHelpers"))
    helper = next((helpers[name] for name in names if name in helpers), None) or config.get("credsStore")
    if helper:
        found = _ask_helper(str(helper), host, path, environ)
        if found is not None:
            return found
    entries = _object(config.get("auths"))
    # From the whole name up to the host; URLs and versions, as old releases of Docker wrote them, mean the host.
    for end in range(place.count("/"), 0, -1):
        part = "/".join(place.split("/")[: end + 1])
        if part in entries and (found := _from_entry(_object(entries[part]), host, path)):
            return found
    for name, entry in entries.items():
        _, scheme, rest = name.rpartition("://")
        its_host, _, folder = rest.partition("/")
        whole = bool(scheme) or folder.strip("/") in ("", "v1", "v2")
        if its_host == host and whole and (found := _from_entry(_object(entry), host, path)):
            return found
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', '') or 'it is not UTF-8'}") from error
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(
            f"{path} is not JSON: {error}", hint="`docker login` or `podman login` writes it again."
        ) from error
    return _object(value)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _from_entry(entry: Mapping[str, Any], host: str, path: Path) -> Credentials | None:
    token = str(entry.get("identitytoken") or "")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path}: the credentials for {host} are not base64", hint=f"`docker login {host}` writes them again."
            ) from error
        username, _, password = decoded.rstrip("\0").partition(":")
    return Credentials(username, password, token) if token or username else None


def _ask_helper(name: str, host: str, path: Path, environ: Mapping[str, str]) -> Credentials | None:
    program = f"docker-credential-{name}"
    if not _HELPER_NAME.fullmatch(name):
        raise ConfigError(f"{path} names a credential helper {name[:80]!r}, which is not the name of a program")
    hint = f"Try it: `echo {host} | {program} get`; or change the setting in {path} and run `docker login {host}`."
    try:
        finished = subprocess.run(
            [program, "get"],
            input=host,
            capture_output=True,
            text=True,
            timeout=_HELPER_LIMIT_S,
            check=False,
            env=dict(environ),
        )
    except FileNotFoundError as error:
        raise ToolError(f"{program}, named in {path}, is not installed", hint=hint) from error
    except subprocess.TimeoutExpired:
        # Not chained: the exception may hold what the program has printed.
        raise ToolError(f"{program} did not answer within {_HELPER_LIMIT_S} s", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"{program} cannot be run: {type(error).__name__}", hint=hint) from None
    if finished.returncode:
        if "not found" in finished.stdout.lower():
            return None
        raise ToolError(f"{program} ended with status {finished.returncode} for {host}", hint=hint)
    try:
        answer = json.loads(finished.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, LookupError, TypeError):
        raise ToolError(f"{program} printed no credentials for {host}", hint=hint) from None
    return Credentials("", "", secret) if username == _TOKEN_USER else Credentials(username, secret)
