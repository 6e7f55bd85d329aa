"""An image and a kernel bundle as a template: the desired state of one appliance."""

from __future__ import annotations

from gns3_minivm.agent.desired import (
    EXTENSIBLE_FIELDS,
    NOT_BUILT,
    ZSTD_QEMU,
    DesiredAppliance,
    WantedFile,
    template_id,
)
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.errors import UsageError
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.guest import contract as guest
from gns3_minivm.ops.templates.sources import FoundImage
from gns3_minivm.template_settings.table import TemplateSettings, users_fields, usual

USER_FIELDS = EXTENSIBLE_FIELDS | users_fields() | {"name", "console_type", "on_close"}
"""What people change in the GUI.  The rest makes a template a MiniVM: its files, and how QEMU gets them."""


def describe(
    source: FoundImage,
    bundle: Bundle | None,
    settings: TemplateSettings,
    *,
    name: str | None = None,
    converted: Artifact | None = None,
    catalogue: str = "",
    kernel_stated: bool = False,
    kernel_names: str = "",
) -> DesiredAppliance:
    """The template of an image, with the appliance's settings where it is one.

    ``bundle`` is None for a kernel that is made when a template needs it.  ``name`` replaces the image's name, and
    counts as stated.  ``converted`` is the disk if it is at hand: then its checksum is known.  Without a compute in
    ``settings`` one is chosen where the template is made.  Raises UsageError for kernel arguments that the kernel would
    not take.
    """
    appliance = source.resolved.appliance
    stated = set(settings.fields) | ({"name"} if name else set())
    stated |= {"kernel_command_line"} if settings.kernel_args is not None else set()
    name = name or source.resolved.image.info.name
    disk = WantedFile.of(converted) if converted else WantedFile(source.recipe.filename)
    own = appliance.settings if appliance else _of_image(name)
    chosen = settings.over(own)
    kernel = _kernel_files(bundle)
    if not chosen.module_disk:
        kernel.pop("hdb_disk_image", None)
    files = [*kernel.values(), disk]
    images = {"hda_disk_image": disk.filename} | {field: file.filename for field, file in kernel.items()}
    if "hdb_disk_image" in images:
        images["hdb_disk_interface"] = "virtio"
    words = " ".join(filter(None, [own.kernel_args, settings.kernel_args]))
    template = QemuTemplate(
        template_id=template_id(name),
        name=name,
        kernel_command_line=guest.kernel_command_line(words, X86_64),
        options=guest.qemu_options(X86_64, chosen.machine),
        compute_id=settings.compute,
        version=source.resolved.image.info.version,
        **chosen.fields,
        **images,  # type: ignore[arg-type]
    )
    if bundle is not None and template.ram_mb < bundle.minimum_ram_mb:
        raise UsageError(
            f"{name} has {template.ram_mb} MB of memory; the kernel {bundle.kernel_version} hangs with less than "
            f"{bundle.minimum_ram_mb} MB",
            hint=f"Give it more: {bundle.minimum_ram_mb} MB (--ram, or ram in a catalogue).",
        )
    zstd = source.recipe.options.compression == "zstd"
    return DesiredAppliance(
        template=template,
        files=tuple(files),
        user_fields=USER_FIELDS - stated,
        catalogue=catalogue,
        symbol_svg=appliance.symbol_svg if appliance and settings.symbol is None else None,
        qemu_minimum=ZSTD_QEMU if zstd else (),
        qemu_hint="Use another compression (`compression: zlib` in the catalogue, --compression zlib of register), "
        "or update QEMU there.",
        kernel_stated=kernel_stated,
        kernel_names=kernel_names,
        origin=origin_text(source),
    )


def origin_text(source: FoundImage) -> str:
    """The image of a disk with its digest, as a template's usage text says it."""
    image = source.resolved.image
    found = image.source_digest
    return found.pinned or " ".join(filter(None, [image.info.name, image.info.version, found.digest]))


def _kernel_files(bundle: Bundle | None) -> dict[str, WantedFile]:
    """The files of a kernel by the template's fields."""
    if bundle is None:
        stems = {"kernel_image": "vmlinuz", "initrd": "initrd", "hdb_disk_image": "modules"}
        return {field: WantedFile(f"{stem}-{NOT_BUILT}") for field, stem in stems.items()}
    found = {"kernel_image": bundle.kernel, "initrd": bundle.initrd, "hdb_disk_image": bundle.modules}
    return {field: WantedFile.of(artifact) for field, artifact in found.items() if artifact is not None}


def _of_image(name: str) -> TemplateSettings:
    """The defaults for the template of an image that is not an appliance."""
    label = "".join(c if c.isascii() and c.isalnum() else "-" for c in name).strip("-") or "minivm"
    return TemplateSettings(default_name_format=f"{label}-{{0}}").over(usual())
