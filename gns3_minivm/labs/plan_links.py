"""How the links of a project differ from those of a lab file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gns3_minivm.base.errors import ConfigError, UsageError
from gns3_minivm.gns3.model import Link, LinkEnd, Node
from gns3_minivm.labs.model import Lab, LabEnd, LabLink
from gns3_minivm.labs.ports import find_end, free_end

LinkVerb = Literal["create", "update", "delete", "keep"]
Ends = tuple[LinkEnd | None, LinkEnd | None]
"""None where the node is not there yet, or any port will do."""


@dataclass(frozen=True, kw_only=True)
class LinkPlan:
    """What is done about one link; ``changes`` are of its filters, its style, and whether it is suspended."""

    verb: LinkVerb
    text: str
    file: LabLink | None = None
    current: Link | None = None
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def plan_links(
    lab: Lab,
    nodes: Mapping[str, Node],
    minivms: Collection[str],
    links: Sequence[Link],
    foreign: Mapping[str, str],
    *,
    refuse: bool = True,
) -> list[LinkPlan]:
    """Compare links; ``nodes`` are the lab's that are there and stay, ``foreign`` names of others by id.

    Links to foreign nodes stay, unless a port of theirs is wanted.  Links of nodes that go, go with them.  Raises
    ConfigError for a port that a node does not have; without ``refuse``, such a link is one to be created.
    """
    by_end = {end: link for link in links for end in link.ends}
    wanted = lab.links
    ends = [
        (_stated(lab, number, 0, nodes, minivms, refuse), _stated(lab, number, 1, nodes, minivms, refuse))
        for number in range(len(wanted))
    ]
    stated = {end for pair in ends for end in pair if end is not None}
    plans: list[LinkPlan] = []
    matched: set[str] = set()
    for link, pair in zip(wanted, ends, strict=True):
        current = _match(link, pair, nodes, by_end, stated)
        if current is None or current.link_id in matched:
            plans.append(LinkPlan(verb="create", text=str(link), file=link))
            continue
        matched.add(current.link_id)
        changes = _changes(link, current)
        plans.append(
            LinkPlan(verb="update" if changes else "keep", text=str(link), file=link, current=current, changes=changes)
        )
    ours = {node.node_id: name for name, node in nodes.items()}
    names = {**foreign, **ours}
    for old in links:
        if old.link_id in matched or any(end.node_id not in names for end in old.ends):
            continue
        if all(end.node_id in ours for end in old.ends) or stated & set(old.ends):
            plans.append(LinkPlan(verb="delete", text=_told(old, names), file=None, current=old))
    return plans


def new_ends(
    link: LabLink, nodes: Mapping[str, Node], minivms: Collection[str], taken: Collection[LinkEnd]
) -> tuple[LinkEnd, LinkEnd]:
    """Where a link is to be plugged in, all nodes being there.  Raises UsageError for a port that does not exist."""
    found = []
    for number, end in enumerate(link.ends):
        port = _end(end, nodes, minivms, taken) or free_end(nodes[end.node], taken)
        label = link.labels[number] if link.labels is not None else port.label
        found.append(LinkEnd(port.node_id, port.adapter, port.port, label))
    return found[0], found[1]


def _stated(
    lab: Lab, link: int, side: int, nodes: Mapping[str, Node], minivms: Collection[str], refuse: bool
) -> LinkEnd | None:
    try:
        return _end(lab.links[link].ends[side], nodes, minivms)
    except UsageError as error:
        if not refuse:
            return None
        raise ConfigError(f"{lab.end_at(link, side)}: {error.message}", hint=error.hint) from error


def stated_ends(links: Sequence[LabLink], nodes: Mapping[str, Node], minivms: Collection[str]) -> set[LinkEnd]:
    """The ports that the file names; unknown ones are left out."""
    named = (end for link in links for end in link.ends)
    known = (end for end in named if end.node in minivms or _has(nodes.get(end.node), end.interface))
    return {port for end in known if (port := _end(end, nodes, minivms)) is not None}


def _has(node: Node | None, interface: str | None) -> bool:
    wanted = (interface or "").lower()
    return node is not None and any(wanted in (port.name.lower(), port.short_name.lower()) for port in node.ports)


def _end(
    end: LabEnd, nodes: Mapping[str, Node], minivms: Collection[str], taken: Collection[LinkEnd] = ()
) -> LinkEnd | None:
    node = nodes.get(end.node)
    if node is None or end.interface is None or not (node.ports or end.node in minivms):
        return None  # a node of a closed project has no ports
    return find_end(node, end.interface, minivm=end.node in minivms, taken=taken)


def _match(
    link: LabLink, ends: Ends, nodes: Mapping[str, Node], by_end: Mapping[LinkEnd, Link], stated: Collection[LinkEnd]
) -> Link | None:
    """The link that is there already, if one is."""
    for side in (0, 1):
        near, far, far_file = ends[side], ends[1 - side], link.ends[1 - side]
        current = by_end.get(near) if near is not None else None
        if current is None:
            continue
        rest = [end for end in current.ends if end != near]
        if far is not None and rest == [far]:
            return current
        if far is None and far_file.interface is None and far_file.node in nodes and len(rest) == 1:
            node = nodes[far_file.node]
            return current if rest[0].node_id == node.node_id and rest[0] not in stated else None
    return None


def _changes(link: LabLink, current: Link) -> dict[str, tuple[Any, Any]]:
    """Only what the file says counts: people may filter and paint the other links."""
    found: dict[str, tuple[Any, Any]] = {}
    if link.filters is not None and dict(current.filters) != link.filters.as_gns3():
        found["filters"] = (dict(current.filters), link.filters.as_gns3())
    if link.style is not None:
        wanted = link.style.as_gns3()
        has = {key: current.style.get(key) for key in wanted}
        if has != wanted:
            found["style"] = (has, wanted)
    if link.suspend is not None and current.suspended != link.suspend:
        found["suspend"] = (current.suspended, link.suspend)
    return found


def _told(link: Link, names: Mapping[str, str]) -> str:
    return " -- ".join(f"{names[end.node_id]}:{end.label or f'{end.adapter}/{end.port}'}" for end in link.ends)
