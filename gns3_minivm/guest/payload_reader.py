"""Reads payload files back (``kernel/CONTRACT.md``, "Payload file"): what a node on a server was told.

It reads only what ``guest.payload`` writes; an unknown line is an error, since dropping it would lose a setting.
"""

from __future__ import annotations

import zlib
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field

from gns3_minivm.base.errors import GuestError, UsageError
from gns3_minivm.guest.contract import unescape
from gns3_minivm.guest.payload import (
    HEADER,
    ConsoleMode,
    GuestCommand,
    GuestFile,
    GuestFolder,
    NodePayload,
    When,
)

Line = tuple[str, str]


def decode_payload(data: bytes) -> NodePayload:
    """The settings in a payload file.  Raises GuestError if it is damaged, or was not written by ``NodePayload``."""
    try:
        return _read(list(_lines(data)))
    except (ValueError, LookupError, UsageError) as error:
        raise GuestError(f"the payload file of the node cannot be read: {error}") from error


def _lines(data: bytes) -> Iterator[Line]:
    body, separator, end = data.rpartition(b"end ")
    if not separator or end != f"{zlib.crc32(body):08x}\n".encode("ascii"):
        raise ValueError("it is damaged (its checksum is wrong)")
    lines = body.decode("ascii").splitlines()
    if lines[0] != HEADER:
        raise ValueError(f"its first line is {lines[0]!r}, not {HEADER!r}")
    for line in lines[1:]:
        key, _, value = line.partition(" ")
        yield key, unescape(value)


@dataclass(kw_only=True)
class _Entry:
    """A file, folder or command on its way."""

    key: str
    value: str
    owner: str | None = None
    mode: int | None = None
    when: When = When.BOOT
    content: bytearray = field(default_factory=bytearray)
    words: list[str] = field(default_factory=list)

    def take(self, key: str, value: str) -> bool:
        """Whether a line belongs to it."""
        if key == "data":
            self.content += b64decode(value, validate=True)
        elif key == "owner":
            self.owner = value
        elif key == "mode":
            self.mode = int(value, 8)
        elif key == "once":
            self.when = When.ONCE
        elif key == "exec-arg":
            self.words.append(value)
        else:
            return False
        return True


@dataclass(kw_only=True)
class _Settings:
    texts: dict[str, str] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    entries: list[_Entry] = field(default_factory=list)

    def take(self, key: str, value: str) -> None:
        kind, _, name = key.partition(".")
        if key in ("hostname", "user", "workdir", "stop-signal", "minivm.console"):
            self.texts[key] = value
        elif key in ("entrypoint", "cmd"):
            self.words[key] = []
        elif key in ("entrypoint-arg", "cmd-arg"):
            self.words[key.removesuffix("-arg")].append(value)
        elif kind == "env" and name:
            self.env[name] = value
        elif kind == "sysctl" and name:
            self.sysctls[name] = value
        elif kind == "ip" and name:
            self.addresses.setdefault(name, []).append(value)
        elif key in ("gw", "route", "dns", "modules"):
            self.lists.setdefault(key, []).append(value)
        elif key in ("file", "folder", "run", "exec"):
            self.entries.append(_Entry(key=key, value=value))
        elif not self.entries or not self.entries[-1].take(key, value):
            raise ValueError(f"its line {key!r} is unknown")


def _read(lines: list[Line]) -> NodePayload:
    settings = _Settings()
    for key, value in lines:
        settings.take(key, value)
    words = {key: tuple(found) for key, found in settings.words.items()}
    routes = [route.partition(",") for route in settings.lists.get("route", ())]
    return NodePayload(
        hostname=settings.texts.get("hostname"),
        user=settings.texts.get("user"),
        workdir=settings.texts.get("workdir"),
        stop_signal=settings.texts.get("stop-signal"),
        console=_console(settings.texts.get("minivm.console")),
        entrypoint=words.get("entrypoint"),
        args=words.get("cmd"),
        env=settings.env,
        addresses={name: tuple(found) for name, found in settings.addresses.items()},
        gateways=tuple(settings.lists.get("gw", ())),
        routes=tuple((network, gateway) for network, _, gateway in routes),
        dns=tuple(settings.lists.get("dns", ())),
        sysctls=settings.sysctls,
        modules=tuple(settings.lists.get("modules", ())),
        folders=tuple(GuestFolder(one.value, one.owner, one.mode) for one in settings.entries if one.key == "folder"),
        files=tuple(
            GuestFile(path=one.value, content=bytes(one.content), owner=one.owner, mode=one.mode, when=one.when)
            for one in settings.entries
            if one.key == "file"
        ),
        commands=tuple(
            GuestCommand(one.value if one.key == "run" else (one.value, *one.words), one.when)
            for one in settings.entries
            if one.key in ("run", "exec")
        ),
    )


def _console(value: str | None) -> ConsoleMode | None:
    return value  # type: ignore[return-value]  # NodePayload looks at it
