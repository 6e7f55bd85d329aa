"""Links of a containerlab topology: which port of which node they take.

In a MiniVM the ports are eth0, eth1, ...; an interface with another name gets a free one, and is renamed in the guest
at each boot.  A bridge's ports are taken in the order of the links.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gns3_minivm.labs.containerlab.model import ClabEndpoint, LinkDefinition

_ETHERNET = re.compile(r"eth(0|[1-9][0-9]*)")
_NOT_NODES = {"host", "mgmt-net", "macvlan", "macvtap", "vxlan", "vxlan-stitch"}
"""What stands for a node in the short form, and the types of links to them."""
_BRIDGES = ("bridge", "ovs-bridge")


class OnRefusal(Protocol):
    """Called for a link (by its number) that is left out; raises if the file is wrong."""

    def __call__(self, number: int, message: str, *, is_error: bool) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Interface:
    """An interface of a node; ``adapter`` is the number of GNS3's, ``linked`` is False for one that leads nowhere."""

    name: str
    adapter: int
    mtu: int | None = None
    mac: str | None = None
    addresses: tuple[str, ...] = ()
    linked: bool = True

    @property
    def port(self) -> str:
        return f"eth{self.adapter}"


@dataclass(frozen=True)
class Interfaces:
    """All interfaces of a node."""

    all: tuple[Interface, ...]

    @property
    def has_eth0(self) -> bool:
        return any(one.adapter == 0 for one in self.all)


@dataclass
class Wires:
    """``links`` are a link's number in the file and its ends as node and port; ``ports`` count those of bridges."""

    links: list[tuple[int, list[tuple[str, str]]]] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    interfaces: dict[str, list[Interface]] = field(default_factory=dict)

    def of(self, node: str) -> Interfaces:
        return Interfaces(tuple(self.interfaces.get(node, ())))


def wire(links: Sequence[LinkDefinition], kinds: Mapping[str, str], refuse: OnRefusal) -> Wires:
    """Give every end of every link its port."""
    wires = Wires()
    taken = [(number, link, ends) for number, link in enumerate(links) if (ends := _ends(number, link, kinds, refuse))]
    adapters = _adapters([end for _, _, ends in taken for end in ends], kinds)
    seen: set[tuple[str, str]] = set()
    for number, link, ends in taken:
        ports = []
        for end in ends:
            if (end.node, end.interface) in seen and end.interface:
                refuse(number, f"the interface {end.node}:{end.interface} is used twice", is_error=True)
            seen.add((end.node, end.interface))
            if kinds[end.node] in _BRIDGES:
                ports.append((end.node, f"Ethernet{wires.ports.get(end.node, 0)}"))
                wires.ports[end.node] = wires.ports.get(end.node, 0) + 1
                continue
            addresses = tuple(address for address in (end.ipv4, end.ipv6) if address)
            interface = Interface(
                name=end.interface,
                adapter=adapters[end.node, end.interface],
                mtu=link.mtu,
                mac=end.mac,
                addresses=addresses,
                linked=len(ends) > 1,
            )
            wires.interfaces.setdefault(end.node, []).append(interface)
            ports.append((end.node, interface.port))
        if len(ports) == 2:
            wires.links.append((number, ports))
    return wires


def _ends(number: int, link: LinkDefinition, kinds: Mapping[str, str], refuse: OnRefusal) -> list[ClabEndpoint]:
    """The ends that become ports: two, one of a dummy link, or none if the link is left out."""
    if link.type in _NOT_NODES:
        refuse(number, f"a link of type {link.type} leads out of the lab, so it is left out", is_error=False)
        return []
    if link.type not in (None, "veth", "brief", "dummy"):
        refuse(number, f"type {link.type!r} is unknown; the link is left out", is_error=False)
        return []
    ends = [link.endpoint] if link.type == "dummy" and link.endpoint else list(link.endpoints)
    if len(ends) != (1 if link.type == "dummy" else 2):
        refuse(number, f"a link needs two endpoints; this one has {len(ends)}", is_error=True)
    if outside := [end.node for end in ends if end.node not in kinds and end.node in (*_NOT_NODES, "dummy")]:
        refuse(number, f"it leads to {outside[0]}, out of the lab, so it is left out", is_error=False)
        return []
    for end in ends:
        if end.node not in kinds:
            refuse(number, f"there is no node named {end.node!r}", is_error=True)
        if not end.interface and kinds[end.node] not in _BRIDGES:
            refuse(number, f"the endpoint of {end.node} has no interface", is_error=True)
    if any(kinds[end.node] == "host" for end in ends):
        refuse(number, "it leads to the host, so it is left out", is_error=False)
        return []
    return ends


def _adapters(ends: Sequence[ClabEndpoint], kinds: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """The adapter of each interface: ethN is N, others take what is free, from 1 on."""
    found: dict[tuple[str, str], int] = {}
    others: list[tuple[str, str]] = []
    for end in ends:
        if kinds[end.node] in _BRIDGES:
            continue
        key = (end.node, end.interface)
        if match := _ETHERNET.fullmatch(end.interface):
            found[key] = int(match[1])
        else:
            others.append(key)
    for key in dict.fromkeys(others):
        used = {adapter for (node, _), adapter in found.items() if node == key[0]}
        found[key] = next(number for number in range(1, len(used) + 2) if number not in used)
    return found
