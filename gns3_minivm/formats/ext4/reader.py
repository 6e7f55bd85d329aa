"""Reads ext4 file systems: lists directories, reads files, attributes and the superblock.

For file systems of this package and others with the same features; the journal is not replayed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gns3_minivm.errors import DamagedImageError
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.inodes import decode_device, decode_time
from gns3_minivm.formats.ext4.xattrs import unpack_xattrs
from gns3_minivm.formats.sink import BlockSource
from gns3_minivm.formats.tree import Node, printable

_KNOWN_INCOMPAT = s.INCOMPAT_FILETYPE | s.INCOMPAT_EXTENTS | s.INCOMPAT_FLEX_BG | s.INCOMPAT_RECOVER
_DEPTH_MAX = 5
_LINKS_FOLLOWED_MAX = 40


@dataclass(frozen=True)
class Stat:
    """An inode; ``blocks`` counts 4 KiB, ``device`` is (0, 0) for what is none."""

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


class Ext4Reader:
    """A file system on a BlockSource.  Raises DamagedImageError for what is damaged or not supported."""

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        data = source.read(s.SUPERBLOCK_OFFSET, s.SUPERBLOCK.size)
        self.superblock = s.SUPERBLOCK.unpack(data)
        texts = s.SUPERBLOCK.unpack_bytes(data)
        self.uuid = texts["s_uuid"]
        self.label = texts["s_volume_name"].rstrip(b"\0").decode("utf-8", "replace")
        fields = self.superblock
        unknown = fields["s_feature_incompat"] & ~_KNOWN_INCOMPAT
        if fields["s_magic"] != s.SUPER_MAGIC:
            raise DamagedImageError("the disk holds no ext4 file system")
        if fields["s_log_block_size"] != 2 or fields["s_inode_size"] != s.INODE_SIZE or unknown:
            raise DamagedImageError(f"the ext4 file system has features that are not supported ({unknown:#x})")
        if not fields["s_inodes_per_group"] or not fields["s_blocks_per_group"]:
            raise DamagedImageError("the ext4 superblock is damaged")

    @property
    def free_bytes(self) -> int:
        return self.superblock["s_free_blocks_count_lo"] * s.BLOCK_SIZE

    @property
    def used_inodes(self) -> int:
        return self.superblock["s_inodes_count"] - self.superblock["s_free_inodes_count"]

    def _block(self, number: int) -> bytes:
        if not 0 < number < self.superblock["s_blocks_count_lo"]:
            raise DamagedImageError(f"the ext4 file system points to block {number}, which it does not have")
        return self._source.read(number * s.BLOCK_SIZE, s.BLOCK_SIZE)

    def _inode(self, ino: int) -> bytes:
        if not 0 < ino <= self.superblock["s_inodes_count"]:
            raise DamagedImageError(f"the ext4 file system points to inode {ino}, which it does not have")
        group, index = divmod(ino - 1, self.superblock["s_inodes_per_group"])
        descriptor = s.GROUP_DESC.unpack(self._source.read(s.BLOCK_SIZE + group * s.DESC_SIZE, s.DESC_SIZE))
        block = descriptor["bg_inode_table_lo"] + index // s.INODES_PER_BLOCK
        start = index % s.INODES_PER_BLOCK * s.INODE_SIZE
        return self._block(block)[start : start + s.INODE_SIZE]

    def stat(self, ino: int) -> Stat:
        """The attributes of an inode."""
        data = self._inode(ino)
        fields = s.INODE.unpack(data)
        mode = fields["i_mode"]
        return Stat(
            ino=ino,
            mode=mode,
            uid=fields["i_uid"] | fields["l_i_uid_high"] << 16,
            gid=fields["i_gid"] | fields["l_i_gid_high"] << 16,
            size=fields["i_size_lo"] | fields["i_size_high"] << 32,
            links=fields["i_links_count"],
            blocks=(fields["i_blocks_lo"] | fields["l_i_blocks_high"] << 32) // s.SECTORS_PER_BLOCK,
            flags=fields["i_flags"],
            mtime_ns=decode_time(fields["i_mtime"], fields["i_mtime_extra"]),
            device=decode_device(data[40:100]) if Node(mode, None).is_device else (0, 0),
        )

    def lookup(self, path: bytes, *, follow: bool = False) -> int | None:
        """The inode number of a path, or None; symbolic links on the way (and, if asked, at its end) are followed."""
        trail = [s.ROOT_INO]
        todo = path.split(b"/")[::-1]
        followed = 0
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                trail = trail[:-1] or [s.ROOT_INO]
                continue
            if not Node(self.stat(trail[-1]).mode, None).is_directory:
                return None
            ino = dict(self.entries(trail[-1])).get(part)
            if ino is None:
                return None
            if Node(self.stat(ino).mode, None).is_symlink and (any(todo) or follow):
                followed += 1
                if followed > _LINKS_FOLLOWED_MAX:
                    return None
                target = self.read_symlink(ino)
                trail = [s.ROOT_INO] if target.startswith(b"/") else trail
                todo += reversed(target.split(b"/"))
                continue
            trail.append(ino)
        return trail[-1]

    def entries(self, ino: int) -> Iterator[tuple[bytes, int]]:
        """The names of a directory and their inode numbers, without ``.`` and ``..``, in the order on the disk."""
        for start, data in self._data(ino):
            position = 0
            while position + s.DIR_ENTRY.size <= len(data):
                number, size, name_len, _ = s.DIR_ENTRY.unpack_from(data, position)
                name = data[position + 8 : position + 8 + name_len]
                if size < 8 + name_len or size % 4 or position + size > len(data):
                    raise DamagedImageError(f"the directory with inode {ino} is damaged at byte {start + position}")
                if number and name not in (b".", b".."):
                    yield name, number
                position += size

    def walk(self) -> Iterator[tuple[bytes, int]]:
        """All paths below the root and their inode numbers, a directory before its children, by bytes."""
        pending = [(b"", s.ROOT_INO)]
        seen = set()
        while pending:
            path, ino = pending.pop()
            if path:
                yield path, ino
            if Node(self.stat(ino).mode, None).is_directory:
                if ino in seen:
                    raise DamagedImageError(f"the directory {printable(path)} is in the file system twice")
                seen.add(ino)
                prefix = path + b"/" if path else b""
                pending += [(prefix + name, number) for name, number in sorted(self.entries(ino), reverse=True)]

    def extents(self, ino: int) -> list[tuple[int, int, int]]:
        """The extents of an inode: (first block in the file, first block on the disk, blocks)."""
        return list(self._extents(self._inode(ino)[40:100], ino, _DEPTH_MAX))

    def _extents(self, node: bytes, ino: int, depth_max: int) -> Iterator[tuple[int, int, int]]:
        magic, entries, _, depth, _ = s.EXTENT_HEADER.unpack_from(node)
        if magic != s.EXTENT_MAGIC or depth > depth_max or 12 + 12 * entries > len(node):
            raise DamagedImageError(f"the extent tree of inode {ino} is damaged")
        for at in range(12, 12 + 12 * entries, 12):
            if depth:
                _, leaf, _, _ = s.EXTENT_IDX.unpack_from(node, at)
                yield from self._extents(self._block(leaf), ino, depth - 1)
            else:
                logical, length, _, start = s.EXTENT.unpack_from(node, at)
                # A length above 32768 means blocks that are allocated, but read as zeros.
                if length <= s.EXTENT_LEN_MAX:
                    yield logical, start, length

    def _data(self, ino: int) -> Iterator[tuple[int, bytes]]:
        """(position, bytes) of what is not a hole, block by block."""
        for logical, start, length in self.extents(ino):
            for block in range(length):
                yield (logical + block) * s.BLOCK_SIZE, self._block(start + block)

    def read_file(self, ino: int, offset: int = 0, size: int | None = None) -> bytes:
        """The bytes of a regular file, from ``offset`` to its end unless ``size`` says less."""
        total = self.stat(ino).size
        end = total if size is None else min(total, offset + size)
        result = bytearray(max(0, end - offset))
        for logical, start, length in self.extents(ino):
            low = max(logical * s.BLOCK_SIZE, offset)
            high = min((logical + length) * s.BLOCK_SIZE, end)
            if low < high:
                place = start * s.BLOCK_SIZE + low - logical * s.BLOCK_SIZE
                result[low - offset : high - offset] = self._source.read(place, high - low)
        return bytes(result)

    def read_symlink(self, ino: int) -> bytes:
        """The target of a symbolic link."""
        found = self.stat(ino)
        if found.flags & s.EXTENTS_FL:
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
            if fields["i_file_acl_lo"]:
                block = self._block(fields["i_file_acl_lo"])
                found |= unpack_xattrs(block, s.XATTR_HEADER.size, 0)
        except (ValueError, struct.error) as error:
            raise DamagedImageError(f"the extended attributes of inode {ino} are damaged: {error}") from error
        return found
