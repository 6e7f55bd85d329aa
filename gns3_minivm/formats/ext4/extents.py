"""The extent tree: which blocks of a file lie where.

https://www.kernel.org/doc/html/latest/filesystems/ext4/ifork.html#extent-tree
"""

from __future__ import annotations

from collections.abc import Iterable

from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.geometry import Run

_ROOT_ENTRIES = 4
_BLOCK_ENTRIES = (s.BLOCK_SIZE - s.EXTENT_HEADER.size) // s.EXTENT.size

Extent = tuple[int, int, int]
"""(first block in the file, first block on the disk, blocks); at most 32768 blocks."""


def make_extents(pieces: Iterable[tuple[int, Run]]) -> list[Extent]:
    """Extents for pieces (first block in the file, run on the disk), joined where they adjoin."""
    extents: list[Extent] = []
    for logical, (start, end) in pieces:
        while start < end:
            length = min(end - start, s.EXTENT_LEN_MAX)
            if extents:
                before, disk, count = extents[-1]
                room = s.EXTENT_LEN_MAX - count
                if room and before + count == logical and disk + count == start:
                    length = min(length, room)
                    extents[-1] = (before, disk, count + length)
                    logical, start = logical + length, start + length
                    continue
            extents.append((logical, start, length))
            logical, start = logical + length, start + length
    return extents


def index_blocks_count(extents: int) -> int:
    """The blocks outside the inode that a tree of so many extents needs."""
    total = 0
    while extents > _ROOT_ENTRIES:
        extents = -(-extents // _BLOCK_ENTRIES)
        total += extents
    return total


def build_tree(extents: list[Extent], places: list[int]) -> tuple[bytes, list[bytes]]:
    """The inode's i_block and the contents of the index blocks, which lie at ``places`` in this order."""
    entries = [(logical, s.EXTENT.pack(logical, length, 0, start)) for logical, start, length in extents]
    blocks: list[bytes] = []
    depth = 0
    while len(entries) > _ROOT_ENTRIES:
        parents = []
        for first in range(0, len(entries), _BLOCK_ENTRIES):
            part = entries[first : first + _BLOCK_ENTRIES]
            parents.append((part[0][0], s.EXTENT_IDX.pack(part[0][0], places[len(blocks)], 0, 0)))
            blocks.append(_node(part, _BLOCK_ENTRIES, depth).ljust(s.BLOCK_SIZE, b"\0"))
        entries = parents
        depth += 1
    return _node(entries, _ROOT_ENTRIES, depth).ljust(s.I_BLOCK_SIZE, b"\0"), blocks


def _node(entries: list[tuple[int, bytes]], maximum: int, depth: int) -> bytes:
    header = s.EXTENT_HEADER.pack(s.EXTENT_MAGIC, len(entries), maximum, depth, 0)
    return header + b"".join(data for _, data in entries)


def single_extent(start: int, blocks: int) -> bytes:
    """The i_block of a file that lies in one piece of at most 32768 blocks."""
    header = s.EXTENT_HEADER.pack(s.EXTENT_MAGIC, 1, _ROOT_ENTRIES, 0, 0)
    return header + s.EXTENT.pack(0, blocks, 0, start) + bytes(36)


EMPTY_TREE = s.EXTENT_HEADER.pack(s.EXTENT_MAGIC, 0, _ROOT_ENTRIES, 0, 0) + bytes(48)
"""The i_block of a file without blocks."""
