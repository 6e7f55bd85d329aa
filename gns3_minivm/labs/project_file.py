"""A whole lab as one of GNS3's portable projects: how a large lab comes to a server at once.

A server writes the whole project to its disk at every change (``Project.dump``; API v2 also checks it against a schema
each time), one change after another, so that a lab of n nodes costs n² however many requests run at once.  A project
that is opened from a file is written once.

What the nodes of a template look like in such a file is found out by making one in a project of its own.
"""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from gns3_minivm.base.errors import UsageError
from gns3_minivm.gns3.model import LinkEnd, Node
from gns3_minivm.labs.canvas.drawings import DesiredDrawing
from gns3_minivm.labs.desired import DesiredNode
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.plan_links import new_ends, stated_ends

PLAIN_TYPES = frozenset({"qemu", "vpcs", "ethernet_switch", "ethernet_hub", "nat"})
"""Types of nodes of which one is like the other, but for names and MAC addresses."""
_OWN = ("mac_address", "mac_addr")
"""Properties that no two nodes may have alike; the compute makes new ones."""
_REVISION = 10
_DATE = (1980, 1, 1, 0, 0, 0)


def fits(node: DesiredNode) -> bool:
    """Whether a node can come in a project file."""
    known = node.template is not None and node.template.template_type in PLAIN_TYPES
    return known and (node.is_minivm or not node.properties) and node.compute_id in (None, "local")


def project_file(
    lab: Lab,
    nodes: Sequence[DesiredNode],
    samples: Mapping[str, tuple[Node, Mapping[str, Any]]],
    drawings: Sequence[DesiredDrawing],
    *,
    variables: Mapping[str, str],
    version: str,
    revision: int | None,
) -> bytes:
    """The portable project with these nodes, and the links between them.

    ``samples`` are a node of each template, by its id, and the same as the server describes it.  A port that is not
    there is left out with its link: making it afterwards tells what is wrong.
    """
    described = {item.name: _described(item, *samples[item.template_id]) for item in nodes}
    placed = {item.name: _as_node(item, samples[item.template_id][0], described[item.name]) for item in nodes}
    topology = {
        "nodes": list(described.values()),
        "links": _links(lab, placed, {item.name for item in nodes if item.is_minivm}),
        "computes": [],
        "drawings": [_drawing(drawing) for drawing in drawings],
    }
    document = {
        "project_id": str(uuid.uuid4()),
        "name": lab.name,
        "auto_start": False,
        "auto_open": False,
        "auto_close": False,
        "show_interface_labels": True,
        "variables": [{"name": name, "value": value} for name, value in variables.items()],
        "topology": topology,
        "type": "topology",
        "revision": revision or _REVISION,
        "version": version,
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "project.gns3", json.dumps(document).encode())
        for item in nodes:
            if item.payload:
                node_id = described[item.name]["node_id"]
                _add(archive, f"project-files/qemu/{node_id}/{item.payload_name}", item.payload)
    return stream.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name, _DATE)
    member.external_attr = 0o644 << 16
    archive.writestr(member, data)


_KEPT = (
    "compute_id", "node_type", "template_id", "console_type", "console_auto_start", "symbol", "label", "z",
    "port_name_format", "port_segment_size", "first_port_name", "custom_adapters",
)  # fmt: skip


def _described(item: DesiredNode, sample: Node, description: Mapping[str, Any]) -> dict[str, Any]:
    """A node as a project's file has it."""
    properties = {key: value for key, value in sample.properties.items() if key not in _OWN}
    label = dict(description.get("label") or {})
    label |= {"text": item.name, "x": None}
    if item.file.label is not None:
        label |= item.file.label.model_dump()
    described = {key: description[key] for key in _KEPT if key in description}
    described |= {
        "node_id": str(uuid.uuid4()),
        "name": item.name,
        "x": item.place[0],
        "y": item.place[1],
        "label": label,
        "properties": properties | dict(item.properties),
    }
    if item.file.symbol is not None:
        described["symbol"] = item.file.symbol
    return described


def _as_node(item: DesiredNode, sample: Node, described: Mapping[str, Any]) -> Node:
    return Node(
        project_id="",
        node_id=described["node_id"],
        name=item.name,
        node_type=sample.node_type,
        status="stopped",
        compute_id="local",
        template_id=item.template_id,
        console_host="",
        console_port=None,
        ports=sample.ports,
        properties=described["properties"],
    )


def _links(lab: Lab, nodes: Mapping[str, Node], minivms: set[str]) -> list[dict[str, Any]]:
    taken = stated_ends(lab.links, nodes, minivms)
    links = []
    for link in lab.links:
        # A suspended link of a file is not suspended when it is opened.
        if link.suspend or any(end.node not in nodes for end in link.ends):
            continue
        try:
            ends = new_ends(link, nodes, minivms, taken)
        except UsageError:
            continue
        taken |= set(ends)
        links.append({
            "link_id": str(uuid.uuid4()),
            "nodes": [_end(end) for end in ends],
            "filters": link.filters.as_gns3() if link.filters is not None else {},
            "link_style": link.style.as_gns3() if link.style is not None else {},
        })  # fmt: skip
    return links


def _end(end: LinkEnd) -> dict[str, Any]:
    place = {"node_id": end.node_id, "adapter_number": end.adapter, "port_number": end.port}
    return place | ({"label": {"text": end.label}} if end.label else {})


def _drawing(drawing: DesiredDrawing) -> dict[str, Any]:
    return {"drawing_id": str(uuid.uuid4()), "svg": drawing.svg, "x": drawing.x, "y": drawing.y, "z": drawing.z,
            "rotation": drawing.rotation, "locked": False}  # fmt: skip
