"""The module disk: an ext4 file system in a qcow2 file, with a folder for the kernel's version as in /lib/modules."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gns3_minivm.base.events import Events
from gns3_minivm.bundle.modules.depmod import ModuleIndex
from gns3_minivm.bundle.unpack import Unpacked
from gns3_minivm.formats import ext4
from gns3_minivm.formats.qcow2 import Compression, Qcow2Writer
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest import contract as guest

COMPRESSION: Compression = "zlib"
"""Every QEMU reads it: all images get this disk, those too that are converted for an old QEMU."""
_SIZE_MIN = 256 << 20


def write_module_disk(target: Path, unpacked: Unpacked, index: ModuleIndex, identity: str, events: Events) -> None:
    """Write the disk (blocking); ``identity``, a recipe id, gives the file system its UUID.

    There is no journal: guests mount it read-only.
    """
    tree = module_tree(unpacked, index)
    seed = hashlib.sha256(f"module disk {identity}".encode()).digest()
    size_bytes = _size(sum(content.size for content in unpacked.contents.values()))
    options = ext4.Ext4Options(
        size_bytes=size_bytes,
        uuid=_uuid(seed[:16]),
        hash_seed=_uuid(seed[16:]),
        label=guest.MODULES_LABEL,
        journal_blocks=0,
    )
    plan = ext4.plan(tree, options)
    with (
        events.step("Writing the module disk", total=plan.content_bytes, unit="bytes") as step,
        Qcow2Writer(target, size_bytes, COMPRESSION) as disk,
    ):
        ext4.write(plan, disk, step.advance)


def module_tree(unpacked: Unpacked, index: ModuleIndex) -> FileTree:
    """The modules below a folder of the kernel's version, with the files that modprobe looks into."""
    tree = FileTree()
    top = unpacked.kernel_version.encode()
    tree.add_directory(top)
    for path, content in unpacked.contents.items():
        tree.add_file(top + b"/" + path.encode(), content)
    for name, data in (unpacked.lists | index.files()).items():
        tree.add_file(top + b"/" + name.encode(), data)
    return tree


def _size(content_bytes: int) -> int:
    """A power of two with room for a quarter more; what is not used takes no room in the file."""
    size = _SIZE_MIN
    while size < content_bytes * 5 // 4:
        size *= 2
    return size


def _uuid(data: bytes) -> bytes:
    """Mark 16 bytes as a UUID of version 8 (RFC 9562: custom, here from a hash)."""
    out = bytearray(data)
    out[6] = out[6] & 0x0F | 0x80
    out[8] = out[8] & 0x3F | 0x80
    return bytes(out)
