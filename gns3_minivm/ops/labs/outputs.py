"""Hands a lab on: ``lab graph``, ``lab inventory``, ``lab save``, ``lab export``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.appliances import Appliances
from gns3_minivm.base.bounded import bounded_map
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import GuestError, NotFoundError
from gns3_minivm.base.output import check_output, write_output
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import ALWAYS_ON, Node, Project, ServerTemplate
from gns3_minivm.gns3.server import Server
from gns3_minivm.guest.payload import NodePayload
from gns3_minivm.guest.payload_reader import decode_payload
from gns3_minivm.labs.canvas.layout import place_nodes
from gns3_minivm.labs.canvas.picture import PictureLink, PictureNode, Shape, draw_picture
from gns3_minivm.labs.desired import payload_file
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.written.inventory import Format, Inventory, InventoryHost
from gns3_minivm.labs.written.save import SavedProject, lab_text
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs.find import find_lab, is_file, read
from gns3_minivm.ops.project import ProjectExport, export_project

_SHAPES: tuple[tuple[Shape, str], ...] = (
    ("switch", r"switch|hub|bridge"),
    ("cloud", r"cloud|\bnat\b"),
    ("router", r"router|frr|bird|vyos|quagga|routeros|\bios"),
)
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class TextResult:
    """A text for the user; ``output`` is the file that it was written to, None if to none."""

    lab: str
    text: str
    output: Path | None
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "lab": self.lab,
            "output": str(self.output) if self.output else None,
            "text": None if self.output else self.text,
            "dry_run": self.dry_run,
        }


async def lab_graph(
    address: Address | None, lab: str, context: RunContext, *, output: Path | None = None, force: bool = False
) -> TextResult:
    """A picture of a lab (SVG): as its file says, or with ``address`` as it is on the server.

    Raises ConfigError, UsageError, NotFoundError, ServerError.
    """
    if address is None:
        found = (await read(lab)).lab
        name, svg = found.name, _file_picture(found)
    else:
        async with await connect(address) as server:
            project = await find_lab(server, lab)
            name, svg = project.name, await _server_picture(server, project)
    return await _delivered(name, svg, output, force=force, dry_run=context.dry_run)


async def lab_inventory(
    address: Address, lab: str, form: Format, context: RunContext, *, output: Path | None = None, force: bool = False
) -> TextResult:
    """The lab's nodes as an inventory.  An address is the first that the node was given, of its lab file or payload."""
    async with await connect(address) as server:
        project = await find_lab(server, lab)
        nodes = [node for node in await server.nodes(project.project_id) if node.node_type not in ALWAYS_ON]
        templates = {template.template_id: template.name for template in await server.templates()}
        payloads = await _payloads(server, project, nodes)
        file = (await read(lab)).lab if is_file(lab) else None
        hosts = [_host(node, templates, payloads.get(node.node_id), file) for node in nodes]
        hosts.sort(key=lambda host: host.name)
        text = Inventory(server.url, project.name, project.project_id, hosts).text(form)
    return await _delivered(project.name, text, output, force=force, dry_run=context.dry_run)


async def lab_save(
    address: Address,
    lab: str,
    context: RunContext,
    *,
    output: Path | None = None,
    force: bool = False,
) -> TextResult:
    """What the server has of a lab, or of any project, as a lab file.

    Where the lab is named by its file, that file's origins of nodes and its checks are kept.
    """
    file = (await read(lab)).lab if is_file(lab) else None
    async with await connect(address) as server:
        project = await find_lab(server, lab)
        with context.events.step(f"Read {project.name}"):
            saved = await _read_project(server, project)
    appliances = await run_blocking(Appliances(context.settings.appliance_folders).names)
    return await _delivered(
        project.name, lab_text(saved, appliances, file), output, force=force, dry_run=context.dry_run
    )


async def lab_export(address: Address, lab: str, output: Path, context: RunContext, *, force: bool) -> ProjectExport:
    """Write a lab's project with all images that its nodes need; the nodes must be stopped (``project export``)."""
    async with await connect(address) as server:
        project = await find_lab(server, lab)
    return await export_project(address, project.project_id, output, context, force=force)


async def _delivered(name: str, text: str, output: Path | None, *, force: bool, dry_run: bool) -> TextResult:
    if output is not None:
        if dry_run:
            check_output(output, replace=force)
        else:
            await run_blocking(write_output, output, text.encode("utf-8"), replace=force)
    return TextResult(lab=name, text=text, output=output, dry_run=dry_run)


