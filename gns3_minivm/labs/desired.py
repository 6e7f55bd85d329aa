"""The desired nodes of a lab on a server: a lab file and the server's templates, put together."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gns3_minivm.agent.desired import is_ours
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ConfigError, ConflictError, NotFoundError
from gns3_minivm.gns3.model import LOCAL_COMPUTE, Node, ServerTemplate
from gns3_minivm.guest.contract import COMMAND_LINE_MAX, with_machine
from gns3_minivm.guest.payload import FW_CFG_NAME, NODE_FILE_NAME, NodePayload, qemu_option
from gns3_minivm.labs.model import Lab, LabNode
from gns3_minivm.template_settings.table import rows

_PAYLOAD_NAME = re.compile(rf"{NODE_FILE_NAME}-[0-9a-f]{{12}}")


@dataclass(frozen=True, kw_only=True)
class DesiredNode:
    """A desired node; ``properties`` are GNS3's, as far as the lab decides them.

    ``template`` is None where a dry run cannot have it yet; its id is known before.  The payload's name follows from
    its content, so that the node's options tell whether the node has it.
    """

    name: str
    file: LabNode
    template_id: str
    template: ServerTemplate | None
    properties: Mapping[str, Any]
    payload: bytes = b""
    compute_id: str | None = None
    place: tuple[int, int] = (0, 0)
    """Where it is put when it is made."""

    @property
    def payload_name(self) -> str:
        return payload_name(self.payload) if self.payload else ""

    @property
    def is_minivm(self) -> bool:
        return bool(self.file.source) or (self.template is not None and is_minivm(self.template))

    @property
    def source(self) -> str:
        """What the file says it is made from."""
        return self.file.source or self.file.template or ""


def payload_name(payload: bytes) -> str:
    return f"{NODE_FILE_NAME}-{hashlib.sha256(payload).hexdigest()[:12]}"


def is_minivm(template: ServerTemplate) -> bool:
    """Whether nodes of a template read payload files: it is ours, or boots a kernel with our words."""
    values = template.values
    return is_ours(template) or (values is not None and f"root={X86_64.root_device}" in values.kernel_command_line)


def find_template(templates: list[ServerTemplate], wanted: str, where: str) -> ServerTemplate:
    """The template of this id or name.  Raises NotFoundError, ConflictError."""
    found = [item for item in templates if item.template_id == wanted] or [
        item for item in templates if item.name == wanted
    ]
    if len(found) > 1:
        ids = ", ".join(item.template_id for item in found)
        raise ConflictError(
            f"{where}: there are {len(found)} templates named {wanted!r}", hint=f"Use an id instead: {ids}."
        )
    if not found:
        lower = wanted.lower()
        near = [item.name for item in templates if lower in item.name.lower() or item.name.lower() in lower]
        known = near or sorted({item.name for item in templates})
        raise NotFoundError(
            f"{where}: there is no template {wanted!r}", hint=f"The server's templates are: {', '.join(known)}."
        )
    return found[0]


def desired_node(
    lab: Lab,
    name: str,
    template: ServerTemplate | str,
    payload: NodePayload | None,
    place: tuple[int, int] = (0, 0),
    *,
    default_compute: str = LOCAL_COMPUTE,
) -> DesiredNode:
    """Put a node together; of a template that is not there yet, its id is given.

    ``default_compute`` is where built-in nodes go: their templates name no compute.
    Raises ConfigError for keys that do not apply to nodes of this template."""
    file = lab.nodes[name]
    compute = lab.compute_of(name)
    if isinstance(template, str):
        data = payload.encode() if payload is not None else b""
        return DesiredNode(
            name=name,
            file=file,
            template_id=template,
            template=None,
            properties=dict(file.properties),
            payload=data,
            compute_id=compute,
            place=place,
        )
    if template.builtin:
        compute = compute or default_compute
    minivm = bool(file.source) or is_minivm(template)
    if not minivm:
        _check_foreign(lab, name, file, template)
    data = payload.encode() if payload is not None and minivm else b""
    properties = dict(file.properties)
    if template.template_type == "qemu":
        properties |= _qemu_properties(lab, name, template, data) if minivm else _stated(file)
    return DesiredNode(
        name=name,
        file=file,
        template_id=template.template_id,
        template=template,
        properties=properties,
        payload=data,
        compute_id=compute,
        place=place,
    )


def _stated(file: LabNode) -> dict[str, Any]:
    """What a node says of its machine, by GNS3's names, as far as it is GNS3's as it is."""
    given = {row.gns3: getattr(file, row.name) for row in rows("lab") if row.field}
    return {key: value for key, value in given.items() if value is not None}


def _qemu_properties(lab: Lab, name: str, template: ServerTemplate, payload: bytes) -> dict[str, Any]:
    """What the file says, and what the template says where the file is silent."""
    file, values = lab.nodes[name], template.values
    assert values is not None
    words = " ".join(filter(None, [values.kernel_command_line, file.kernel_args]))
    if len(words) > COMMAND_LINE_MAX:
        raise ConfigError(
            f"{lab.at('nodes', name, 'kernel_args')}: node {name}: its kernel command line has "
            f"{len(words)} characters; QEMU accepts {COMMAND_LINE_MAX}",
            hint="Shorten kernel_args; settings such as env and files do not use it.",
        )
    option = qemu_option(payload_name(payload)) if payload else ""
    usual = {row.gns3: getattr(values, row.field) for row in rows("lab") if row.field}
    usual["adapters"] = max(values.adapters, lab.adapters_needed(name))
    return {
        **usual,
        **_stated(file),
        **_module_disk(lab, name, template),
        "kernel_command_line": words,
        "options": " ".join(filter(None, [with_machine(without_payload(values.options), file.machine), option])),
    }


def _module_disk(lab: Lab, name: str, template: ServerTemplate) -> dict[str, str]:
    """The second disk of a node that says whether it has one; others keep what they have."""
    wanted, values = lab.nodes[name].module_disk, template.values
    assert values is not None
    if wanted is None:
        return {}
    if wanted and not values.hdb_disk_image and values.initrd:
        raise ConfigError(
            f"{lab.at('nodes', name, 'module_disk')}: node {name}: the template {template.name!r} has no module disk",
            hint="Register the template with --module-disk.",
        )
    image = values.hdb_disk_image if wanted else ""
    return {"hdb_disk_image": image, "hdb_disk_interface": values.hdb_disk_interface if image else "none"}


def without_payload(options: str) -> str:
    """QEMU's options without the one that hands a payload over."""
    return re.sub(rf"\s*-fw_cfg\s+\S*name={re.escape(FW_CFG_NAME)},\S*", "", options).strip()


def payload_of(node: Node) -> str:
    """The name of the payload file that a node's options name, if it is one of a lab's; else ""."""
    filename = payload_file(node)
    return filename if _PAYLOAD_NAME.fullmatch(filename) else ""


def payload_file(node: Node) -> str:
    """The name of any payload file that a node's options name, by hand too; else ""."""
    try:
        words = shlex.split(str(node.properties.get("options") or ""))
    except ValueError:
        return ""
    for word in words:
        if word.startswith(f"name={FW_CFG_NAME},file="):
            return word.partition(",file=")[2].replace(",,", ",")
    return ""


def _check_foreign(lab: Lab, name: str, file: LabNode, template: ServerTemplate) -> None:
    worked_in = [row.name for row in rows("lab") if not row.field]
    wrong = list(file.settings) + [key for key in worked_in if getattr(file, key) is not None]
    if template.template_type != "qemu":
        wrong += list(_stated(file))
    if wrong:
        raise ConfigError(
            f"{lab.at('nodes', name, wrong[0])}: node {name}: {', '.join(wrong)} cannot be set for "
            f"a node of the template {template.name!r} ({template.template_type}), which is not a MiniVM",
            hint="Use `properties`, with GNS3's names, for its own settings.",
        )
