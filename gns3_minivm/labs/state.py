"""What a server has of a lab: its project, known by a mark, with nodes, links and drawings.

The mark is two of the project's variables, so that every machine recognises a lab: ``gns3-minivm-lab`` holds the lab's
name, ``gns3-minivm-nodes`` the nodes that are the lab's (``r1=1f0c9d2e``: the name, the start of the node's id).  What
people add to the project is not in there, and is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gns3_minivm.base.errors import ConflictError, NotFoundError
from gns3_minivm.gns3.model import Drawing, Link, Node, Project
from gns3_minivm.gns3.server import Server

LAB_VARIABLE = "gns3-minivm-lab"
NODES_VARIABLE = "gns3-minivm-nodes"
_ID_LETTERS = 8
HALF_MADE = (-9999, -9999)
"""Where a node stands until it has its name and settings: API v3 makes nodes under names of its own."""
ALWAYS_ON = frozenset({"ethernet_switch", "ethernet_hub", "cloud", "nat", "frame_relay_switch", "atm_switch"})
"""Types of nodes that cannot be stopped."""


@dataclass(frozen=True, kw_only=True)
class LabState:
    """``project`` is None where the server has no such lab; ``record`` are the lab's nodes as the mark has them."""

    project: Project | None = None
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    record: Mapping[str, str] = field(default_factory=dict)

    def node_of(self, name: str) -> Node | None:
        """The node that the lab calls so: by the id of the mark, else by its name."""
        by_id = next((node for node in self.nodes if _is_recorded(node, self.record.get(name))), None)
        named = (node for node in self.nodes if node.name == name and self._name_of(node) in (None, name))
        return by_id or next(named, None)

    @property
    def half_made(self) -> list[Node]:
        """Nodes that an earlier run has left behind before they had their names."""
        return [node for node in self.nodes if (node.x, node.y) == HALF_MADE]

    def ours(self) -> dict[str, Node]:
        """The nodes that the mark has, by the lab's names."""
        found = {name: self.node_of(name) for name in self.record}
        return {name: node for name, node in found.items() if node is not None}

    def _name_of(self, node: Node) -> str | None:
        return next((name for name, start in self.record.items() if _is_recorded(node, start)), None)


def _is_recorded(node: Node, start: str | None) -> bool:
    return bool(start) and node.node_id.startswith(start or "-")


async def find_project(server: Server, lab: str) -> Project | None:
    """The project of a lab, None if there is none.

    Raises ConflictError where a project of this name is no lab, or several projects have the lab's mark.
    """
    projects = await server.projects()
    marked = [project for project in projects if project.variables.get(LAB_VARIABLE) == lab]
    for project in projects:
        if project.name == lab:
            if project in marked:
                return project
            raise ConflictError(
                f"{server.url}: there is a project named {lab!r} that was not made from a lab file",
                hint="Give the lab another name, or take the project over (lab up --adopt): nodes that are named like "
                "the lab's are taken for them.",
            )
    if len(marked) > 1:
        names = ", ".join(repr(project.name) for project in marked)
        raise ConflictError(
            f"{server.url}: the projects {names} are all marked as the lab {lab!r}",
            hint=f"Rename the one that is meant to {lab!r}, or delete the others.",
        )
    return marked[0] if marked else None


async def observe(server: Server, project: Project) -> LabState:
    """Read what a project has.  A closed one is read as its file says."""
    nodes, links, drawings = await asyncio.gather(
        server.nodes(project.project_id), server.links(project.project_id), server.drawings(project.project_id)
    )
    return LabState(
        project=project, nodes=tuple(nodes), links=tuple(links), drawings=tuple(drawings), record=_record(project)
    )


async def lab_state(server: Server, lab: str) -> LabState:
    """The state of a lab that has to be there.  Raises NotFoundError."""
    project = await find_project(server, lab)
    if project is None:
        raise NotFoundError(f"{server.url}: there is no lab {lab!r}", hint="Make it: `gns3-minivm lab up FILE`.")
    return await observe(server, project)


def mark(lab: str, nodes: Mapping[str, str]) -> dict[str, str]:
    """The project's variables of a lab, for nodes by name, with their ids ("" where they are not made yet)."""
    record = " ".join(f"{name}={node_id[:_ID_LETTERS]}" for name, node_id in sorted(nodes.items()))
    return {LAB_VARIABLE: lab, NODES_VARIABLE: record}


def _record(project: Project) -> dict[str, str]:
    words: Iterable[str] = project.variables.get(NODES_VARIABLE, "").split()
    return {name: start for name, _, start in (word.partition("=") for word in words)}
