"""Ports by the names that people use: eth0 of a MiniVM is its first adapter, other nodes have names of their own."""

from __future__ import annotations

from collections.abc import Collection

from gns3_minivm.base.errors import UsageError
from gns3_minivm.gns3.model import LinkEnd, Node, Port
from gns3_minivm.labs.model import adapter_of


def find_end(node: Node, interface: str, *, minivm: bool, taken: Collection[LinkEnd] = ()) -> LinkEnd:
    """The port of a node that is called so.  Raises UsageError that lists the free ones."""
    adapter = adapter_of(interface)
    if minivm and adapter >= 0:
        # Whatever the template calls them; and the node may be about to get more of them.
        return LinkEnd(node.node_id, adapter, 0, interface)
    wanted = interface.lower()
    for port in node.ports:
        if wanted in (port.name.lower(), port.short_name.lower()):
            return _end(node, port)
    raise UsageError(
        f"node {node.name} has no port {interface!r}; {_free_names(node, taken)}",
        hint="Write the link as NODE:PORT with one of these, or as NODE alone for any of them.",
    )


def free_end(node: Node, taken: Collection[LinkEnd]) -> LinkEnd:
    """The first port of a node that is free.  Raises UsageError if none is."""
    for port in node.ports:
        end = _end(node, port)
        if end not in taken:
            return end
    raise UsageError(
        f"node {node.name} has no free port for another link; it has {len(node.ports)}",
        hint="Give it more (`adapters`, or `properties` such as ports_mapping), or add a second node.",
    )


def _end(node: Node, port: Port) -> LinkEnd:
    return LinkEnd(node.node_id, port.adapter, port.port, port.short_name or port.name)


def _free_names(node: Node, taken: Collection[LinkEnd]) -> str:
    free = [port.name for port in node.ports if _end(node, port) not in taken]
    return f"free ports: {', '.join(free)}" if free else "all of its ports are taken"
