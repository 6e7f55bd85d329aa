"""Nodes that still run on an older image of their template.

A node keeps the image that it was made with: its disk is a linked clone of it.  Finding these nodes takes one request
for each project, so this is no part of ``observe``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.base.errors import NotFoundError
from gns3_minivm.gns3.model import Node, Project, QemuTemplate
from gns3_minivm.gns3.server import Server

_COMPARED = ("hda_disk_image", "kernel_image", "initrd")
WHAT_TO_DO = (
    "They keep working. To give a node the new image, delete it and add it again; the data on its disk is then lost."
)


@dataclass(frozen=True, kw_only=True)
class OldNode:
    """``images`` are the older files that the node uses, with the ones that its template has now."""

    project: str
    node: str
    node_id: str
    template: str
    images: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "node": self.node,
            "node_id": self.node_id,
            "template": self.template,
            "images": [{"node": old, "template": new} for old, new in self.images],
        }


async def old_nodes(server: Server, desired: Iterable[DesiredAppliance]) -> tuple[OldNode, ...]:
    """The nodes of these templates that use other images, in all projects that the user may see."""
    templates = {appliance.template.template_id: appliance.template for appliance in desired}
    found = []
    for project, node in await _nodes_of(server, templates):
        template = templates[node.template_id or ""]
        if images := _older(node, template):
            found.append(
                OldNode(project=project, node=node.name, node_id=node.node_id, template=template.name, images=images)
            )
    return tuple(found)


async def nodes_of(server: Server, template_id: str) -> list[tuple[str, str]]:
    """Project and name of every node that was made from a template."""
    return [(project, node.name) for project, node in await _nodes_of(server, {template_id})]


async def _nodes_of(server: Server, template_ids: Iterable[str]) -> list[tuple[str, Node]]:
    wanted = set(template_ids)
    return [
        (project.name, node)
        async for project, nodes in nodes_by_project(server, await server.projects())
        for node in nodes
        if node.template_id in wanted
    ]


async def nodes_by_project(server: Server, projects: Iterable[Project]) -> AsyncIterator[tuple[Project, list[Node]]]:
    """Each of the projects with its nodes, one request after the other; one that no longer exists is left out."""
    for project in projects:
        try:
            nodes = await server.nodes(project.project_id)
        except NotFoundError:
            continue  # deleted at this moment
        yield project, nodes


def _older(node: Node, template: QemuTemplate) -> tuple[tuple[str, str], ...]:
    pairs = []
    for field in _COMPARED:
        # A compute may say where the file lies.
        has = str(node.properties.get(field) or "").replace("\\", "/").rpartition("/")[2]
        wants = getattr(template, field)
        if has != wants:
            pairs.append((has, wants))
    return tuple(pairs)
