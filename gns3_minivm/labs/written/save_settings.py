"""A payload as the keys of a node in a lab file: the way back from what ``guest_settings`` reads."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from gns3_minivm.guest.payload import GuestCommand, GuestFile, GuestFolder, NodePayload, When


def settings_of(payload: NodePayload) -> dict[str, Any]:
    """The keys, without those that say nothing."""
    values: dict[str, Any] = {
        "hostname": payload.hostname,
        "user": payload.user,
        "workdir": payload.workdir,
        "stop_signal": payload.stop_signal,
        "console": payload.console,
        "entrypoint": None if payload.entrypoint is None else list(payload.entrypoint),
        "args": None if payload.args is None else list(payload.args),
        "env": dict(payload.env) or None,
        "interfaces": _interfaces(payload) or None,
        "routes": dict(payload.routes) or None,
        "dns": list(payload.dns) or None,
        "sysctls": dict(payload.sysctls) or None,
        "modules": list(payload.modules) or None,
        "folders": {folder.path: _status(folder) for folder in payload.folders} or None,
        "files": {file.path: _file(file) for file in payload.files} or None,
        "commands": [_command(command) for command in payload.commands] or None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _interfaces(payload: NodePayload) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {name: {"address": list(each)} for name, each in payload.addresses.items()}
    for gateway in payload.gateways:
        address, _, interface = gateway.partition("%")
        entry = found.setdefault(interface or _behind(address, payload.addresses), {})
        entry.setdefault("gateway", []).append(address)
    return {name: _short(entry) for name, entry in found.items()}


def _behind(gateway: str, addresses: Mapping[str, tuple[str, ...]]) -> str:
    """The interface that a gateway is behind that names none."""
    for name, each in addresses.items():
        if any("/" in one and ip_address(gateway) in ip_interface(one).network for one in each):
            return name
    return next(iter(addresses), "eth0")


def _short(entry: dict[str, Any]) -> Any:
    one_each = {key: each[0] if len(each) == 1 else each for key, each in entry.items()}
    return one_each["address"] if list(one_each) == ["address"] else one_each


def _status(entry: GuestFile | GuestFolder) -> dict[str, Any]:
    mode = None if entry.mode is None else f"{entry.mode:o}"
    return {key: value for key, value in (("owner", entry.owner), ("mode", mode)) if value is not None}


def _file(file: GuestFile) -> Any:
    values = {**_content(file.content), **_status(file)}
    if file.when is When.BOOT:
        values["when"] = "boot"
    return values["content"] if list(values) == ["content"] else values


def _content(data: bytes) -> dict[str, str]:
    """A text as itself; what YAML would not give back the same is base64."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if all(letter.isprintable() or letter in "\n\t" for letter in text):
        return {"content": text}
    return {"base64": b64encode(data).decode("ascii")}


def _command(command: GuestCommand) -> Any:
    line = command.command if isinstance(command.command, str) else list(command.command)
    return line if command.when is When.BOOT else {"run": line, "when": "once"}
