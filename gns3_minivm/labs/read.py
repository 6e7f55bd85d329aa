"""Reads a lab file; every mistake in it is told with file, line and column."""

from __future__ import annotations

from pathlib import Path

from gns3_minivm.base.errors import ConfigError, UsageError
from gns3_minivm.base.plurals import counted
from gns3_minivm.documents import Document, Where, read_document
from gns3_minivm.guest.payload import NodePayload
from gns3_minivm.labs.model import Lab, LabEnd, adapter_of

HINT = "docs/use/labs.md lists the keys and their values."


def read_lab(path: Path) -> Lab:
    """Read a lab file (blocking).  Raises ConfigError."""
    return lab_from(read_document(path, what="a lab"))


def lab_from(document: Document) -> Lab:
    """The lab that a document describes, with all its parts fitting together.  Raises ConfigError."""
    for key in ("path", "marks"):
        if key in document.values:
            raise document.error((key,), f"unknown key {key!r}", hint=HINT)
    document.values.update(path=document.path, marks=document.marks)
    lab = document.read_as(Lab, hint=HINT)
    _check_links(lab, document)
    _check_adapters(lab, document)
    for number, test in enumerate(lab.tests):
        if test.node not in lab.nodes:
            raise _no_node(lab, document, ("tests", number, "node"), test.node)
    return lab


def payloads(lab: Lab) -> dict[str, NodePayload]:
    """The payload of each MiniVM of the lab whose file says anything about its guest (blocking).

    Raises ConfigError for a source that cannot be read, and for settings that contradict each other.
    """
    found = {}
    for name, node in lab.nodes.items():
        if node.settings:
            try:
                found[name] = node.payload(lab.path.parent)
            except (UsageError, ConfigError) as error:
                raise ConfigError(
                    f"{lab.at('nodes', name)}: node {name}: {error.message}", hint=error.hint or HINT
                ) from error
    return found


def _check_links(lab: Lab, document: Document) -> None:
    """Both ends are there, and no interface is used twice."""
    used: dict[tuple[str, str], str] = {}
    for number, link in enumerate(lab.links):
        places = [_end_place(document, number, side) for side in (0, 1)]
        for end, where in zip(link.ends, places, strict=True):
            _check_end(lab, document, end, where)
            if end.interface is None:
                continue
            key = (end.node, end.interface.lower())
            if key in used:
                raise document.error(
                    where,
                    f"the interface {end} is used twice (first in line {used[key]})",
                    hint="An interface has one link; use a switch to connect several nodes.",
                )
            used[key] = document.at(where).rsplit(":", 2)[1]
        one, other = link.ends
        if one.node == other.node:
            raise document.error(places[1], f"the link {link} connects a node with itself", hint=HINT)
        if one.interface is None and other.interface is None:
            raise document.error(
                places[0], f"the link {link} does not name an interface", hint="Name an interface: NODE:INTERFACE."
            )


def _check_end(lab: Lab, document: Document, end: LabEnd, where: Where) -> None:
    if end.node not in lab.nodes:
        raise _no_node(lab, document, where, end.node)
    if not lab.nodes[end.node].source:
        return  # what ports it has, the server knows
    if end.interface is None or adapter_of(end.interface) < 0 or "." in end.interface:
        raise document.error(
            where,
            f"{str(end)!r} does not name an interface of a MiniVM",
            hint=f"Its interfaces are called eth0, eth1, ...: write {end.node}:eth0.",
        )


def _check_adapters(lab: Lab, document: Document) -> None:
    for name, node in lab.nodes.items():
        needed = lab.adapters_needed(name)
        if node.adapters is not None and node.source and needed > node.adapters:
            raise document.error(
                ("nodes", name, "adapters"),
                f"node {name} has {counted(node.adapters, 'adapter')}, but eth{needed - 1} is used",
                hint="Leave out `adapters`: the node then gets as many as it needs.",
            )
        if node.source and needed > 275:
            raise document.error(("nodes", name), f"node {name} uses eth{needed - 1}; at most 275 adapters are allowed")


def _no_node(lab: Lab, document: Document, where: Where, name: str) -> ConfigError:
    return document.error(
        where, f"there is no node named {name!r}", hint=f"The lab's nodes are {', '.join(lab.nodes)}."
    )


def _end_place(document: Document, number: int, side: int) -> Where:
    """Where an end stands: links may be a list of two, or have a key for them."""
    plain: Where = ("links", number, side)
    return plain if plain in document.marks else ("links", number, "ends", side)
