"""A version of an appliance file as a template: the desired state that ``import`` brings to servers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.agent.desired import ZSTD_QEMU, DesiredAppliance, WantedFile, template_id, without_mark
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ConfigError
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3a.model import KERNEL_SLOT, SLOTS, ApplianceFile, ImageFile, Qemu, Version, legible
from gns3_minivm.ops.gns3a.compose import plain_usage
from gns3_minivm.ops.templates.template import USER_FIELDS

_PLATFORMS = {X86_64.qemu: X86_64.qemu, "i386": X86_64.qemu, "aarch64": "aarch64"}
"""By architecture; QEMU for x86-64 runs systems of 32 bits as well."""
_SYMBOLS = {
    "router": ":/symbols/classic/router.svg",
    "switch": ":/symbols/classic/ethernet_switch.svg",
    "multilayer_switch": ":/symbols/classic/multilayer_switch.svg",
    "firewall": ":/symbols/classic/firewall.svg",
    "guest": ":/symbols/classic/qemu_guest.svg",
}
"""Symbols that every server has, by category."""
_SYMBOL_SIZE_MAX = 1 << 20
_PICTURES = (b"<svg", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
"""How pictures start that GNS3 can show (gns3server/utils/picture.py); an SVG may begin with an XML declaration."""
_TCG = "-machine accel=tcg"
_LEFT_OUT_QUIETLY = {"path", "platform", "boot_priority", "console_auto_start", "bios_image", "usage", "symbol"}
"""Settings that mean nothing for a kernel that is booted directly, or that are passed in another way."""


@dataclass(frozen=True)
class ImportedVersion:
    """A version's template; ``files`` are its images by the names that servers get, ``warnings`` what gets lost."""

    version: str
    desired: DesiredAppliance
    files: dict[str, ImageFile]
    warnings: tuple[str, ...]


def imported(path: Path, appliance: ApplianceFile, version: Version, *, name: str, is_pinned: bool) -> ImportedVersion:
    """The template of one version; ``is_pinned`` gives it an id of its own beside other versions.

    Raises ConfigError for anything but a QEMU machine that boots a kernel directly.
    """
    place = f"{path}: {appliance.name} {version.name}"
    _check_slots(place, version)
    images = {slot: _image(place, appliance, filename) for slot, filename in version.images.items()}
    server_names = {slot: server_name(image.filename) for slot, image in images.items()}
    by_name = {server_names[slot]: image for slot, image in images.items()}
    if len({image.md5sum for image in images.values()}) != len(by_name):
        raise ConfigError(f"{place}: two of its images have the same name or the same content")
    symbol, svg, no_symbol = _symbol(path, appliance)
    template = QemuTemplate(
        template_id=template_id(appliance.name, version=version.name) if is_pinned else template_id(name),
        name=name,
        category="switch" if appliance.category == "multilayer_switch" else appliance.category,
        symbol=symbol,
        default_name_format=_name_format(appliance, name, is_pinned=is_pinned),
        usage=plain_usage(appliance.usage) if appliance.record else without_mark(appliance.usage),
        port_name_format=appliance.port_name_format or "Ethernet{0}",
        first_port_name=appliance.first_port_name or "",
        linked_clone=appliance.linked_clone is not False,
        compute_id=None,
        version=version.name,
        **_machine(place, appliance.qemu, images),
        **server_names,  # type: ignore[arg-type]
    )
    made = [appliance.made(image.filename) for image in images.values()]
    zstd = any(one and (one.kernel or (one.disk and one.disk.compression == "zstd")) for one in made)
    desired = DesiredAppliance(
        template=template,
        files=tuple(_wanted(name, image, appliance) for name, image in by_name.items()),
        user_fields=USER_FIELDS - {"name"},
        qemu_minimum=ZSTD_QEMU if zstd else (),
        qemu_hint="Update QEMU there.",
        kernel_stated=True,
        symbol_svg=svg,
        origin=_origin(appliance, version, images),
    )
    return ImportedVersion(version.name, desired, by_name, (*_lost(place, appliance), *no_symbol))


def server_name(filename: str) -> str:
    """The name of a file on servers: they accept few characters, and unpack files that end in .gz or .xz."""
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", filename).lstrip("-.") or "image"
    return re.sub(r"\.(gz|xz|tmp)$", r"-\1", label)


def _check_slots(place: str, version: Version) -> None:
    if KERNEL_SLOT not in version.images:
        raise ConfigError(
            f"{place} does not boot a kernel directly: it has no {KERNEL_SLOT}",
            hint="Import it with the GNS3 GUI; gns3-minivm makes templates with a kernel image.",
        )
    if others := sorted(version.images.keys() - set(SLOTS)):
        raise ConfigError(
            f"{place} needs a {legible(', '.join(others))}; templates of gns3-minivm can have {', '.join(SLOTS)}",
            hint="Import it with the GNS3 GUI.",
        )


