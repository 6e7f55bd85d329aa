"""Appliance files for tests, of the shape that the original's have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILES: Mapping[str, tuple[str, bytes]] = {
    "hda_disk_image": ("alpine-minivm-3.19.1.qcow2", b"QFI\xfb\0\0\0\3" + b"disk" * 3000),
    "kernel_image": ("debian-vmlinuz-6.1.0-18-cloud-amd64", b"kernel image " * 900),
    "initrd": ("debian-initramfs-6.1.0-18-cloud-amd64", b"initial RAM disk " * 700),
    "hdb_disk_image": ("debian-modules-6.1.0-18-cloud-amd64.qcow2", b"QFI\xfb\0\0\0\3" + b"modules" * 3000),
}
"""The images by the template's field: name and content."""


def image(filename: str, content: bytes, **more: Any) -> dict[str, Any]:
    """What a file says of an image."""
    digest = hashlib.md5(content).hexdigest()
    return {"filename": filename, "version": "1", "md5sum": digest, "filesize": len(content), **more}


def original(**changes: Any) -> dict[str, Any]:
    """A file of the original, key by key."""
    values: dict[str, Any] = {
        "appliance_id": "f5156266-6485-4c2f-8639-411933a690c7",
        "name": "Alpine-minivm",
        "category": "guest",
        "description": "Alpine Linux",
        "vendor_name": "Alpine",
        "vendor_url": "https://www.alpinelinux.org",
        "product_name": "Alpine",
        "registry_version": 4,
        "status": "experimental",
        "maintainer": "A Maintainer",
        "maintainer_email": "maintainer@example.com",
        "usage": 'For a clean shutdown set "On close" to "Send the shutdown signal (ACPI)".',
        "symbol": "linux_guest.svg",
        "port_name_format": "eth{0}",
        "qemu": {
            "adapter_type": "virtio-net-pci",
            "adapters": 1,
            "ram": 256,
            "hda_disk_interface": "scsi",
            "hdb_disk_interface": "scsi",
            "arch": "x86_64",
            "console_type": "telnet",
            "kernel_command_line": "console=ttyS0 quiet root=/dev/sda rw",
            "kvm": "allow",
        },
        "images": [image(*file) for file in FILES.values()],
        "versions": [{"name": "3.19.1", "images": {slot: name for slot, (name, _) in FILES.items()}}],
    }
    return values | changes


def write_original(folder: Path, *, alone: bool = False, **changes: Any) -> Path:
    """Write the file, and its images beside it unless it shall be alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in () if alone else FILES.values():
        (folder / name).write_bytes(content)
    path = folder / "alpine-minivm.gns3a"
    path.write_text(json.dumps(original(**changes), indent=4))
    return path
