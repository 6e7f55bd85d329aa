"""Reads a containerlab topology as a lab; unsupported keys are listed, with their place in the file.

Kind ``linux`` becomes a MiniVM of the image, kind ``bridge`` (``ovs-bridge``) GNS3's Ethernet switch.
docs/use/containerlab.md says what becomes of each key.  Not supported: other kinds, Go templates (``.gotmpl``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.documents import Document, Mark, Where, parse_document, read_document, read_text
from gns3_minivm.labs.containerlab.links import Wires, wire
from gns3_minivm.labs.containerlab.model import NodeDefinition, TopologyFile, inherited, kind_of
from gns3_minivm.labs.containerlab.nodes import machine
from gns3_minivm.labs.containerlab.variables import put_in
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.read import lab_from

HINT = "docs/use/containerlab.md says which keys of a containerlab topology are supported."
BRIDGES = ("bridge", "ovs-bridge")
SWITCH_TEMPLATE = "Ethernet switch"
SWITCH_PORTS = 8
"""Ports of GNS3's Ethernet switch if nobody asks for more."""

_REASONS = {
    "mgmt": "there is no management network: use `lab exec` and `lab console`",
    "mgmt-ipv4": "there is no management network",
    "mgmt-ipv6": "there is no management network",
    "ports": "a VM has no ports on the host: link it with a cloud or NAT node in GNS3",
    "prefix": "nodes have their names of the topology, without a prefix",
    "position": "use the labels graph-posX and graph-posY to place a node; others are placed automatically",
    "startup-config": "only network operating systems have it; bind the file instead",
    "enforce-startup-config": "only network operating systems have it",
    "suppress-startup-config": "only network operating systems have it",
    "extras": "only network operating systems have it",
    "components": "only network operating systems have it",
    "certificate": "gns3-minivm does not make certificates: bind your own",
    "license": "only network operating systems have it; bind the file instead",
    "cap-add": "a VM's programs have all capabilities",
    "devices": "a VM does not see the host's devices",
    "auto-remove": "a node whose main program ends is powered off",
    "aliases": "there is no management network",
    "search": "a guest only gets its DNS servers; bind /etc/resolv.conf instead",
    "options": "a guest only gets its DNS servers; bind /etc/resolv.conf instead",
    "restart-policy": "a node whose main program ends is powered off",
    "image-pull-policy": "images are found in the same way as by `gns3-minivm register`",
    "startup-delay": "all nodes start together",
    "stages": "all nodes start together",
    "wait-for": "all nodes start together",
    "healthcheck": "a node is ready when its console answers; `tests` of a lab file check more",
    "shm-size": "/dev/shm may take half of the memory",
    "cpu-set": "GNS3 has no such setting",
    "runtime": "nodes are QEMU machines",
    "vars": "there are no templates",
    "config": "there are no templates",
}


_ENDINGS = (".clab.yml", ".clab.yaml", ".gotmpl")


@dataclass(frozen=True)
class LabFile:
    """``unheeded`` lists what is not supported, a line for each."""

    lab: Lab
    unheeded: tuple[str, ...]


def read_lab_or_topology(path: Path) -> LabFile:
    """Read a lab file or a containerlab topology, whichever it is (blocking).  Raises ConfigError."""
    if path.name.endswith(_ENDINGS):
        return read_containerlab(path)
    document = read_document(path, what="a lab")
    return read_containerlab(path) if "topology" in document.values else LabFile(lab_from(document), ())


def read_containerlab(path: Path, environment: Mapping[str, str] | None = None) -> LabFile:
    """Read a topology file (blocking).  Raises ConfigError, one line for each mistake."""
    environment = os.environ if environment is None else environment
    if path.name.endswith(".gotmpl"):
        raise ConfigError(
            f"{path} is a Go template, which is not supported",
            hint="Render the finished topology first, with containerlab graph or any Go template tool.",
        )
    document = parse_document(path, put_in(read_text(path), environment), what="a containerlab topology")
    return _Reading(document, environment).result()


