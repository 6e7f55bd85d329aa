"""Passwords of a catalogue's servers: from the environment, a file, the user's keyring, or the catalogue itself."""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.catalogue.model import Catalogue, CatalogueServer


def password_of(
    name: str, server: CatalogueServer, folder: Path, environment: Mapping[str, str] | None = None
) -> str | None:
    """The password of a server, None where it has none (or has it in its URL); ``folder`` is the catalogue's.

    May block (the keyring may ask the user).  Raises ConfigError.
    """
    if server.password_env is not None:
        values = os.environ if environment is None else environment
        password = values.get(server.password_env)
        if not password:
            raise ConfigError(
                f"server {name}: its password should be in the environment variable {server.password_env}, "
                "which is not set",
                hint=f"Set it: `read -rs {server.password_env}; export {server.password_env}`.",
            )
        return password
    if server.password_file is not None:
        return _from_file(name, folder / Path(server.password_file).expanduser())
    if server.keyring is not None:
        return _from_keyring(name, server.keyring, server.username or "")
    return server.password


def exposed_secrets(catalogue: Catalogue, servers: Mapping[str, CatalogueServer]) -> list[str]:
    """A warning for each file with passwords that other users of this machine can read."""
    files: list[tuple[Path, str]] = []
    if any(server.password is not None or _has_password(server.url) for server in servers.values()):
        files.append((catalogue.path, "use password_env, password_file or keyring, or"))
    for server in servers.values():
        if server.password_file is not None:
            files.append((catalogue.path.parent / Path(server.password_file).expanduser(), "run"))
    return [
        f"{path} holds passwords, and other users of this machine can read it: {advice} `chmod 600 {path}`"
        for path, advice in dict(files).items()
        if _readable_by_others(path)
    ]


def _has_password(url: str) -> bool:
    login, at, _ = url.rpartition("@")
    return bool(at) and ":" in login.rpartition("//")[2]


def _readable_by_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _from_file(name: str, path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"server {name}: the password file {path} cannot be read: {reason}") from error
    if not lines or not lines[0]:
        raise ConfigError(
            f"server {name}: the password file {path} is empty", hint="Write the password into its first line."
        )
    return lines[0]


def _from_keyring(name: str, service: str, username: str) -> str:
    try:
        # An extra, so that neither the program nor a check of its types needs it.
        keyring, errors = importlib.import_module("keyring"), importlib.import_module("keyring.errors")
    except ImportError as error:
        raise ConfigError(
            f"server {name}: its password is in a keyring, but the Python package keyring is not installed",
            hint="Install it (`pip install gns3-minivm[keyring]`), or use password_env or password_file.",
        ) from error
    try:
        password: str | None = keyring.get_password(service, username)
    except errors.KeyringError as error:
        raise ConfigError(
            f"server {name}: the keyring did not give a password ({error})",
            hint="Unlock it, or use password_env or password_file.",
        ) from error
    if password is None:
        raise ConfigError(
            f"server {name}: the keyring has no password for the service {service!r} and the user {username!r}",
            hint=f"Store it: `keyring set {service} {username}`.",
        )
    return password
