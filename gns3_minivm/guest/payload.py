"""The payload file of a node: its own settings, files and commands, without the limits of the kernel command line.

``kernel/CONTRACT.md``, "Payload file", is the format.  A payload lies in the node's directory on the GNS3 server, and
``qemu_option`` in the node's ``options`` hands it to the guest.  Everything is checked when a value is made, so what
can be rendered is what the guest takes.  Not carried: links, devices, extended attributes.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import Literal, get_args

from gns3_minivm.base.errors import UsageError
from gns3_minivm.guest.contract import escape

HEADER = "minivm-node 1"
FW_CFG_NAME = "opt/gns3-minivm/node"
NODE_FILE_NAME = "minivm-node"
"""The usual name of the file in a node's directory."""
SIZE_MAX_BYTES = 32 << 20
"""Of the whole payload; files grow by a third in it."""

ConsoleMode = Literal["auto", "main", "shell"]


class When(StrEnum):
    """When a file is written or a command is run."""

    ONCE = "once"
    """Once for each disk.  A file: again if its payload changes, or if it is not there any more.  A command: until it
    has ended with status 0."""
    BOOT = "boot"
    """At each boot."""


@dataclass(frozen=True, kw_only=True)
class GuestFile:
    """A file of the guest.  Without ``owner`` (``NAME``, ``NUMBER``, either with ``:GROUP``) and ``mode`` it keeps
    those of a file that is there, else it is root's with mode 644."""

    path: str
    content: bytes
    owner: str | None = None
    mode: int | None = None
    when: When = When.ONCE

    def __post_init__(self) -> None:
        _check_path("file", self.path)
        _check_status("file", self.path, self.owner, self.mode)


@dataclass(frozen=True)
class GuestFolder:
    """A folder of the guest, with the parents that it lacks; owner and mode as for a file, else root and 755."""

    path: str
    owner: str | None = None
    mode: int | None = None

    def __post_init__(self) -> None:
        _check_path("folder", self.path)
        _check_status("folder", self.path, self.owner, self.mode)


@dataclass(frozen=True)
class GuestCommand:
    """A command, run as root beside the start of the main program: a line for a shell, or the words of one program."""

    command: str | tuple[str, ...]
    when: When = When.BOOT

    def __post_init__(self) -> None:
        words = (self.command,) if isinstance(self.command, str) else self.command
        if not words or not words[0].strip():
            raise UsageError(
                "a command is empty", hint="Write a shell command, or a list of a program and its arguments."
            )
        for word in words:
            _check_text("command", word)


