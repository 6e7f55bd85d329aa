"""Reads what servers answer: unknown keys and unknown values of enumerations are taken as they come.

A missing or ill-typed key that we need is a ServerFaultError.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gns3_minivm.base.errors import ServerFaultError
from gns3_minivm.gns3.model import (
    Compute,
    Drawing,
    Link,
    LinkEnd,
    Node,
    Port,
    Project,
    QemuTemplate,
    ServerImage,
    ServerTemplate,
    Snapshot,
)
from gns3_minivm.template_settings.keys import read_fields
from gns3_minivm.template_settings.table import rows


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


_R = TypeVar("_R", bound=_Reply)


class _Template(_Reply):
    template_id: str
    name: str
    template_type: str
    builtin: bool = False


class _QemuTemplate(_Template, read_fields()):  # type: ignore[misc]
    """Absent and null values read as the values that GNS3 gives them."""

    console_type: str | None = None
    on_close: str | None = None
    hda_disk_image: str | None = None
    hda_disk_interface: str | None = None
    hdb_disk_image: str | None = None
    hdb_disk_interface: str | None = None
    kernel_image: str | None = None
    initrd: str | None = None
    kernel_command_line: str | None = None
    options: str | None = None
    linked_clone: bool | None = None
    platform: str | None = None
    compute_id: str | None = None
    version: str | None = None


class _Variable(_Reply):
    name: str | None = None
    value: str | None = None


class _Project(_Reply):
    project_id: str
    name: str | None = None
    status: str | None = None
    variables: list[_Variable] | None = None


class _Port(_Reply):
    name: str = ""
    adapter_number: int
    port_number: int
    mac_address: str | None = None
    short_name: str | None = None


class _Node(_Reply):
    project_id: str
    node_id: str
    name: str
    node_type: str
    status: str | None = None
    compute_id: str | None = None
    template_id: str | None = None
    console_host: str | None = None
    console: int | None = None
    ports: list[_Port] | None = None
    properties: dict[str, Any] | None = None
    x: int | None = None
    y: int | None = None
    symbol: str | None = None
    label: dict[str, Any] | None = None
    console_type: str | None = None


class _LinkNode(_Reply):
    node_id: str
    adapter_number: int
    port_number: int
    label: dict[str, Any] | None = None


class _Link(_Reply):
    link_id: str
    nodes: list[_LinkNode] | None = None
    filters: dict[str, Any] | None = None
    link_style: dict[str, Any] | None = None
    suspend: bool | None = None


class _Drawing(_Reply):
    drawing_id: str
    svg: str | None = None
    x: int | None = None
    y: int | None = None
    z: int | None = None
    rotation: int | None = None


class _ImageV2(_Reply):
    filename: str
    md5sum: str | None = None
    filesize: int | None = None


class _ImageV3(_Reply):
    filename: str
    image_size: int | None = None
    checksum: str | None = None
    checksum_algorithm: str = "md5"
    created_at: datetime.datetime | None = None


class _Snapshot(_Reply):
    snapshot_id: str
    name: str | None = None


class _User(_Reply):
    username: str = ""
    is_superadmin: bool = False


class _Compute(_Reply):
    compute_id: str
    name: str | None = None
    connected: bool = False
    capabilities: dict[str, Any] | None = None


def template(answer: Mapping[str, Any]) -> ServerTemplate:
    head = _read(_Template, answer, "template")
    values: QemuTemplate | None = None
    if head.template_type == "qemu" and not head.builtin:
        body = _read(_QemuTemplate, answer, f"template {head.name!r}")
        values = QemuTemplate(
            template_id=body.template_id,
            name=body.name,
            **{row.field: row.kind(getattr(body, row.gns3) or row.kind()) for row in rows() if row.field},
            console_type=body.console_type or "",
            on_close=body.on_close or "",
            hda_disk_image=body.hda_disk_image or "",
            hda_disk_interface=body.hda_disk_interface or "none",
            hdb_disk_image=body.hdb_disk_image or "",
            hdb_disk_interface=body.hdb_disk_interface or "none",
            kernel_image=body.kernel_image or "",
            initrd=body.initrd or "",
            kernel_command_line=body.kernel_command_line or "",
            options=body.options or "",
            linked_clone=body.linked_clone is not False,
            version=body.version or "",
            platform=body.platform or "",
            compute_id=body.compute_id,
        )
    return ServerTemplate(
        template_id=head.template_id,
        name=head.name,
        template_type=head.template_type,
        builtin=head.builtin,
        values=values,
    )


def project(answer: Mapping[str, Any]) -> Project:
    body = _read(_Project, answer, "project")
    variables = {item.name: item.value or "" for item in body.variables or () if item.name}
    return Project(body.project_id, body.name or "", body.status or "", variables)


def node(answer: Mapping[str, Any]) -> Node:
    body = _read(_Node, answer, "node")
    return Node(
        project_id=body.project_id,
        node_id=body.node_id,
        name=body.name,
        node_type=body.node_type,
        status=body.status or "",
        compute_id=body.compute_id or "",
        template_id=body.template_id,
        console_host=body.console_host or "",
        console_port=body.console,
        ports=tuple(
            Port(
                name=p.name,
                adapter=p.adapter_number,
                port=p.port_number,
                mac_address=p.mac_address,
                short_name=p.short_name or "",
            )
            for p in body.ports or ()
        ),
        properties=body.properties or {},
        x=body.x or 0,
        y=body.y or 0,
        symbol=body.symbol or "",
        label=body.label or {},
        console_type=body.console_type or "",
    )


def with_console_host(value: Node, host: str) -> Node:
    return replace(value, console_host=host)


def link(answer: Mapping[str, Any], project_id: str) -> Link:
    body = _read(_Link, answer, "link")
    ends = tuple(
        LinkEnd(end.node_id, end.adapter_number, end.port_number, str((end.label or {}).get("text", "")))
        for end in body.nodes or ()
    )
    # What is not set, API v3 answers a creation with as null, and leaves out in its list.
    style = {key: value for key, value in (body.link_style or {}).items() if value is not None}
    return Link(
        project_id=project_id,
        link_id=body.link_id,
        ends=ends,
        filters=body.filters or {},
        style=style,
        suspended=bool(body.suspend),
    )


def drawing(answer: Mapping[str, Any]) -> Drawing:
    body = _read(_Drawing, answer, "drawing")
    return Drawing(
        drawing_id=body.drawing_id,
        svg=body.svg or "",
        x=body.x or 0,
        y=body.y or 0,
        z=body.z or 0,
        rotation=body.rotation or 0,
    )


def image_v2(answer: Mapping[str, Any]) -> ServerImage:
    body = _read(_ImageV2, answer, "image")
    return ServerImage(filename=body.filename, size_bytes=body.filesize, md5=body.md5sum)


def image_v3(answer: Mapping[str, Any]) -> ServerImage:
    body = _read(_ImageV3, answer, "image")
    # The database keeps UTC and does not say so.
    recorded_at = body.created_at and body.created_at.replace(tzinfo=body.created_at.tzinfo or datetime.UTC)
    md5 = body.checksum if body.checksum_algorithm == "md5" else None
    return ServerImage(filename=body.filename, size_bytes=body.image_size, md5=md5, recorded_at=recorded_at)


def compute(answer: Mapping[str, Any]) -> Compute:
    body = _read(_Compute, answer, "compute")
    said = {key: str(value) for key, value in (body.capabilities or {}).items() if value}
    name = body.name or body.compute_id
    return Compute(
        compute_id=body.compute_id,
        name=name,
        connected=body.connected,
        version=said.get("version"),
        platform=said.get("platform"),
    )


def snapshot(answer: Mapping[str, Any], project_id: str) -> Snapshot:
    body = _read(_Snapshot, answer, "snapshot")
    return Snapshot(project_id, body.snapshot_id, body.name or "")


def user(answer: Mapping[str, Any]) -> tuple[str, bool]:
    """A user's name, and whether he is an administrator."""
    body = _read(_User, answer, "user")
    return body.username, body.is_superadmin


def _read(model: type[_R], answer: Mapping[str, Any], what: str) -> _R:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise ServerFaultError(
            f"the server's reply describes a {what} in an unknown way ({place}: {fault['msg']})",
            hint="This release of the server may be newer than gns3-minivm knows.",
        ) from error
