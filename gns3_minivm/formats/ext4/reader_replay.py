"""The journal replayed in memory: the file system as its next mount would find it.  Nothing is written.

https://www.kernel.org/doc/html/latest/filesystems/ext4/journal.html (jbd2).  As in the kernel, a transaction counts if
its commit block is there.  Checksums are not verified; fast commits are left out, so that the last seconds may be
missing.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.reader import Ext4Reader
from gns3_minivm.formats.sink import BlockSource

_HEADER = struct.Struct(">III")  # h_magic h_blocktype h_sequence
_DESCRIPTOR, _COMMIT, _REVOKE = 1, 2, 5
_INCOMPAT_64BIT, _INCOMPAT_CSUM_V2, _INCOMPAT_CSUM_V3, _INCOMPAT_FAST_COMMIT = 0x2, 0x8, 0x10, 0x20
_TAG_ESCAPED, _TAG_SAME_UUID, _TAG_LAST = 1, 2, 8
_REVOKE_HEADER_SIZE, _UUID_SIZE, _TAIL_SIZE = 16, 16, 4
_FAST_COMMIT_BLOCKS_AT, _FAST_COMMIT_BLOCKS_DEFAULT = 84, 256
_BLOCKS_MAX = 1 << 18
"""In the journal, of changes; mke2fs chooses no larger journal by itself."""
_EXTENTS_MAX = 1 << 16

_Tag = tuple[int, int, bool]
"""(block on the disk, block in the journal that has its new content, whether its first bytes are escaped)."""


def open_replayed(source: BlockSource) -> tuple[Ext4Reader, int | None]:
    """A reader of the file system with the changes in its journal, and how many transactions these are.

    The number is None if nothing needs to be replayed, or if the journal is on another disk.  Raises DamagedImageError.
    """
    disk = Ext4Reader(source)
    if not disk.super.needs_recovery or not disk.superblock["s_journal_inum"]:
        return disk, None
    log = _Log(disk, source)
    changes: dict[int, tuple[int, bool]] = {}
    count = 0
    for tags, revoked in log.transactions():
        count += 1
        for block, place, is_escaped in tags:
            changes[block] = log.position(place), is_escaped
        for block in revoked:
            # It was freed: what this and earlier transactions say of it must not hit its next owner.
            changes.pop(block, None)
    return (Ext4Reader(_Replayed(source, disk.super.block_size, changes)) if changes else disk), count


class _Replayed:
    """The disk with some of its blocks taken from the journal."""

    def __init__(self, source: BlockSource, block_size: int, changes: dict[int, tuple[int, bool]]) -> None:
        self._source = source
        self._block_size = block_size
        self._changes = changes

    def read(self, offset: int, size: int) -> bytes:
        data = self._source.read(offset, size)
        end = offset + size
        numbers = range(offset // self._block_size, -(-end // self._block_size))
        changed = [number for number in numbers if number in self._changes]
        if not changed:
            return data
        result = bytearray(data)
        for number in changed:
            start = number * self._block_size
            low, high = max(start, offset), min(start + self._block_size, end)
            result[low - offset : high - offset] = self._block(number)[low - start : high - start]
        return bytes(result)

    def _block(self, number: int) -> bytes:
        position, is_escaped = self._changes[number]
        data = self._source.read(position, self._block_size)
        return s.JOURNAL_MAGIC.to_bytes(4, "big") + data[4:] if is_escaped else data


class _Log:
    """The blocks of the journal, which is written round and round."""

    def __init__(self, disk: Ext4Reader, source: BlockSource) -> None:
        self._source = source
        self._block_size = disk.super.block_size
        self._blocks_count = disk.super.blocks_count
        self._ino = disk.superblock["s_journal_inum"]
        self._extents = list(islice(disk.extents(self._ino), _EXTENTS_MAX + 1))
        if len(self._extents) > _EXTENTS_MAX:
            raise self._damaged(f"it lies in more than {_EXTENTS_MAX} pieces")
        data = self._block(0)
        fields = s.JOURNAL_SUPERBLOCK.unpack(data[: s.JOURNAL_SUPERBLOCK.size])
        self._features = fields["s_feature_incompat"] if fields["h_blocktype"] == s.JOURNAL_SUPERBLOCK_V2 else 0
        self._start, self._sequence, self._first = fields["s_start"], fields["s_sequence"], fields["s_first"]
        self._end = fields["s_maxlen"]
        if self._features & _INCOMPAT_FAST_COMMIT:
            # Their blocks are the journal's last ones.
            told = int.from_bytes(data[_FAST_COMMIT_BLOCKS_AT : _FAST_COMMIT_BLOCKS_AT + 4], "big")
            self._end -= told or _FAST_COMMIT_BLOCKS_DEFAULT
        is_sane = fields["h_magic"] == s.JOURNAL_MAGIC and fields["s_blocksize"] == self._block_size
        if not is_sane or not (
            0 < self._first < self._end and (not self._start or self._first <= self._start < self._end)
        ):
            raise self._damaged("its superblock is wrong")

    def _damaged(self, what: str) -> DamagedImageError:
        return DamagedImageError(f"the journal (inode {self._ino}) is damaged: {what}")

    def position(self, block: int) -> int:
        """Where a block of the journal lies on the disk, in bytes."""
        index = bisect_right(self._extents, block, key=lambda extent: extent[0]) - 1
        if index >= 0:
            logical, start, length = self._extents[index]
            if block < logical + length:
                return (start + block - logical) * self._block_size
        raise self._damaged(f"it has no block {block}")

    def _block(self, block: int) -> bytes:
        return self._source.read(self.position(block), self._block_size)

    def _next(self, block: int) -> int:
        return block + 1 if block + 1 < self._end else self._first

    def transactions(self) -> Iterator[tuple[list[_Tag], list[int]]]:
        """What each finished transaction has written and revoked, the oldest first."""
        at, sequence = self._start, self._sequence
        tags: list[_Tag] = []
        revoked: list[int] = []
        seen = 0
        while at and seen < self._end - self._first:
            data = self._block(at)
            magic, kind, found = _HEADER.unpack_from(data)
            if magic != s.JOURNAL_MAGIC or found != sequence:
                return
            at, seen = self._next(at), seen + 1
            if kind == _DESCRIPTOR:
                for number, flags in self._tags(data):
                    tags.append((number, at, bool(flags & _TAG_ESCAPED)))
                    at, seen = self._next(at), seen + 1
            elif kind == _REVOKE:
                revoked += self._revoked(data)
            elif kind == _COMMIT:
                yield tags, revoked
                tags, revoked = [], []
                sequence = (sequence + 1) & 0xFFFFFFFF
            else:
                return
            if seen > _BLOCKS_MAX:
                raise self._damaged(f"it holds more than {_BLOCKS_MAX} blocks of changes")

    def _tags(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(block on the disk, flags) for each block that follows a descriptor."""
        is_64bit = bool(self._features & _INCOMPAT_64BIT)
        if self._features & _INCOMPAT_CSUM_V3:
            size = 16
        else:
            size = 8 + 4 * is_64bit + 2 * bool(self._features & _INCOMPAT_CSUM_V2)
        at, end = _HEADER.size, len(data) - self._tail_size
        while at + size <= end:
            number = int.from_bytes(data[at : at + 4], "big")
            if self._features & _INCOMPAT_CSUM_V3:
                flags = int.from_bytes(data[at + 4 : at + 8], "big")
            else:
                flags = int.from_bytes(data[at + 6 : at + 8], "big")
            if is_64bit:
                number |= int.from_bytes(data[at + 8 : at + 12], "big") << 32
            if number >= self._blocks_count:
                raise self._damaged(f"it changes block {number}; the file system has {self._blocks_count}")
            yield number, flags
            if flags & _TAG_LAST:
                return
            at += size + (0 if flags & _TAG_SAME_UUID else _UUID_SIZE)

    @property
    def _tail_size(self) -> int:
        return _TAIL_SIZE if self._features & (_INCOMPAT_CSUM_V2 | _INCOMPAT_CSUM_V3) else 0

    def _revoked(self, data: bytes) -> list[int]:
        used = int.from_bytes(data[_HEADER.size : _HEADER.size + 4], "big")
        if not _REVOKE_HEADER_SIZE <= used <= len(data):
            raise self._damaged(f"a block of revoked blocks says that it has {used} bytes")
        size = 8 if self._features & _INCOMPAT_64BIT else 4
        places = range(_REVOKE_HEADER_SIZE, used - size + 1, size)
        return [int.from_bytes(data[at : at + size], "big") for at in places]