@dataclass(frozen=True, kw_only=True)
class NodePayload:
    """The settings of one node; the image decides whatever is None or empty.

    ``addresses`` are ``ADDRESS/LENGTH``, ``dhcp`` or ``slaac`` by interface; ``gateways`` ``ADDRESS`` or
    ``ADDRESS%ethN``, one for each IP version; ``routes`` pairs of a network and a gateway.  ``entrypoint`` replaces the
    image's ENTRYPOINT and CMD, ``args`` its CMD.  Raises UsageError for a value that the guest would refuse.
    """

    hostname: str | None = None
    user: str | None = None
    workdir: str | None = None
    stop_signal: str | None = None
    console: ConsoleMode | None = None
    entrypoint: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    folders: tuple[GuestFolder, ...] = ()
    files: tuple[GuestFile, ...] = ()
    commands: tuple[GuestCommand, ...] = ()

    def __post_init__(self) -> None:
        self._check_program()
        self._check_network()
        _check_places(self.folders, self.files)

    def _check_program(self) -> None:
        _check_pattern("hostname", self.hostname, _HOSTNAME, "up to 63 letters, digits, inner hyphens and dots")
        _check_pattern("user", self.user, _OWNER, "NAME, NUMBER, or either with :GROUP")
        _check_pattern("workdir", self.workdir, r"/[^\0]*", "an absolute path")
        _check_pattern("stop signal", self.stop_signal, r"[A-Z0-9]+(\+[0-9]+)?", "a signal, as in SIGTERM")
        if self.console is not None and self.console not in get_args(ConsoleMode):
            raise UsageError(f"console {self.console!r} must be one of {', '.join(get_args(ConsoleMode))}")
        for what, words in (("entrypoint", self.entrypoint), ("args", self.args)):
            for word in words or ():
                _check_text(what, word)
        for name, value in self.env.items():
            _check_pattern("environment variable", name, r"[!-<>-~]+", "a name without blanks and equals signs")
            _check_text(f"environment variable {name}", value)
        for name, value in self.sysctls.items():
            _check_pattern("sysctl", name, r"[A-Za-z0-9_-]+([./][A-Za-z0-9_@:-]+)+", "a name as in net.ipv4.ip_forward")
            _check_text(f"sysctl {name}", value)
        for name in self.modules:
            _check_pattern("module", name, r"[A-Za-z0-9_-]+", "a module's name")

    def _check_network(self) -> None:
        for interface, addresses in self.addresses.items():
            _check_pattern("interface", interface, _INTERFACE, "a name of up to 15 characters, as in eth0")
            for address in addresses:
                _check_address(interface, address)
        versions = [_parse_gateway("gateway", gateway).version for gateway in self.gateways]
        if len(set(versions)) < len(versions):
            raise UsageError(f"gateways {', '.join(self.gateways)}: there can be one for IPv4 and one for IPv6")
        for network, gateway in self.routes:
            _check_route(network, gateway)
        for server in self.dns:
            _parse_gateway("name server", server)

    def encode(self) -> bytes:
        """The bytes of the payload file.  Raises UsageError if it would be too large."""
        text = "".join(f"{key} {escape(value)}".rstrip(" ") + "\n" for key, value in self._lines())
        body = f"{HEADER}\n{text}".encode("ascii")
        data = body + f"end {zlib.crc32(body):08x}\n".encode("ascii")
        if len(data) > SIZE_MAX_BYTES:
            raise UsageError(
                f"the payload has {len(data)} bytes; a node accepts at most {SIZE_MAX_BYTES}",
                hint="Put large files into the image.",
            )
        return data

    def _lines(self) -> Iterator[tuple[str, str]]:
        texts = {"hostname": self.hostname, "user": self.user, "workdir": self.workdir, "minivm.console": self.console}
        texts["stop-signal"] = self.stop_signal
        yield from ((key, text) for key, text in texts.items() if text is not None)
        for key, words in (("entrypoint", self.entrypoint), ("cmd", self.args)):
            if words is not None:
                yield key, ""
                yield from ((f"{key}-arg", word) for word in words)
        yield from ((f"env.{name}", value) for name, value in self.env.items())
        yield from (("modules", name) for name in self.modules)
        yield from ((f"sysctl.{name}", value) for name, value in self.sysctls.items())
        for interface, addresses in self.addresses.items():
            yield from ((f"ip.{interface}", address) for address in addresses)
        yield from (("gw", gateway) for gateway in self.gateways)
        yield from (("route", f"{network},{gateway}") for network, gateway in self.routes)
        yield from (("dns", server) for server in self.dns)
        for folder in self.folders:
            yield from _status_lines("folder", folder)
        for file in self.files:
            lines = [*_status_lines("file", file), *_data_lines(file.content)]
            yield from _with_identifier(lines, file.when)
        for command in self.commands:
            yield from _with_identifier(_command_lines(command), command.when)


def qemu_option(filename: str = NODE_FILE_NAME) -> str:
    """What a node's ``options`` need besides the template's: QEMU finds the file in the node's directory."""
    # A comma ends a value of QEMU's; the server splits the words as a shell does.
    value = f"name={FW_CFG_NAME},file=" + filename.replace(",", ",,")
    return f"-fw_cfg {shlex.quote(value)}"


def _status_lines(key: str, entry: GuestFile | GuestFolder) -> list[tuple[str, str]]:
    lines = [(key, entry.path)]
    if entry.owner is not None:
        lines.append(("owner", entry.owner))
    if entry.mode is not None:
        lines.append(("mode", f"{entry.mode:o}"))
    return lines


def _data_lines(content: bytes) -> list[tuple[str, str]]:
    step = 3072
    return [("data", b64encode(content[at : at + step]).decode("ascii")) for at in range(0, len(content), step)]


def _command_lines(command: GuestCommand) -> list[tuple[str, str]]:
    if isinstance(command.command, str):
        return [("run", command.command)]
    return [("exec", command.command[0]), *(("exec-arg", word) for word in command.command[1:])]