def _file_picture(lab: Lab) -> str:
    fixed = {name: (node.position.x, node.position.y) for name, node in lab.nodes.items() if node.position}
    ends = [link.ends for link in lab.links]
    places = place_nodes(list(lab.nodes), [(one.node, other.node) for one, other in ends], fixed)
    nodes = [
        PictureNode(
            name=name,
            x=places[name][0],
            y=places[name][1],
            shape=shape_of(node.source, node.template or "", node.symbol or ""),
            what=_origin(node),
        )
        for name, node in lab.nodes.items()
    ]
    links = [PictureLink(one.node, other.node, one.interface or "", other.interface or "") for one, other in ends]
    return draw_picture(lab.name, nodes, links)


def _origin(node: Any) -> str:
    return str(node.source or node.template or "")


async def _server_picture(server: Server, project: Project) -> str:
    project_id = project.project_id
    nodes, links, templates = await asyncio.gather(
        server.nodes(project_id), server.links(project_id), server.templates()
    )
    names = {template.template_id: template.name for template in templates}
    by_id = {node.node_id: node for node in nodes}
    drawn = [
        PictureNode(
            name=node.name,
            x=node.x,
            y=node.y,
            shape=shape_of(names.get(node.template_id or "", ""), node.node_type, node.symbol),
            what=names.get(node.template_id or "", node.node_type),
            status="" if node.node_type in ALWAYS_ON else node.status,
        )
        for node in nodes
    ]
    wires = [
        PictureLink(
            *(by_id[end.node_id].name for end in link.ends), *(_port_name(by_id[end.node_id], end) for end in link.ends)
        )
        for link in links
        if len(link.ends) == 2 and all(end.node_id in by_id for end in link.ends)
    ]
    return draw_picture(project.name, drawn, wires)


def _port_name(node: Node, end: Any) -> str:
    port = next((port for port in node.ports if (port.adapter, port.port) == (end.adapter, end.port)), None)
    return str(end.label or (port.short_name or port.name if port else ""))


def shape_of(*texts: str) -> Shape:
    """What a node looks like, by what it is called and made from."""
    text = " ".join(texts).lower().replace("_", " ")
    return next((shape for shape, pattern in _SHAPES if re.search(pattern, text)), "machine")


async def _payloads(server: Server, project: Project, nodes: Sequence[Node]) -> dict[str, NodePayload]:
    """What the nodes were told, by their ids.  Raises GuestError for a file that cannot be read."""

    async def one(named: tuple[Node, str]) -> tuple[str, NodePayload] | None:
        node, name = named
        try:
            data = await server.read_node_file(project.project_id, node.node_id, name)
        except NotFoundError:
            return None  # a node that was never started well
        try:
            return node.node_id, decode_payload(data)
        except GuestError as error:
            raise GuestError(f"node {node.name}: {error.message}", hint=error.hint) from error

    files = [(node, name) for node in nodes if (name := payload_file(node))]
    found = await bounded_map(one, files, at_once=_AT_ONCE)
    return dict(pair for pair in found if pair is not None)


async def _read_project(server: Server, project: Project) -> SavedProject:
    project_id = project.project_id
    nodes, links, drawings, templates = await asyncio.gather(
        server.nodes(project_id), server.links(project_id), server.drawings(project_id), server.templates()
    )
    by_id = {template.template_id: template for template in templates}
    return SavedProject(
        name=project.name,
        nodes=nodes,
        links=links,
        drawings=drawings,
        templates=by_id,
        template_settings=await _template_settings(server, nodes, by_id),
        payloads=await _payloads(server, project, nodes),
    )


async def _template_settings(
    server: Server, nodes: Sequence[Node], templates: Mapping[str, ServerTemplate]
) -> dict[str, Mapping[str, Any]]:
    """What the templates of nodes say that are not QEMU's."""
    wanted = {node.template_id for node in nodes if node.template_id in templates and node.node_type != "qemu"}
    return {one: await server.template_settings(one) for one in sorted(filter(None, wanted))}


def _host(node: Node, templates: Mapping[str, str], payload: NodePayload | None, file: Lab | None) -> InventoryHost:
    told = [address for each in (payload.addresses.values() if payload else ()) for address in each]
    if file is not None and node.name in file.nodes and not told:
        told = [address for one in file.nodes[node.name].interfaces.values() for address in one.address]
    static = [address for address in told if "/" in address]
    running = node.status == "started" and node.console_type == "telnet"
    return InventoryHost(
        name=node.name,
        group=templates.get(node.template_id or "", node.node_type),
        address=static[0].partition("/")[0] if static else "",
        console_host=node.console_host,
        console_port=node.console_port if running else None,
        node_id=node.node_id,
        addresses=tuple(static),
    )
