"""Where the fixed structures of a file system of a given size lie.

Bitmaps and inode tables of 16 groups lie together (flex_bg).  Backups of superblock and group descriptors are in the
groups 1 and powers of 3, 5 and 7 (sparse_super).  There is no reserve for larger group descriptor tables: the kernel
changes to meta_bg when it grows such a file system online.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from gns3_minivm.formats.ext4 import structs as s

_GROUPS_PER_FLEX = 1 << s.LOG_GROUPS_PER_FLEX
_LAST_GROUP_SPARE_BLOCKS = 50
"""A last group with less than this beside its own structures is given up, as mke2fs does."""

Run = tuple[int, int]
"""(first block, block after the last)."""


@dataclass(frozen=True)
class Geometry:
    """The layout; lists are indexed by the group's number, and ``used`` is ascending."""

    blocks_count: int
    groups_count: int
    inodes_per_group: int
    block_bitmaps: list[int]
    inode_bitmaps: list[int]
    inode_tables: list[int]
    used: list[Run]

    @property
    def gdt_blocks(self) -> int:
        return gdt_blocks(self.groups_count)

    @property
    def inodes_count(self) -> int:
        return self.groups_count * self.inodes_per_group

    def group_blocks(self, group: int) -> int:
        """The blocks in a group; the last one may be short."""
        return min(s.BLOCKS_PER_GROUP, self.blocks_count - group * s.BLOCKS_PER_GROUP)

    def free_runs(self) -> Iterator[Run]:
        """The space between the fixed structures, ascending."""
        position = 0
        for start, end in self.used:
            if start > position:
                yield position, start
            position = end
        if position < self.blocks_count:
            yield position, self.blocks_count


def has_superblock(group: int) -> bool:
    """Whether a group starts with a superblock (sparse_super)."""
    if group <= 1:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def gdt_blocks(groups: int) -> int:
    """The blocks of a group descriptor table."""
    return -(-groups * s.DESC_SIZE // s.BLOCK_SIZE)


def geometry(size_bytes: int, inodes_wanted: int) -> Geometry | None:
    """The layout of a file system of at most ``size_bytes``; None if it cannot hold even its own structures."""
    blocks = min(size_bytes // s.BLOCK_SIZE, s.BLOCKS_MAX)
    while True:
        groups = -(-blocks // s.BLOCKS_PER_GROUP)
        if not groups:
            return None
        per_group = -(-max(inodes_wanted, s.FIRST_INO + 1) // groups)
        per_group = min(-(-per_group // s.INODES_PER_BLOCK) * s.INODES_PER_BLOCK, s.INODES_PER_GROUP_MAX)
        last = groups - 1
        own = per_group // s.INODES_PER_BLOCK + 2 + (1 + gdt_blocks(groups)) * has_superblock(last)
        if blocks - last * s.BLOCKS_PER_GROUP >= own + _LAST_GROUP_SPARE_BLOCKS:
            return _place(blocks, groups, per_group)
        blocks = last * s.BLOCKS_PER_GROUP


def _place(blocks: int, groups: int, per_group: int) -> Geometry | None:
    table = per_group // s.INODES_PER_BLOCK
    backup = 1 + gdt_blocks(groups)
    supers = [
        (group * s.BLOCKS_PER_GROUP, group * s.BLOCKS_PER_GROUP + backup)
        for group in range(groups)
        if has_superblock(group)
    ]
    used = list(supers)
    block_bitmaps: list[int] = []
    inode_bitmaps: list[int] = []
    inode_tables: list[int] = []
    for first in range(0, groups, _GROUPS_PER_FLEX):
        count = min(_GROUPS_PER_FLEX, groups - first)
        cursor = _Cursor(first * s.BLOCKS_PER_GROUP, [run for run in supers if run[1] > first * s.BLOCKS_PER_GROUP])
        # The two rows of bitmaps are short, and one call keeps them together.
        bitmaps = cursor.take(2 * count)
        block_bitmaps += range(bitmaps, bitmaps + count)
        inode_bitmaps += range(bitmaps + count, bitmaps + 2 * count)
        tables = [cursor.take(table) for _ in range(count)]
        inode_tables += tables
        used.append((bitmaps, bitmaps + 2 * count))
        used += [(start, start + table) for start in tables]
    used.sort()
    if used[-1][1] > blocks or any(left[1] > right[0] for left, right in itertools.pairwise(used)):
        return None
    return Geometry(blocks, groups, per_group, block_bitmaps, inode_bitmaps, inode_tables, used)


class _Cursor:
    """Hands out contiguous blocks, past the obstacles."""

    def __init__(self, position: int, obstacles: list[Run]) -> None:
        self._position = position
        self._obstacles = obstacles[::-1]

    def take(self, count: int) -> int:
        while self._obstacles and self._position + count > self._obstacles[-1][0]:
            self._position = max(self._position, self._obstacles.pop()[1])
        start = self._position
        self._position += count
        return start
