"""An image and a kernel bundle as a template: the desired state of one appliance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gns3_minivm import guest
from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, template_id
from gns3_minivm.artifacts import Artifact
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.catalog import Appliance
from gns3_minivm.errors import UsageError
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.ops.sources import Source

PLAIN_IMAGE_RAM_MB = 256
"""Memory for an image that is no appliance and so does not say."""


@dataclass(frozen=True)
class TemplateSettings:
    """Settings that replace the appliance's; None leaves it to the appliance.  ``ram`` in MB."""

    ram: int | None = None
    cpus: int | None = None
    adapters: int | None = None
    kernel_args: str | None = None


def describe(
    source: Source,
    bundle: Bundle,
    settings: TemplateSettings,
    *,
    name: str | None = None,
    converted: Artifact | None = None,
) -> DesiredAppliance:
    """The template of an image, with the appliance's settings where it is one.

    ``name`` replaces the image's name.  ``converted`` is the disk if it is at hand: then its checksum is known.
    Raises UsageError for kernel arguments that the kernel would not take.
    """
    appliance = source.resolved.appliance
    name = name or source.resolved.image.info.name
    disk = WantedFile.of(converted) if converted else WantedFile(source.recipe.filename)
    files = [WantedFile.of(bundle.kernel), disk]
    images = {"hda_disk_image": disk.filename, "kernel_image": bundle.kernel.filename}
    if bundle.initrd is not None:
        files.append(WantedFile.of(bundle.initrd))
        images["initrd"] = bundle.initrd.filename
    if appliance is not None and appliance.module_disk and bundle.modules is not None:
        files.append(WantedFile.of(bundle.modules))
        images |= {"hdb_disk_image": bundle.modules.filename, "hdb_disk_interface": "virtio"}
    own_words = appliance.kernel_arguments if appliance else ""
    words = " ".join(filter(None, [own_words, settings.kernel_args]))
    template = QemuTemplate(
        template_id=template_id(name),
        name=name,
        kernel_command_line=guest.kernel_command_line(words),
        options=guest.QEMU_OPTIONS,
        **_described(appliance, name),
        **images,  # type: ignore[arg-type]
    )
    chosen = {"ram_mb": settings.ram, "cpus": settings.cpus, "adapters": settings.adapters}
    changes: dict[str, Any] = {field: value for field, value in chosen.items() if value is not None}
    template = replace(template, **changes)
    if template.ram_mb < bundle.minimum_ram_mb:
        raise UsageError(
            f"{name} has {template.ram_mb} MB of memory; the kernel {bundle.kernel_version} hangs with less than "
            f"{bundle.minimum_ram_mb} MB",
            hint=f"Give it more: --ram {bundle.minimum_ram_mb}.",
        )
    return DesiredAppliance(template, tuple(files))


def _described(appliance: Appliance | None, name: str) -> dict[str, Any]:
    if appliance is None:
        label = "".join(c if c.isascii() and c.isalnum() else "-" for c in name).strip("-") or "minivm"
        return {"ram_mb": PLAIN_IMAGE_RAM_MB, "default_name_format": f"{label}-{{0}}"}
    return {
        "category": str(appliance.category),
        "symbol": appliance.symbol,
        "default_name_format": appliance.node_name_format,
        "usage": appliance.usage,
        "ram_mb": appliance.ram,
        "cpus": appliance.cpus,
        "adapters": appliance.adapters,
        "adapter_type": appliance.adapter_type,
        "port_name_format": appliance.port_name_format,
        "first_port_name": appliance.first_port_name,
    }
