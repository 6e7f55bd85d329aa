"""The state of a lab on a server: its project, known by a mark, with nodes, links and drawings.

The mark is three of the project's variables, so that every machine recognises a lab: ``gns3-minivm-lab`` holds the
lab's name, ``gns3-minivm-project`` the project's id, ``gns3-minivm-nodes`` the nodes that are the lab's
(``r1=1f0c9d2e``: the name, the start of the node's id).  What people add to the project is not in there, and is left
alone.

A project that was imported or duplicated has the variables of the one that it was made from, and an id of its own: it
is a copy, and no lab.  A snapshot that is restored keeps the id, so the lab stays one (API v3 gives its nodes other
ids).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gns3_minivm.base.errors import ConflictError, NotFoundError
from gns3_minivm.gns3.model import Drawing, Link, Node, Project
from gns3_minivm.gns3.server import Server

LAB_VARIABLE = "gns3-minivm-lab"
PROJECT_VARIABLE = "gns3-minivm-project"
NODES_VARIABLE = "gns3-minivm-nodes"
_ID_LETTERS = 8
HALF_MADE = (-9999, -9999)
"""Where a node is until it has its name and settings: API v3 makes nodes under names of its own."""


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


def is_lab(project: Project, lab: str) -> bool:
    """Whether a project is the lab of this name, and no copy of it."""
    return project.variables.get(LAB_VARIABLE) == lab and _is_own(project)


def origin(project: Project) -> str:
    """What a project is with regard to labs, as in "is a copy of the lab 'x'"."""
    name = project.variables.get(LAB_VARIABLE)
    if name is None:
        return "was not made from a lab file"
    return f"is the lab {name!r}" if _is_own(project) else f"is a copy of the lab {name!r} (imported or duplicated)"


def _is_own(project: Project) -> bool:
    return project.variables.get(PROJECT_VARIABLE) == project.project_id


async def find_project(server: Server, lab: str) -> Project | None:
    """The project of a lab, None if there is none.

    Raises ConflictError if a project of this name is not the lab, or several projects have the lab's mark.
    """
    projects = await server.projects()
    marked = [project for project in projects if is_lab(project, lab)]
    for project in projects:
        if project.name == lab:
            if project in marked:
                return project
            itself = f"The lab itself is the project {marked[0].name!r}: rename one of them. " if marked else ""
            raise ConflictError(
                f"{server.url}: the project {lab!r} ({project.project_id}) {origin(project)}",
                hint=f"{itself}Rename the project or the lab; or take over the project as the lab (lab up --adopt): "
                "nodes with the lab's names become the lab's nodes.",
            )
    if len(marked) > 1:
        names = ", ".join(repr(project.name) for project in marked)
        raise ConflictError(
            f"{server.url}: the projects {names} are all marked as the lab {lab!r}",
            hint=f"Rename the right one to {lab!r}, or delete the others.",
        )
    return marked[0] if marked else None


async def observe(server: Server, project: Project, lab: str) -> LabState:
    """Read what a project has.  A closed one is read as its file says."""
    nodes, links, drawings = await asyncio.gather(
        server.nodes(project.project_id), server.links(project.project_id), server.drawings(project.project_id)
    )
    # The mark of another lab, or of the project that this one is a copy of, says nothing of these nodes.
    record = _record(project) if is_lab(project, lab) else {}
    return LabState(project=project, nodes=tuple(nodes), links=tuple(links), drawings=tuple(drawings), record=record)


async def lab_state(server: Server, lab: str) -> LabState:
    """The state of a lab that must exist.  Raises NotFoundError."""
    project = await find_project(server, lab)
    if project is None:
        copies = [repr(one.name) for one in await server.projects() if one.variables.get(LAB_VARIABLE) == lab]
        told = f"; there are copies of it: {', '.join(copies)}" if copies else ""
        raise NotFoundError(
            f"{server.url}: there is no lab {lab!r}{told}", hint="Create it: `gns3-minivm lab up FILE`."
        )
    return await observe(server, project, lab)


def mark(lab: str, project_id: str, nodes: Mapping[str, str]) -> dict[str, str]:
    """The project's variables of a lab, for nodes by name, with their ids ("" where they are not made yet)."""
    record = " ".join(f"{name}={node_id[:_ID_LETTERS]}" for name, node_id in sorted(nodes.items()))
    return {LAB_VARIABLE: lab, PROJECT_VARIABLE: project_id, NODES_VARIABLE: record}


def _record(project: Project) -> dict[str, str]:
    words: Iterable[str] = project.variables.get(NODES_VARIABLE, "").split()
    return {name: start for name, _, start in (word.partition("=") for word in words)}