def _image(place: str, appliance: ApplianceFile, filename: str) -> ImageFile:
    found = appliance.images_named(filename)
    if len(found) > 1:
        raise ConfigError(f"{place}: {filename} is among the images {len(found)} times, with different checksums")
    return found[0]


def _machine(place: str, qemu: Qemu, images: dict[str, ImageFile]) -> dict[str, Any]:
    platform = _PLATFORMS.get(qemu.arch)
    if platform is None:
        raise ConfigError(f"{place} is for {legible(qemu.arch)}; import supports {', '.join(_PLATFORMS)}")
    options = qemu.options.strip()
    if qemu.kvm == "disable" and _TCG not in options:
        # As GNS3's own import does.
        options = f"{options} {_TCG}".strip()
    disks = {}
    for slot in ("hda_disk", "hdb_disk"):
        stated = getattr(qemu, f"{slot}_interface")
        # Older files do not say it; GNS3's own default for templates is no disk at all.
        disks[f"{slot}_interface"] = (
            (stated if stated not in (None, "none") else "ide") if f"{slot}_image" in images else "none"
        )
    return {
        "ram_mb": qemu.ram,
        "cpus": qemu.cpus,
        "adapters": qemu.adapters,
        "adapter_type": qemu.adapter_type,
        "console_type": qemu.console_type,
        "on_close": qemu.on_close,
        "kernel_command_line": qemu.kernel_command_line,
        "options": options,
        "platform": platform,
        **disks,
    }


def _name_format(appliance: ApplianceFile, name: str, *, is_pinned: bool) -> str:
    """Names of nodes, which are host names on API v3."""
    if appliance.record and appliance.record.default_name_format and not is_pinned:
        return appliance.record.default_name_format
    label = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:50].strip("-") or "minivm"
    return f"{label}-{{0}}"


def _wanted(name: str, image: ImageFile, appliance: ApplianceFile) -> WantedFile:
    return WantedFile(name, image.filesize, image.md5sum, has_recipe=appliance.made(image.filename) is not None)


def _origin(appliance: ApplianceFile, version: Version, images: dict[str, ImageFile]) -> str:
    if appliance.record and (said := appliance.record.origins.get(version.name)):
        return " ".join(said.split())
    disk = images.get("hda_disk_image") or images[KERNEL_SLOT]
    return f"{disk.filename} md5:{disk.md5sum}"


def _symbol(path: Path, appliance: ApplianceFile) -> tuple[str, bytes | None, list[str]]:
    """The symbol's name on servers, its picture where servers do not have it, and a warning."""
    wanted, usual = appliance.symbol or "", _SYMBOLS[appliance.category]
    if not wanted or wanted.startswith(":/symbols/"):
        return wanted or usual, None, []
    place = path.parent / wanted
    plain = "/" not in wanted and "\\" not in wanted and wanted not in (".", "..")
    try:
        if not plain or not place.is_file() or place.stat().st_size > _SYMBOL_SIZE_MAX:
            raise OSError("not a picture")
        svg = place.read_bytes()
    except (OSError, ValueError):
        return usual, None, [f"{path}: its symbol {wanted[:100]!r} is not beside it; templates get {usual}"]
    if not _is_picture(svg):
        # A file of the user's that lies there, which is nobody else's business.
        return usual, None, [f"{path}: its symbol {wanted[:100]!r} is not a picture; templates get {usual}"]
    digits = hashlib.sha256(svg).hexdigest()[:12]
    stem, ending = re.sub(r"[^A-Za-z0-9._-]+", "-", place.stem).strip("-."), place.suffix
    # Another picture has another name, so that none is ever overwritten.
    name = wanted if stem.endswith(f"-{digits}") else f"{stem}-{digits}{ending}"
    return name, svg, []


def _is_picture(data: bytes) -> bool:
    return data.startswith(_PICTURES) or (data.startswith(b"<?xml") and b"<svg" in data)


def _lost(place: str, appliance: ApplianceFile) -> list[str]:
    settings = {key for key, value in (appliance.qemu.model_extra or {}).items() if value not in (None, "", [], {})}
    known = set(SLOTS) | set(QemuTemplate.__dataclass_fields__) | _LEFT_OUT_QUIETLY
    lost = sorted(settings - known)
    lost += ["port_segment_size"] if appliance.port_segment_size else []
    lost += ["custom_adapters"] if appliance.custom_adapters else []
    return [f"{place}: left out: {legible(', '.join(lost))}"] if lost else []
