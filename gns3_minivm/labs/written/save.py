"""Writes a server's lab as the text of a lab file (pure).

Nodes with their templates, sizes, settings (from their payload files), positions and symbols; links with filters and
style; drawings.  Not saved: what guests have written on their disks, and whether nodes run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gns3_minivm.documents import yaml_text
from gns3_minivm.gns3.model import LOCAL_COMPUTE, Drawing, Link, LinkEnd, Node, QemuTemplate, ServerTemplate
from gns3_minivm.guest.payload import NodePayload
from gns3_minivm.labs.canvas.drawings import MARK
from gns3_minivm.labs.model import PEN_STYLES, Lab, LabNode
from gns3_minivm.labs.written.save_settings import settings_of
from gns3_minivm.template_settings.table import rows

_SWITCHES = ("ethernet_switch", "ethernet_hub")
_HUB_PORTS = [{"name": f"Ethernet{n}", "port_number": n} for n in range(8)]
_PLAIN_PORTS = {
    "ethernet_switch": [{**port, "type": "access", "vlan": 1} for port in _HUB_PORTS],
    "ethernet_hub": _HUB_PORTS,
}


@dataclass(frozen=True, kw_only=True)
class SavedProject:
    """A project as it is on a server; ``payloads`` by node id, ``template_settings`` by template id."""

    name: str
    nodes: Sequence[Node]
    links: Sequence[Link]
    drawings: Sequence[Drawing]
    templates: Mapping[str, ServerTemplate]
    template_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    payloads: Mapping[str, NodePayload] = field(default_factory=dict)


def lab_text(project: SavedProject, appliances: Collection[str], file: Lab | None = None) -> str:
    """The lab file.  ``appliances`` are names that need no template on a server.

    ``file`` is the lab file that the project was made from: what it says of where nodes come from is kept, and so are
    its checks.
    """
    values: dict[str, Any] = {"name": project.name}
    values["nodes"] = {node.name: _node(project, node, appliances, file) for node in _in_order(project.nodes, file)}
    if project.links:
        values["links"] = [_link(link, project) for link in project.links]
    if project.drawings:
        values["drawings"] = [_drawing(drawing) for drawing in project.drawings]
    if file is not None and file.tests:
        values["tests"] = [test.model_dump(mode="json", exclude_defaults=True) for test in file.tests]
    return yaml_text(values)


def _in_order(nodes: Sequence[Node], file: Lab | None) -> list[Node]:
    """As in the file, new ones behind."""
    places = {name: number for number, name in enumerate(file.nodes)} if file else {}
    return sorted(nodes, key=lambda node: (places.get(node.name, len(places)), node.name))


def _node(project: SavedProject, node: Node, appliances: Collection[str], file: Lab | None) -> dict[str, Any]:
    before = file.nodes.get(node.name) if file else None
    template = project.templates.get(node.template_id or "")
    entry = _origin(node, template, appliances, before)
    if node.compute_id not in ("", LOCAL_COMPUTE):
        entry["compute"] = node.compute_id
    if template is not None and template.values is not None:
        entry |= _sizes(node, template.values)
    if node.node_type in _SWITCHES:
        entry |= _ports(node, project.template_settings.get(node.template_id or "", {}))
    if payload := project.payloads.get(node.node_id):
        entry |= settings_of(payload)
    entry["position"] = [node.x, node.y]
    symbol = template.values.symbol if template is not None and template.values is not None else None
    symbol = symbol or str(project.template_settings.get(node.template_id or "", {}).get("symbol") or node.symbol)
    if node.symbol and node.symbol != symbol:
        entry["symbol"] = node.symbol
    if before is not None and not before.start:
        entry["start"] = False
    return entry


def _origin(
    node: Node, template: ServerTemplate | None, appliances: Collection[str], before: LabNode | None
) -> dict[str, Any]:
    if before is not None:
        given = {"appliance": before.appliance, "image": before.image, "template": before.template}
        return {key: value for key, value in given.items() if value is not None}
    if template is None:
        # The template is gone; its name in the file at least says what is missing.
        return {"template": node.template_id or node.node_type}
    return {"appliance" if template.name in appliances else "template": template.name}


def _sizes(node: Node, template: QemuTemplate) -> dict[str, Any]:
    """What of a QEMU node is not as in its template."""
    wanted = {row.name: getattr(template, row.field) for row in rows("lab") if row.field}
    found = {row.name: node.properties.get(row.gns3) for row in rows("lab") if row.field}
    entry: dict[str, Any] = {key: value for key, value in found.items() if value is not None and value != wanted[key]}
    words = str(node.properties.get("kernel_command_line") or "")
    extra = words.removeprefix(template.kernel_command_line).strip()
    if template.kernel_image and extra and extra != words:
        entry["kernel_args"] = extra
    if template.hdb_disk_image and node.properties.get("hdb_disk_image") == "":
        entry["module_disk"] = False
    return entry


def _ports(node: Node, template: Mapping[str, Any]) -> dict[str, Any]:
    mapping = node.properties.get("ports_mapping")
    # The built-in ones of API v2 do not say what they give a node.
    usual = template.get("ports_mapping") or _PLAIN_PORTS.get(node.node_type)
    return {"properties": {"ports_mapping": mapping}} if mapping and mapping != usual else {}


def _link(link: Link, project: SavedProject) -> Any:
    ends = [_end(end, project) for end in link.ends]
    entry: dict[str, Any] = {"ends": [f"{node}:{names[0]}" if names else node for node, names in ends]}
    # A label that is the port's name says nothing.
    if any(end.label and end.label not in names for end, (_, names) in zip(link.ends, ends, strict=True)):
        entry["labels"] = [end.label for end in link.ends]
    if filters := _filters(link.filters):
        entry["filters"] = filters
    if style := _style(link.style):
        entry["style"] = style
    if link.suspended:
        entry["suspend"] = True
    return entry["ends"] if list(entry) == ["ends"] else entry


def _end(end: LinkEnd, project: SavedProject) -> tuple[str, list[str]]:
    """The node, and what its port is called, the name for the file first."""
    node = next(node for node in project.nodes if node.node_id == end.node_id)
    template = project.templates.get(node.template_id or "")
    port = next((port for port in node.ports if (port.adapter, port.port) == (end.adapter, end.port)), None)
    names = [name for name in (port.short_name, port.name) if name] if port else []
    if node.node_id in project.payloads or (template and template.values and template.values.kernel_image):
        names.insert(0, f"eth{end.adapter}")
    return node.name, names


def _filters(filters: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in filters.items():
        values = value if isinstance(value, list) else [value]
        found[name] = values[0] if len(values) == 1 else values
    return found


def _style(style: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {number: name for name, number in PEN_STYLES.items()}
    found = {"color": style.get("color"), "width": style.get("width"), "type": kinds.get(style.get("type", 0))}
    return {key: value for key, value in found.items() if value is not None}


def _drawing(drawing: Drawing) -> dict[str, Any]:
    entry: dict[str, Any] = {"svg": drawing.svg.replace(MARK, ""), "position": [drawing.x, drawing.y]}
    if drawing.rotation:
        entry["rotation"] = drawing.rotation
    if drawing.z:
        entry["layer"] = drawing.z
    return entry
