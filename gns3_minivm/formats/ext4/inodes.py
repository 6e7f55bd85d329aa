"""Inodes as they go to the disk."""

from __future__ import annotations

import stat

from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.extents import EMPTY_TREE, single_extent
from gns3_minivm.formats.ext4.plan import Plan
from gns3_minivm.formats.tree import Node

_NS = 1_000_000_000
_SECONDS_MIN = -(1 << 31)
_SECONDS_MAX = (1 << 34) - (1 << 31) - 1
_NO_XATTRS = bytes(s.INODE_SIZE - s.INODE_XATTR_OFFSET)


def encode_time(time_ns: int) -> tuple[int, int]:
    """The low 32 bits of the seconds, and the extra word: two more bits and the nanoseconds.

    Times outside 1901 to 2446 become the nearest one inside, as the kernel does it.
    """
    seconds, ns = divmod(time_ns, _NS)
    if not _SECONDS_MIN <= seconds <= _SECONDS_MAX:
        seconds, ns = (_SECONDS_MIN, 0) if seconds < 0 else (_SECONDS_MAX, 0)
    return seconds & 0xFFFFFFFF, ns << 2 | (seconds + (1 << 31)) >> 32 & 3


def decode_time(low: int, extra: int) -> int:
    """The reverse of ``encode_time``."""
    seconds = low - (1 << 32) if low & 0x80000000 else low
    return (seconds + ((extra & 3) << 32)) * _NS + (extra >> 2)


def encode_device(major: int, minor: int) -> bytes:
    """The i_block of a device node: the old encoding in the first word where it is enough, else the new one."""
    if major < 256 and minor < 256:
        old, new = major << 8 | minor, 0
    else:
        old, new = 0, (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12
    return old.to_bytes(4, "little") + new.to_bytes(4, "little") + bytes(s.I_BLOCK_SIZE - 8)


def decode_device(i_block: bytes) -> tuple[int, int]:
    """The reverse of ``encode_device``."""
    old, new = int.from_bytes(i_block[:4], "little"), int.from_bytes(i_block[4:8], "little")
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def encode_inode(plan: Plan, number: int, node: Node, size: int, i_block: bytes | None) -> bytes:
    """The 256 bytes of an inode; ``i_block`` is the root of the extent tree if it is not a single extent or empty."""
    flags = 0
    links = plan.links[number]
    file_type = stat.S_IFMT(node.mode)
    if file_type == stat.S_IFDIR:
        flags = s.EXTENTS_FL | s.INDEX_FL * (number in plan.directories)
        # More subdirectories than the field takes are told by a count of one (dir_nlink).
        links = links if links <= s.LINK_MAX else 1
    elif file_type == stat.S_IFREG or plan.first_blocks[number]:
        flags = s.EXTENTS_FL
    if i_block is None:
        i_block = _i_block(plan, number, node, size, flags)
    packed = plan.xattrs.get(number)
    sectors = plan.block_counts[number] * s.SECTORS_PER_BLOCK
    low, extra = encode_time(node.mtime_ns)
    return s.INODE.struct.pack(
        node.mode,
        node.uid & 0xFFFF,
        size & 0xFFFFFFFF,
        low,
        low,
        low,
        0,
        node.gid & 0xFFFF,
        links,
        sectors & 0xFFFFFFFF,
        flags,
        0,
        i_block,
        0,
        plan.xattr_blocks.get(number, 0),
        size >> 32,
        0,
        sectors >> 32,
        0,
        node.uid >> 16,
        node.gid >> 16,
        0,
        0,
        s.EXTRA_ISIZE,
        0,
        extra,
        extra,
        extra,
        low,
        extra,
        0,
        0,
        packed.in_inode if packed and packed.in_inode else _NO_XATTRS,
    )


def _i_block(plan: Plan, number: int, node: Node, size: int, flags: int) -> bytes:
    first = plan.first_blocks[number]
    if first:
        return single_extent(first, -(-size // s.BLOCK_SIZE))
    if flags:
        return EMPTY_TREE
    if node.is_symlink:
        return node.target.ljust(s.I_BLOCK_SIZE, b"\0")
    if node.is_device:
        return encode_device(*node.device)
    return bytes(s.I_BLOCK_SIZE)
