"""A containerlab node of kind linux as a node of a lab file (blocking: env-files and binds are read)."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gns3_minivm.base.errors import ConfigError, UsageError
from gns3_minivm.guest.payload import NodePayload
from gns3_minivm.labs.containerlab.binds import Binds, target_of
from gns3_minivm.labs.containerlab.links import Interface, Interfaces
from gns3_minivm.labs.containerlab.model import NodeDefinition

_BUSYBOX = "/run/minivm/bin/busybox"
"""The bundle's own one: an image need not have `ip`."""
_UNITS = {"": 1, "b": 1, "kb": 1000, "kib": 1 << 10, "mb": 1000**2, "mib": 1 << 20, "gb": 1000**3, "gib": 1 << 30,
          "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}  # fmt: skip
_RAM_MIN_MB = 32
_DIGITS_MAX = 18
_IMPORT = "__IMPORT_ENVS"

Wrong = Callable[[str], ConfigError]


def machine(
    definition: NodeDefinition,
    facts: Mapping[str, str],
    interfaces: Interfaces,
    path: Path,
    environment: Mapping[str, str],
    unheeded: Callable[[str], None],
    wrong: Wrong,
) -> dict[str, Any]:
    """The node's keys in a lab file.  ``facts`` are lab, node, kind, group and type.  Raises what ``wrong`` makes."""
    if not definition.image:
        raise wrong("the key 'image' is missing")
    if definition.network_mode not in (None, "", "none", "bridge"):
        unheeded(f"network-mode {definition.network_mode}: each node has a network of its own")
    try:
        node: dict[str, Any] = {
            "image": definition.image,
            "user": definition.user,
            "entrypoint": _words("entrypoint", definition.entrypoint),
            "args": _words("cmd", definition.cmd),
            "env": _variables(definition, facts, interfaces, path.parent, environment),
            "sysctls": dict(definition.sysctls),
            "dns": list(definition.dns.servers) if definition.dns else [],
            "commands": [*_settling(interfaces), *(_words("exec", line) for line in definition.exec if line.strip())],
            "interfaces": {
                one.port: list(one.addresses) for one in interfaces.all if one.addresses and not _renamed(one)
            },
            "ram": _ram_mb(definition.memory),
            "cpus": _cpus(definition.cpu),
            "position": _position(definition.labels),
            **_bound(definition, facts, path, unheeded),
        }
    except UsageError as error:
        raise wrong(error.message) from error
    if loose := [one.adapter for one in interfaces.all if not one.linked]:
        node["adapters"] = max(loose + [one.adapter for one in interfaces.all]) + 1
    return {key: value for key, value in node.items() if value not in (None, [], {})}


def _words(key: str, line: str | None) -> list[str] | None:
    if line is None:
        return None
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{key} {line!r} cannot be split into words: {error}") from error


def _variables(
    definition: NodeDefinition,
    facts: Mapping[str, str],
    interfaces: Interfaces,
    folder: Path,
    environment: Mapping[str, str],
) -> dict[str, str]:
    """Variables of files, then those of the topology, then containerlab's own."""
    found: dict[str, str] = {}
    for name in definition.env_files:
        found |= _env_file(folder / Path(name).expanduser())
    found |= definition.env
    if found.pop(_IMPORT, "") == "true":
        found = {name: value for name, value in environment.items() if _can_be(name, value)} | found
    labels = {
        "containerlab": facts["lab"],
        "clab-node-name": facts["node"],
        "clab-node-kind": facts["kind"],
        "clab-node-group": facts["group"],
        "clab-node-type": facts["type"],
        **definition.labels,
    }
    own = {f"CLAB_LABEL_{re.sub('[^A-Z0-9]', '_', name.upper())}": value for name, value in labels.items()}
    return {**found, **own, "CLAB_INTFS": str(sum(one.linked for one in interfaces.all))}


def _can_be(name: str, value: str) -> bool:
    """Whether a variable of this process is one that a guest takes."""
    try:
        NodePayload(env={name: value})
    except UsageError:
        return False
    return True


def _env_file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"env-files: {path} cannot be read: {error}") from error
    found = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[name.strip()] = value[1:-1] if quoted else value
    return found


def _renamed(interface: Interface) -> bool:
    return interface.name != interface.port


def _settling(interfaces: Interfaces) -> Iterator[str]:
    """Lines for a shell that give interfaces what GNS3 has no setting for."""
    for one in interfaces.all:
        changes = [f"mtu {one.mtu}"] if one.mtu else []
        changes += [f"address {shlex.quote(one.mac)}"] if one.mac else []
        changes += [f"name {shlex.quote(one.name)}"] if _renamed(one) else []
        if not changes:
            continue
        # A name is only taken by an interface that is down.
        steps = [f"set dev {one.port} down"] if _renamed(one) else []
        steps += [f"set dev {one.port} {change}" for change in changes]
        steps += [f"set dev {shlex.quote(one.name)} up"] if _renamed(one) else []
        lines = [f"{_BUSYBOX} ip link {step}" for step in steps]
        if _renamed(one):
            lines += [f"{_BUSYBOX} ip addr add {shlex.quote(a)} dev {shlex.quote(one.name)}" for a in one.addresses]
        yield " && ".join(lines)


def _ram_mb(memory: str | None) -> int | None:
    if memory is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", memory)
    if not found or found[2].lower() not in _UNITS or len(found[1]) > _DIGITS_MAX:
        raise UsageError(f"memory {memory!r} must be a number with b, kib, kb, mib, mb, gib or gb, as in 512mb")
    return max(_RAM_MIN_MB, math.ceil(float(found[1]) * _UNITS[found[2].lower()] / (1 << 20)))


def _cpus(cpu: float | None) -> int | None:
    if cpu is None or cpu == 0:
        return None
    if not 0 < cpu < math.inf:
        raise UsageError(f"cpu {cpu} must be a number above 0, as in 1.5")
    return math.ceil(cpu)


def _position(labels: Mapping[str, str]) -> list[int] | None:
    """Where containerlab's own pictures have the node."""
    try:
        return [round(float(labels["graph-posX"])), round(float(labels["graph-posY"]))]
    except (KeyError, ValueError, OverflowError):
        return None


def _bound(
    definition: NodeDefinition, facts: Mapping[str, str], path: Path, unheeded: Callable[[str], None]
) -> dict[str, Any]:
    """Files and folders of the binds; of several with one target the most special one counts."""
    lab_folder = path.parent / f"clab-{facts['lab']}"
    variables = {
        "__clabNodeDir__": str(lab_folder / facts["node"]),
        "__clabDir__": str(lab_folder),
        "__clabNodeName__": facts["node"],
    }
    binds = Binds()
    for bind in {target_of(bind): bind for bind in definition.binds}.values():
        binds.add(bind, path.parent, variables)
    for bind, reason in binds.refused.items():
        unheeded(f"bind {bind}: {reason}")
    return {"files": binds.files, "folders": binds.folders}