class _Reading:
    """One topology on its way to a lab."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._file = document.read_as(TopologyFile, hint=HINT)
        self._topology = self._file.topology
        self._unheeded: list[str] = []
        self._values: dict[str, Any] = {"name": self._file.name, "nodes": {}, "links": []}
        self._marks: dict[Where, Mark] = {("name",): document.marks.get(("name",), (1, 1))}

    def result(self) -> LabFile:
        self._list_keys()
        kinds = {name: kind_of(self._topology, name) for name in self._topology.nodes}
        self._check_kinds(kinds)
        names = self._names([name for name, kind in kinds.items() if kind != "host"])
        definitions = {name: inherited(self._topology, name) for name in names}
        wires = wire(self._topology.links, kinds, self._refuse_link)
        for name, new in names.items():
            where = ("topology", "nodes", name)
            self._marks[("nodes", new)] = self._document.marks[where]
            if kinds[name] in BRIDGES:
                self._values["nodes"][new] = _switch(wires.ports.get(name, 0))
            else:
                self._values["nodes"][new] = self._machine(name, definitions[name], wires)
        for number, ends in wires.links:
            self._marks[("links", len(self._values["links"]))] = self._document.marks[("topology", "links", number)]
            self._values["links"].append({"ends": [f"{names[node]}:{port}" for node, port in ends]})
        self._tell_of_eth0(definitions, kinds, wires)
        lab = lab_from(Document(self._document.path, self._values, self._marks))
        return LabFile(lab, tuple(self._unheeded))

    def _machine(self, name: str, definition: NodeDefinition, wires: Wires) -> dict[str, Any]:
        where = ("topology", "nodes", name)

        def unheeded(message: str) -> None:
            self._tell(where, f"node {name}: {message}")

        def wrong(message: str) -> ConfigError:
            return self._document.error(where, f"node {name}: {message}", hint=HINT)

        facts = {"lab": self._file.name, "node": name, "kind": definition.kind or "", "group": definition.group or "",
                 "type": definition.type or ""}  # fmt: skip
        return machine(definition, facts, wires.of(name), self._document.path, self._environment, unheeded, wrong)

    def _tell(self, where: Where, message: str) -> None:
        self._unheeded.append(f"{self._document.at(where)}: {message}")

    def _list_keys(self) -> None:
        """What the model does not know, wherever it stands."""
        for where, part in _parts(self._file):
            for key in part.model_extra or {}:
                reason = _REASONS.get(key.replace("_", "-"), "this key is unknown")
                self._tell((*where, key), f"{'.'.join(str(step) for step in (*where[1:], key))}: {reason}")

    def _check_kinds(self, kinds: Mapping[str, str]) -> None:
        wrong = []
        for name, kind in kinds.items():
            place = ("topology", "nodes", name)
            if kind == "host":
                self._tell(place, f"node {name}: the host itself cannot be a node of a lab; its links are left out")
            elif kind != "linux" and kind not in BRIDGES:
                said = f"kind {kind!r} is not supported; linux and bridge are" if kind else "the key 'kind' is missing"
                wrong.append(f"{self._document.at(place)}: node {name}: {said}")
        if wrong:
            raise ConfigError("\n".join(wrong), hint=HINT)
        if all(kind == "host" for kind in kinds.values()):
            raise self._document.error(("topology", "nodes"), "the topology has no nodes", hint=HINT)

    def _names(self, given: list[str]) -> dict[str, str]:
        """The nodes' names in GNS3, which takes host names only."""
        names: dict[str, str] = {}
        for name in given:
            where = ("topology", "nodes", name)
            new = re.sub(r"[^A-Za-z0-9-]", "-", name).strip("-")[:63].rstrip("-")
            new = f"n{new}" if not new or new.isdigit() else new
            if new in names.values():
                raise self._document.error(
                    where,
                    f"node {name} would have the same name as another one, {new}",
                    hint="GNS3 accepts host names only (RFC 1123).",
                )
            if new != name:
                self._tell(where, f"node {name} is called {new}: GNS3 accepts host names only")
            names[name] = new
        return names

    def _refuse_link(self, number: int, message: str, *, is_error: bool) -> None:
        where: Where = ("topology", "links", number)
        if is_error:
            raise self._document.error(where, message, hint=HINT)
        self._tell(where, f"link {number + 1}: {message}")

    def _tell_of_eth0(self, definitions: Mapping[str, NodeDefinition], kinds: Mapping[str, str], wires: Wires) -> None:
        """Containerlab's eth0 leads to the management network."""
        alone = [
            name
            for name, definition in definitions.items()
            if kinds[name] not in BRIDGES and definition.network_mode != "none" and not wires.of(name).has_eth0
        ]
        if alone:
            self._tell(
                ("topology", "nodes"),
                f"eth0 has no link: there is no management network ({', '.join(alone)})",
            )


def _parts(file: TopologyFile) -> Iterator[tuple[Where, Any]]:
    topology = file.topology
    yield (), file
    yield ("topology",), topology
    yield ("topology", "defaults"), topology.defaults
    for level in ("kinds", "groups", "nodes"):
        for name, definition in getattr(topology, level).items():
            yield ("topology", level, name), definition
            if definition.dns:
                yield ("topology", level, name, "dns"), definition.dns
    for number, link in enumerate(topology.links):
        yield ("topology", "links", number), link
        for side, end in enumerate(link.endpoints):
            yield ("topology", "links", number, "endpoints", side), end


def _switch(ports: int) -> dict[str, Any]:
    if ports <= SWITCH_PORTS:
        return {"template": SWITCH_TEMPLATE}
    mapping = [{"name": f"Ethernet{n}", "port_number": n, "type": "access", "vlan": 1} for n in range(ports)]
    return {"template": SWITCH_TEMPLATE, "properties": {"ports_mapping": mapping}}
