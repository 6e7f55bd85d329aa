"""Templates and their images as the content of a ``.gns3a`` file."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from gns3_minivm import __version__
from gns3_minivm.agent.desired import DesiredAppliance, with_mark, without_mark
from gns3_minivm.base.artifacts import Artifact, Kind
from gns3_minivm.base.errors import UsageError
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3a.model import (
    RECORD,
    REGISTRY_VERSION,
    SLOTS,
    ApplianceFile,
    DiskSource,
    ImageFile,
    KernelSource,
    MadeFile,
    Qemu,
    Record,
    Version,
)
from gns3_minivm.ops.gns3a.portable import Portability
from gns3_minivm.ops.templates.sources import FoundImage

# Never to be changed: GNS3 tells appliances apart by the ids that follow from it.
_NAMESPACE = uuid.UUID("c0d7c1b4-3c38-5a0e-8f4e-52f1a6f4a3d9")
_VENDOR = "gns3-minivm"
_IMAGES_OF_VERSIONS = re.compile(r"^Images:\n(?:  .*\n?)+", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class ExportedVersion:
    """One version: the template as ``register`` would make it, and all that its files are made of."""

    name: str
    desired: DesiredAppliance
    source: FoundImage
    bundle: Bundle
    disk: Artifact
    portable: Portability

    @property
    def template(self) -> QemuTemplate:
        return self.desired.template

    @property
    def images(self) -> dict[str, str]:
        """The file names by the field of the template."""
        return {slot: name for slot in SLOTS if (name := getattr(self.template, slot))}

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The files that this template names."""
        named = set(self.images.values())
        return tuple(one for one in (self.disk, *self.bundle.artifacts) if one.filename in named)


def compose(versions: Sequence[ExportedVersion]) -> ApplianceFile:
    """The file of one template with these versions, the settings being those of the first.

    Raises UsageError for versions that do not fit into one file.
    """
    first = versions[0]
    template, appliance = first.template, first.source.resolved.appliance
    for version in versions[1:]:
        _check_settings(first, version)
    images = {artifact.filename: _image(artifact, version) for version in versions for artifact in version.artifacts}
    info = first.source.resolved.image.info
    record = Record(
        format=1,
        release=__version__,
        default_name_format=template.default_name_format,
        origins={version.name: version.desired.origin for version in versions},
        made={artifact.filename: _made(artifact, version) for version in versions for artifact in version.artifacts},
    )
    values = {
        "appliance_id": str(uuid.uuid5(_NAMESPACE, template.name)),
        "name": template.name,
        # The schema has no plain switch; GNS3 makes a switch of this one.
        "category": "multilayer_switch" if template.category == "switch" else template.category,
        "description": appliance.description if appliance else f"{info.name} {info.version}".strip(),
        "vendor_name": info.config.labels.get("org.opencontainers.image.vendor") or _VENDOR,
        "vendor_url": "",
        "product_name": template.name,
        "registry_version": REGISTRY_VERSION,
        "availability": "free",
        "maintainer": (appliance.maintainer if appliance else "") or _VENDOR,
        "maintainer_email": appliance.maintainer_email if appliance else "",
        "usage": _usage(template.usage, record.origins),
        "symbol": template.symbol,
        "first_port_name": template.first_port_name or None,
        "port_name_format": template.port_name_format,
        "linked_clone": template.linked_clone,
        "qemu": _qemu(versions),
        "images": list(images.values()),
        "versions": [Version(name=version.name, images=version.images) for version in versions],
        RECORD: record,
    }
    return ApplianceFile.model_validate(values)


