"""Writes a planned file system: once through the contents in canonical order, then what describes them."""

from __future__ import annotations

from array import array

from gns3_minivm.base.events import Progress, no_progress
from gns3_minivm.formats.content import ContentReader
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.directory import linear_block, lost_and_found_blocks
from gns3_minivm.formats.ext4.extents import build_tree
from gns3_minivm.formats.ext4.groups import group_metadata
from gns3_minivm.formats.ext4.inodes import encode_inode
from gns3_minivm.formats.ext4.journal import journal_index_blocks, journal_inode, journal_superblock
from gns3_minivm.formats.ext4.plan import Plan
from gns3_minivm.formats.ext4.planner import FAST_SYMLINK_MAX, LOST_AND_FOUND_BLOCKS
from gns3_minivm.formats.sink import BlockSink
from gns3_minivm.formats.tree import Node

_READ_SIZE = 4 << 20
_FLUSH_SIZE = 2 << 20


def write(plan: Plan, sink: BlockSink, progress: Progress = no_progress) -> None:
    """Write the whole file system.

    ``progress`` is called with the bytes of content done since the last call; they sum up to ``plan.content_bytes``.
    Raises DamagedImageError or HostError where a content cannot be read, and what the sink raises.
    """
    with ContentReader() as reader:
        directories = _Writer(plan, sink, reader, progress).write_inodes()
    if plan.journal:
        sink.write(plan.journal[0][1] * s.BLOCK_SIZE, journal_superblock(plan))
        for block, data in journal_index_blocks(plan):
            sink.write(block * s.BLOCK_SIZE, data)
    for block, data in group_metadata(plan, directories):
        sink.write(block * s.BLOCK_SIZE, data)


class _Joined:
    """Joins writes that follow each other on the disk."""

    def __init__(self, sink: BlockSink) -> None:
        self._sink = sink
        self._parts: list[bytes] = []
        self._start = 0
        self._size = 0

    def write(self, offset: int, data: bytes) -> None:
        if offset != self._start + self._size or self._size >= _FLUSH_SIZE:
            self.flush()
            self._start = offset
        self._parts.append(data)
        self._size += len(data)

    def flush(self) -> None:
        if self._parts:
            self._sink.write(self._start, b"".join(self._parts))
            self._parts = []
            self._size = 0


class _Writer:
    def __init__(self, plan: Plan, sink: BlockSink, reader: ContentReader, progress: Progress) -> None:
        self._plan = plan
        self._reader = reader
        self._progress = progress
        self._data = _Joined(sink)
        self._tables = _Joined(sink)
        self._untold = 0

    def write_inodes(self) -> array[int]:
        """Write contents and inode tables; returns the count of directories by group."""
        plan = self._plan
        directories = array("I", bytes(4 * plan.geometry.groups_count))
        for number, node in enumerate(plan.nodes):
            if node is not None:
                if node.is_directory:
                    directories[(number - 1) // plan.geometry.inodes_per_group] += 1
                size, i_block = self._write_blocks(number, node)
                self._write_inode(number, encode_inode(plan, number, node, size, i_block))
            elif number == s.JOURNAL_INO and plan.journal:
                self._write_inode(number, journal_inode(plan))
        self._data.flush()
        self._tables.flush()
        self._progress(self._untold)
        return directories

    def _write_inode(self, number: int, data: bytes) -> None:
        group, index = divmod(number - 1, self._plan.geometry.inodes_per_group)
        self._tables.write(self._plan.geometry.inode_tables[group] * s.BLOCK_SIZE + index * s.INODE_SIZE, data)

    def _write_blocks(self, number: int, node: Node) -> tuple[int, bytes | None]:
        """Write an inode's blocks; returns its size, and its i_block where that is not simple."""
        plan = self._plan
        if number in plan.xattr_blocks:
            self._data.write(plan.xattr_blocks[number] * s.BLOCK_SIZE, plan.xattrs[number].block)
        size = node.size
        if node.is_file:
            self._write_file(number, node, size)
        elif node.is_directory or size > FAST_SYMLINK_MAX:
            data = self._directory(number) if node.is_directory else node.target
            for logical, start, length in self._extents(number, len(data)):
                begin = logical * s.BLOCK_SIZE
                self._data.write(start * s.BLOCK_SIZE, _padded(data[begin : begin + length * s.BLOCK_SIZE]))
            size = len(data)
        if number not in plan.extents:
            return size, None
        places = plan.index_blocks.get(number, [])
        i_block, blocks = build_tree(plan.extents[number], places)
        for place, block in zip(places, blocks, strict=True):
            self._data.write(place * s.BLOCK_SIZE, block)
        return size, i_block

    def _extents(self, number: int, size: int) -> list[tuple[int, int, int]]:
        first = self._plan.first_blocks[number]
        if first:
            return [(0, first, -(-size // s.BLOCK_SIZE))]
        return self._plan.extents.get(number, [])

    def _directory(self, number: int) -> bytes:
        plan = self._plan
        if number in plan.directories:
            return plan.directories[number]
        if number == plan.lost_and_found:
            return lost_and_found_blocks(number, LOST_AND_FOUND_BLOCKS)
        return linear_block(number, plan.parents[number], plan.directory_entries(number))

    def _write_file(self, number: int, node: Node, size: int) -> None:
        content = node.content
        for logical, start, length in self._extents(number, size):
            begin, end = logical * s.BLOCK_SIZE, min((logical + length) * s.BLOCK_SIZE, size)
            offset = start * s.BLOCK_SIZE - begin
            for at in range(begin, end, _READ_SIZE):
                data = self._reader.read(content, at, min(_READ_SIZE, end - at))
                self._data.write(offset + at, _padded(data))
        self._untold += size
        if self._untold >= _FLUSH_SIZE:
            self._progress(self._untold)
            self._untold = 0


def _padded(data: bytes) -> bytes:
    missing = -len(data) % s.BLOCK_SIZE
    return data + bytes(missing) if missing else data