def _with_identifier(lines: list[tuple[str, str]], when: When) -> list[tuple[str, str]]:
    """Lines of one file or command; with ``once``, one that names what they say."""
    if when is When.BOOT:
        return lines
    digest = hashlib.sha256("\0".join(f"{key} {escape(value)}" for key, value in lines).encode("ascii"))
    return [lines[0], ("once", digest.hexdigest()[:16]), *lines[1:]]


_HOSTNAME = r"(?![.-])[A-Za-z0-9.-]{1,63}(?<![.-])"
_OWNER = r"[^\s:\0]+(:[^\s:\0]+)?"
_INTERFACE = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}"
_NAME_MAX_BYTES = 240
"""Of a file's name: the guest writes a file under a longer one before it renames it."""
_PATH_MAX_BYTES = 2048


def _check_text(what: str, value: str) -> None:
    try:
        data = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} {value!r} has characters that text cannot contain: {error.reason}") from error
    if b"\0" in data:
        raise UsageError(f"{what} {value!r} contains a zero byte")


def _check_pattern(what: str, value: str | None, pattern: str, allowed: str) -> None:
    if value is None:
        return
    _check_text(what, value)
    if not re.fullmatch(pattern, value):
        raise UsageError(f"{what} {value!r} must be {allowed}")


def _check_address(interface: str, address: str) -> None:
    if address in ("dhcp", "slaac"):
        return
    if re.fullmatch(r"[0-9A-Fa-f:.]+/[0-9]+", address):
        try:
            ip_interface(address)
            return
        except ValueError:
            pass
    raise UsageError(f"interface {interface}: {address!r} must be ADDRESS/LENGTH, dhcp or slaac, as in 10.0.0.1/24")


def _parse_gateway(what: str, gateway: str) -> IPv4Address | IPv6Address:
    address, percent, interface = gateway.partition("%")
    try:
        if percent and not re.fullmatch(_INTERFACE, interface):
            raise ValueError(interface)
        return ip_address(address)
    except ValueError as error:
        raise UsageError(f"{what} {gateway!r} must be an address, or ADDRESS%INTERFACE") from error


def _check_route(network: str, gateway: str) -> None:
    version = _parse_gateway(f"route to {network}: gateway", gateway).version
    try:
        if not re.fullmatch(r"[0-9A-Fa-f:.]+/[0-9]+", network):
            raise ValueError("it must be NETWORK/LENGTH, as in 10.2.0.0/16")
        parsed = ip_network(network)
    except ValueError as error:
        raise UsageError(f"route to {network!r}: {error}") from error
    if parsed.version != version:
        raise UsageError(f"route to {network}: the gateway {gateway} has another IP version")


def _check_path(what: str, path: str) -> None:
    _check_text(what, path)
    names = path.split("/")[1:]
    if not path.startswith("/") or not all(names) or {".", ".."} & set(names) or re.search(r"[\0-\x1f\x7f]", path):
        raise UsageError(f"{what} {path!r} must be an absolute path without empty parts, . and ..")
    if max(len(name.encode("utf-8", "surrogateescape")) for name in names) > _NAME_MAX_BYTES:
        raise UsageError(f"{what} {path!r}: a name in it has more than {_NAME_MAX_BYTES} bytes")
    if len(path.encode("utf-8", "surrogateescape")) > _PATH_MAX_BYTES:
        raise UsageError(f"{what} {path[:40]!r}...: the path has more than {_PATH_MAX_BYTES} bytes")


def _check_status(what: str, path: str, owner: str | None, mode: int | None) -> None:
    _check_pattern(f"{what} {path}: owner", owner, _OWNER, "NAME, NUMBER, or either with :GROUP")
    if mode is not None and not 0 <= mode <= 0o7777:
        raise UsageError(f"{what} {path}: mode {mode:o} must be an octal number up to 7777")


def _check_places(folders: tuple[GuestFolder, ...], files: tuple[GuestFile, ...]) -> None:
    file_paths = {file.path for file in files}
    paths = [folder.path for folder in folders] + [file.path for file in files]
    for path, times in Counter(paths).items():
        if times > 1:
            raise UsageError(f"{path} appears {times} times", hint="Remove all but one of them.")
    for path in paths:
        parts = path.split("/")
        for above in ("/".join(parts[:n]) for n in range(2, len(parts))):
            if above in file_paths:
                raise UsageError(f"{path} cannot exist: {above} is a file")
