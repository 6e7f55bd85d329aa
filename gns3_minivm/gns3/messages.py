"""What we send, as models that check it first: API v3 drops unknown keys silently and v2's PUT checks nothing at all.

The fields and values are those of ``schemas/qemu_template.py`` of GNS3 2.2.61 and of
``schemas/controller/templates/qemu_templates.py`` of 3.0.6, as far as we use them.  ``v2/messages.py`` and
``v3/messages.py`` say where the two APIs differ.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import UsageError
from gns3_minivm.template_settings.keys import sent_fields

ConsoleType = Literal["telnet", "vnc", "spice", "spice+agent", "none"]
DiskInterface = Literal["ide", "sata", "nvme", "scsi", "sd", "mtd", "floppy", "pflash", "virtio", "none"]
Platform = Annotated[str, Field(pattern=rf"^({X86_64.qemu}|aarch64)$")]
OnClose = Literal["power_off", "shutdown_signal", "save_vm_state"]
Uuid = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
ImageName = Annotated[str, Field(pattern=r"^([A-Za-z0-9._-]+)?$")]
"""A bare file name: sub-directories are not listed on v2, absolute paths fail on remote computes of v3."""


def _one_compute(value: str) -> str:
    if value in ("", "any"):
        raise ValueError('it cannot run nodes; name a compute such as "local" or "vm"')
    return value


ComputeId = Annotated[str, AfterValidator(_one_compute)]


class Strict(BaseModel):
    """Refuses unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TemplateFields(Strict, sent_fields()):  # type: ignore[misc]
    """The fields of a QEMU template that an update may carry; what is not set is not sent."""

    name: Annotated[str, Field(min_length=1)] | None = None
    console_type: ConsoleType | None = None
    on_close: OnClose | None = None
    hda_disk_image: ImageName | None = None
    hda_disk_interface: DiskInterface | None = None
    hdb_disk_image: ImageName | None = None
    hdb_disk_interface: DiskInterface | None = None
    kernel_image: ImageName | None = None
    initrd: ImageName | None = None
    kernel_command_line: str | None = None
    options: str | None = None
    linked_clone: bool | None = None
    platform: Platform | None = None
    version: str | None = None

    @field_validator("options")
    @classmethod
    def _options_that_start(cls, value: str | None) -> str | None:
        # GNS3 refuses these only when a node starts.
        forbidden = re.findall(r"(?:^|\s)(-(?:blockdev|drive|hd[a-d]|fsdev|virtfs|nic|netdev))(?=\s|$)", value or "")
        if forbidden:
            raise ValueError(f"GNS3 does not start nodes with {', '.join(forbidden)}")
        return value


class TemplateCreate(TemplateFields):
    template_id: Uuid
    template_type: Literal["qemu"]
    name: Annotated[str, Field(min_length=1)]
    custom_adapters: Annotated[list[Any], Field(max_length=0)]


class ProjectVariable(Strict):
    name: Annotated[str, Field(min_length=1)]
    value: str


class ProjectCreate(Strict):
    name: Annotated[str, Field(min_length=1)]
    auto_close: Literal[False]
    """With True the project closes, nodes and all, 5 s after the last listener leaves."""
    project_id: str | None = None
    variables: list[ProjectVariable] | None = None
    show_interface_labels: bool | None = None


class ProjectUpdate(Strict):
    auto_close: Literal[False] | None = None
    variables: list[ProjectVariable] | None = None


class NodeProperties(Strict, sent_fields("lab")):  # type: ignore[misc]
    """What of a QEMU node can be changed; effective at its next start."""

    hdb_disk_image: ImageName | None = None
    hdb_disk_interface: DiskInterface | None = None
    kernel_command_line: str | None = None
    options: str | None = None
    on_close: OnClose | None = None


class Label(Strict):
    """A label of GNS3's; that of a node always has the node's name as its text."""

    text: str
    x: int | None = None
    y: int | None = None
    rotation: Annotated[int, Field(ge=-359, le=360)] | None = None
    style: str | None = None


class NodeUpdate(Strict):
    name: Annotated[str, Field(min_length=1)] | None = None
    x: int | None = None
    y: int | None = None
    symbol: Annotated[str, Field(min_length=1)] | None = None
    label: Label | None = None
    properties: NodeProperties | None = None


class OtherNodeUpdate(NodeUpdate):
    """A node that is not a QEMU machine: only its emulator checks its properties."""

    properties: dict[str, Any] | None = None  # type: ignore[assignment]


class LinkNode(Strict):
    node_id: Uuid
    adapter_number: Annotated[int, Field(ge=0)]
    port_number: Annotated[int, Field(ge=0)]
    label: Label | None = None


class LinkStyleMessage(Strict):
    color: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")] | None = None
    width: Annotated[int, Field(ge=0)] | None = None
    type: Annotated[int, Field(ge=0, le=5)] | None = None
    """Qt's number of the pen style."""


class LinkUpdate(Strict):
    filters: dict[str, list[int | str]] | None = None
    link_style: LinkStyleMessage | None = None
    suspend: bool | None = None


class LinkCreate(LinkUpdate):
    nodes: Annotated[list[LinkNode], Field(min_length=2, max_length=2)]


class DrawingCreate(Strict):
    svg: Annotated[str, Field(min_length=1)]
    x: int
    y: int
    z: int
    rotation: Annotated[int, Field(ge=-359, le=360)]


def checked(model: type[Strict], values: dict[str, Any], what: str) -> dict[str, Any]:
    """The body to send for ``values``.  Raises UsageError that names each field, its value and what is allowed."""
    try:
        message = model.model_validate(values)
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors(include_url=False, include_context=False)]
        raise UsageError(f"{what}: {'; '.join(faults)}", hint="Change the setting of this name.") from error
    return message.model_dump(mode="json", exclude_unset=True)


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"]) or "the whole"
    return f"{place} = {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}"
