"""Reads ext4 file systems: lists directories, reads files, attributes and the superblock.

For file systems of this package and of mke2fs; the journal is not replayed.  Not supported: block maps (ext2, ext3),
inline data, encryption, blocks of more than 4 KiB.  Checksums are not verified.  Whatever the disk holds, the work and
the memory have a limit: trees are walked in ascending order only, and sizes are checked before they are believed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.inodes import decode_device, decode_time
from gns3_minivm.formats.ext4.reader_superblock import Superblock
from gns3_minivm.formats.ext4.xattrs import unpack_xattrs
from gns3_minivm.formats.sink import BlockSource
from gns3_minivm.formats.tree import Node, printable

_DEPTH_MAX = 5
LINKS_FOLLOWED_MAX = 40
"""As many as the kernel follows in one path."""
_LOGICAL_BLOCKS_MAX = 1 << 32
_DIRECTORY_BLOCKS_MAX = 1 << 20
"""For all directories that one walk reads: some 50 million names."""
_CHUNK_SIZE = 1 << 20


@dataclass(frozen=True)
class Stat:
    """An inode; ``blocks`` counts the blocks of the file system, ``device`` is (0, 0) for everything else."""

    ino: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    blocks: int
    flags: int
    mtime_ns: int
    device: tuple[int, int]


@dataclass(frozen=True)
class Place:
    """Where a path leads: ``path`` is free of links; without an inode the way ends there, and ``why`` says why."""

    ino: int | None
    path: bytes
    links_followed: int
    why: Literal["", "missing", "not a folder", "too many links"] = ""


class Ext4Reader:
    """A file system on a BlockSource.  Raises DamagedImageError if it is damaged or not supported."""

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        self.super = Superblock(source)
        if self.super.unreadable:
            what = " and ".join(self.super.unreadable)
            raise DamagedImageError(f"the ext4 file system has features that are not supported: {what}")
        self.uuid = self.super.uuid
        self.label = self.super.label
        self._block_size = self.super.block_size
        self._tables: dict[int, int] = {}

    @property
    def superblock(self) -> dict[str, int]:
        return self.super.fields

    @property
    def free_bytes(self) -> int:
        return self.super.free_bytes

    @property
    def used_inodes(self) -> int:
        return self.superblock["s_inodes_count"] - self.superblock["s_free_inodes_count"]

    def _block(self, number: int) -> bytes:
        self._check_blocks(number, 1)
        return self._source.read(number * self._block_size, self._block_size)

    def _check_blocks(self, first: int, count: int) -> None:
        if first <= 0 or first + count > self.super.blocks_count:
            raise DamagedImageError(
                f"the ext4 file system points to block {first + count - 1}, but has {self.super.blocks_count}"
            )

    def _inode(self, ino: int) -> bytes:
        """The inode's bytes, at least 256: what the file system does not store of them is zero."""
        if not 0 < ino <= self.superblock["s_inodes_count"]:
            raise DamagedImageError(f"the ext4 file system points to inode {ino}, which it does not have")
        group, index = divmod(ino - 1, self.superblock["s_inodes_per_group"])
        table = self._tables.get(group)
        if table is None:
            table = self._tables[group] = self.super.inode_table(group)
        block, within = divmod(index * self.super.inode_size, self._block_size)
        self._check_blocks(table + block, 1)
        data = self._source.read((table + block) * self._block_size + within, self.super.inode_size)
        return data.ljust(s.INODE_SIZE, b"\0")

    def stat(self, ino: int) -> Stat:
        """The attributes of an inode."""
        data = self._inode(ino)
        fields = s.INODE.unpack(data)
        mode = fields["i_mode"]
        blocks = fields["i_blocks_lo"] | fields["l_i_blocks_high"] << 32
        size = fields["i_size_lo"] | fields["i_size_high"] << 32
        if size > _LOGICAL_BLOCKS_MAX * self._block_size:
            raise DamagedImageError(f"inode {ino} is damaged: its size is {size} bytes")
        return Stat(
            ino=ino,
            mode=mode,
            uid=fields["i_uid"] | fields["l_i_uid_high"] << 16,
            gid=fields["i_gid"] | fields["l_i_gid_high"] << 16,
            size=size,
            links=fields["i_links_count"],
            blocks=blocks if fields["i_flags"] & s.HUGE_FILE_FL else blocks * 512 // self._block_size,
            flags=fields["i_flags"],
            mtime_ns=decode_time(fields["i_mtime"], fields["i_mtime_extra"]),
            device=decode_device(data[40:100]) if Node(mode, None).is_device else (0, 0),
        )

    def lookup(self, path: bytes, *, follow: bool = False) -> int | None:
        """The inode number of a path, or None; symbolic links on the way (and, if asked, at its end) are followed."""
        return self.find(path, follow=follow).ino

    def find(self, path: bytes, *, follow: bool = True) -> Place:
        """Where a path leads; links are followed as by ``lookup``, and never out of the file system's root."""
        trail = [(b"", s.ROOT_INO)]
        todo = path.split(b"/")[::-1]
        followed = 0
        known: dict[tuple[int, bytes], int | None] = {}  # a target may go through one large folder many times
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                trail = trail[:-1] or trail
                continue
            above = trail[-1][1]
            here = b"/".join([*(name for name, _ in trail[1:]), part])
            if not Node(self.stat(above).mode, None).is_directory:
                return Place(None, b"/".join(name for name, _ in trail[1:]), followed, "not a folder")
            if (above, part) not in known:
                known[above, part] = next((number for name, number in self.entries(above) if name == part), None)
            ino = known[above, part]
            if ino is None:
                return Place(None, here, followed, "missing")
            if Node(self.stat(ino).mode, None).is_symlink and (any(todo) or follow):
                if followed == LINKS_FOLLOWED_MAX:
                    return Place(None, here, followed, "too many links")
                followed += 1
                target = self.read_symlink(ino)
                trail = trail[:1] if target.startswith(b"/") else trail
                todo += reversed(target.split(b"/"))
                continue
            trail.append((part, ino))
        return Place(trail[-1][1], b"/".join(name for name, _ in trail[1:]), followed)

    def entries(self, ino: int) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inode numbers, without ``.`` and ``..``, in the order on the disk."""
        for start, data in self._data(ino):
            position = 0
            while position + s.DIR_ENTRY.size <= len(data):
                number, size, name_len, _ = s.DIR_ENTRY.unpack_from(data, position)
                name = data[position + 8 : position + 8 + name_len]
                bad_name = number and (not name or b"/" in name or b"\0" in name)
                if size < 8 + name_len or size % 4 or position + size > len(data) or bad_name:
                    raise DamagedImageError(f"the directory with inode {ino} is damaged at byte {start + position}")
                if number and name not in (b".", b".."):
                    yield name, number
                position += size

    def walk(self, top: int = s.ROOT_INO) -> Iterator[tuple[bytes, int]]:
        """All paths below a directory and their inode numbers, a directory before its children, by bytes."""
        pending = [(b"", top)]
        seen = set()
        blocks = 0
        while pending:
            path, ino = pending.pop()
            if path:
                yield path, ino
            found = self.stat(ino)
            if not Node(found.mode, None).is_directory:
                continue
            blocks += -(-found.size // self._block_size)
            if ino in seen or blocks > _DIRECTORY_BLOCKS_MAX:
                what = (
                    "is in the file system twice" if ino in seen else f"is one too many: {blocks} blocks of directories"
                )
                raise DamagedImageError(f"the directory {printable(path)} {what}")
            seen.add(ino)
            prefix = path + b"/" if path else b""
            pending += [(prefix + name, number) for name, number in self._sorted_entries(path, ino)]

    def _sorted_entries(self, path: bytes, ino: int) -> list[tuple[bytes, int]]:
        """In descending order."""
        found: dict[bytes, int] = {}
        for name, number in self.entries(ino):
            if name in found:
                raise DamagedImageError(f"the directory {printable(path)} has the name {printable(name)} twice")
            found[name] = number
        return sorted(found.items(), reverse=True)

    def extents(self, ino: int) -> Iterator[tuple[int, int, int]]:
        """The extents of an inode, ascending: (first block in the file, first block on the disk, blocks)."""
        data = self._inode(ino)
        flags = s.INODE.unpack(data)["i_flags"]
        if flags & s.INLINE_DATA_FL or not flags & s.EXTENTS_FL:
            how = "inside the inode" if flags & s.INLINE_DATA_FL else "in a block map as of ext2 and ext3"
            raise DamagedImageError(f"inode {ino} keeps its data {how}, which is not supported")
        end = 0
        for logical, start, length in self._extents(data[40:100], ino, None):
            size = length if length <= s.EXTENT_LEN_MAX else length - s.EXTENT_LEN_MAX
            if logical < end or not size:
                # The kernel asks for this order too; it also keeps a tree that runs in circles from being endless.
                raise DamagedImageError(f"the extent tree of inode {ino} is damaged at its block {logical}")
            self._check_blocks(start, size)
            end = logical + size
            # A length above 32768 means blocks that are allocated, but read as zeros.
            if length <= s.EXTENT_LEN_MAX:
                yield logical, start, length

    def _extents(self, node: bytes, ino: int, depth_due: int | None) -> Iterator[tuple[int, int, int]]:
        magic, entries, _, depth, _ = s.EXTENT_HEADER.unpack_from(node)
        depth_fits = depth <= _DEPTH_MAX if depth_due is None else depth == depth_due and entries
        if magic != s.EXTENT_MAGIC or not depth_fits or 12 + 12 * entries > len(node):
            raise DamagedImageError(f"the extent tree of inode {ino} is damaged")
        for at in range(12, 12 + 12 * entries, 12):
            if depth:
                _, leaf, leaf_high, _ = s.EXTENT_IDX.unpack_from(node, at)
                yield from self._extents(self._block(leaf | leaf_high << 32), ino, depth - 1)
            else:
                logical, length, start_high, start = s.EXTENT.unpack_from(node, at)
                yield logical, start | start_high << 32, length

    def _data(self, ino: int) -> Iterator[tuple[int, bytes]]:
        """(position, bytes) of what is not a hole, block by block."""
        end = -(-self.stat(ino).size // self._block_size)
        for logical, start, length in self.extents(ino):
            for block in range(length):
                if logical + block >= end:
                    return
                yield (logical + block) * self._block_size, self._block(start + block)

    def read_file(self, ino: int, offset: int = 0, size: int | None = None) -> bytes:
        """The bytes of a regular file, from ``offset`` to its end unless ``size`` says less."""
        total = self.stat(ino).size
        end = total if size is None else min(total, offset + size)
        result = bytearray(max(0, end - offset))
        for logical, start, length in self.extents(ino):
            low = max(logical * self._block_size, offset)
            high = min((logical + length) * self._block_size, end)
            if low < high:
                place = (start - logical) * self._block_size + low
                result[low - offset : high - offset] = self._source.read(place, high - low)
        return bytes(result)

    def chunks(self, ino: int) -> Iterator[bytes]:
        """The bytes of a regular file, piece by piece."""
        done, total = 0, self.stat(ino).size
        for logical, start, length in self.extents(ino):
            begin = min(logical * self._block_size, total)
            end = min((logical + length) * self._block_size, total)
            yield from _zeros(begin - done)
            for at in range(begin, end, _CHUNK_SIZE):
                yield self._source.read((start - logical) * self._block_size + at, min(_CHUNK_SIZE, end - at))
            done = max(done, end)
        yield from _zeros(total - done)

    def read_symlink(self, ino: int) -> bytes:
        """The target of a symbolic link."""
        found = self.stat(ino)
        if found.flags & s.EXTENTS_FL:
            if found.size > self._block_size:
                raise DamagedImageError(f"the symbolic link with inode {ino} is damaged: it has {found.size} bytes")
            return self.read_file(ino)
        return self._inode(ino)[40 : 40 + min(found.size, s.I_BLOCK_SIZE)]

    def xattrs(self, ino: int) -> dict[bytes, bytes]:
        """The extended attributes of an inode; POSIX ACLs in the form of the system call."""
        data = self._inode(ino)
        fields = s.INODE.unpack(data)
        found: dict[bytes, bytes] = {}
        try:
            start = 128 + fields["i_extra_isize"]
            if data[start : start + 4] == s.XATTR_MAGIC.to_bytes(4, "little"):
                found |= unpack_xattrs(data, start + 4, start + 4)
            block_number = fields["i_file_acl_lo"] | fields["l_i_file_acl_high"] << 32
            if block_number:
                found |= unpack_xattrs(self._block(block_number), s.XATTR_HEADER.size, 0)
        except (ValueError, struct.error) as error:
            raise DamagedImageError(f"the extended attributes of inode {ino} are damaged: {error}") from error
        return found


def _zeros(size: int) -> Iterator[bytes]:
    for at in range(0, size, _CHUNK_SIZE):
        yield bytes(min(_CHUNK_SIZE, size - at))