def merge(new: ApplianceFile, existing: ApplianceFile | None) -> ApplianceFile:
    """The new versions before those that the file has already.

    Raises UsageError if the file has one of them with other images.
    """
    if existing is None:
        return new
    if existing.appliance_id != new.appliance_id:
        raise UsageError(
            f"the file of this name is another appliance ({existing.name!r}, id {existing.appliance_id})",
            hint="Write to another folder, or replace the file with --force.",
        )
    old = {version.name: version for version in existing.versions}
    for version in new.versions:
        if version.name in old and old[version.name].images != version.images:
            raise UsageError(
                f"{new.name} {version.name} is already in the file, with other images",
                hint="Give the new one another name with --version, or replace the file with --force.",
            )
    versions = [*new.versions, *(v for v in existing.versions if v.name not in {w.name for w in new.versions})]
    images = {image.filename: image for image in (*existing.images, *new.images)}
    named = {name: None for version in versions for name in version.images.values()}
    record = new.record
    if record is not None and existing.record is not None:
        origins = {v.name: o for v in versions if (o := {**existing.record.origins, **record.origins}.get(v.name))}
        made = {name: m for name in named if (m := {**existing.record.made, **record.made}.get(name))}
        record = record.model_copy(update={"origins": origins, "made": made})
    usage = _usage(new.usage, record.origins if record else {})
    changes = {"versions": versions, "images": [images[name] for name in named], "record": record, "usage": usage}
    return new.model_copy(update=changes)


def plain_usage(usage: str) -> str:
    """The text that people wrote."""
    return _IMAGES_OF_VERSIONS.sub("", without_mark(usage)).strip()


def _usage(usage: str, origins: dict[str, str]) -> str:
    """The text for all versions: of one version, that of ``register``'s template, since GNS3 copies it into its own."""
    text = plain_usage(usage)
    if len(origins) == 1:
        return with_mark(text, origin=next(iter(origins.values())))
    lines = "".join(f"  {name}: {origin}\n" for name, origin in origins.items())
    return with_mark(f"{text}\n\nImages:\n{lines}" if lines else text)


def _check_settings(one: ExportedVersion, other: ExportedVersion) -> None:
    """Settings stand in the file once, for all versions."""
    differing = [
        name
        for name in Qemu.model_fields
        if name not in ("arch", "kvm", "ram", "hdb_disk_interface")
        and getattr(one.template, name) != getattr(other.template, name)
    ]
    if one.name == other.name and one.images != other.images:
        raise UsageError(
            f"two of the images are {one.template.name} {one.name}", hint="Export one of them with --version NAME."
        )
    if differing or one.template.ram_mb != other.template.ram_mb:
        names = ", ".join(differing) or "ram"
        raise UsageError(
            f"{one.template.name} {one.name} and {other.name} differ in {names}, but a .gns3a has one value for all",
            hint="Export them to different folders, or give both the same settings.",
        )


def _qemu(versions: Sequence[ExportedVersion]) -> Qemu:
    template = versions[0].template
    second_disk = any(version.template.hdb_disk_image for version in versions)
    values = {
        "adapter_type": template.adapter_type,
        "adapters": template.adapters,
        "ram": template.ram_mb,
        "cpus": template.cpus,
        "hda_disk_interface": template.hda_disk_interface,
        "hdb_disk_interface": "virtio" if second_disk else None,
        "arch": template.platform,
        "console_type": template.console_type,
        "kernel_command_line": template.kernel_command_line,
        "kvm": "allow",
        "options": template.options,
        "on_close": template.on_close,
    }
    return Qemu.model_validate({key: value for key, value in values.items() if value is not None})


def _image(artifact: Artifact, version: ExportedVersion) -> ImageFile:
    label = version.name if artifact.kind is Kind.DISK else version.bundle.kernel_version
    return ImageFile(filename=artifact.filename, version=label, md5sum=artifact.md5, filesize=artifact.size_bytes)


def _made(artifact: Artifact, version: ExportedVersion) -> MadeFile:
    if artifact.kind is not Kind.DISK:
        bundle = version.bundle
        kernel = KernelSource(
            bundle=bundle.id, flavour=bundle.flavour, version=bundle.kernel_version, wheel=version.portable.wheel
        )
        return MadeFile(sha256=artifact.sha256, kernel=kernel)
    recipe = version.source.recipe
    disk = DiskSource(
        image=version.portable.image or _pinned(version.source),
        digest=version.source.resolved.image.source_digest.digest,
        recipe=recipe.id,
        size_bytes=recipe.options.size_bytes,
        compression=recipe.options.compression,
    )
    return MadeFile(sha256=artifact.sha256, disk=disk)


def _pinned(source: FoundImage) -> str:
    pinned = source.resolved.image.source_digest.pinned
    return f"docker://{pinned}" if pinned else ""
