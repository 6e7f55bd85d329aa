"""What the superblock and the group descriptors say: sizes, features, counts, where inodes lie.

https://www.kernel.org/doc/html/latest/filesystems/ext4/globals.html.  Numbers that other numbers are computed from are
checked as the kernel does at a mount (fs/ext4/super.c), so that a damaged superblock ends here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.geometry import has_superblock
from gns3_minivm.formats.sink import BlockSource

# As e2fsprogs names them (lib/e2p/feature.c), by bit.
_COMPAT = {
    0: "dir_prealloc", 1: "imagic_inodes", 2: "has_journal", 3: "ext_attr", 4: "resize_inode", 5: "dir_index",
    6: "lazy_bg", 8: "snapshot_bitmap", 9: "sparse_super2", 10: "fast_commit", 11: "stable_inodes", 12: "orphan_file",
}  # fmt: skip
_INCOMPAT = {
    0: "compression", 1: "filetype", 2: "needs_recovery", 3: "journal_dev", 4: "meta_bg", 6: "extent", 7: "64bit",
    8: "mmp", 9: "flex_bg", 10: "ea_inode", 12: "dirdata", 13: "metadata_csum_seed", 14: "large_dir",
    15: "inline_data", 16: "encrypt", 17: "casefold",
}  # fmt: skip
_RO_COMPAT = {
    0: "sparse_super", 1: "large_file", 3: "huge_file", 4: "uninit_bg", 5: "dir_nlink", 6: "extra_isize", 8: "quota",
    9: "bigalloc", 10: "metadata_csum", 11: "replica", 12: "read-only", 13: "project", 14: "shared_blocks",
    15: "verity", 16: "orphan_present",
}  # fmt: skip
_READABLE_INCOMPAT = frozenset(
    "filetype needs_recovery meta_bg extent 64bit mmp flex_bg ea_inode metadata_csum_seed large_dir inline_data "
    "casefold".split()
)
_BLOCK_SIZES = (1024, 2048, 4096)
_GROUPS_MAX = 1 << 20
_DESC_SIZE_64BIT_MIN, _DESC_SIZE_MAX = 64, 1024
_STATE_CLEAN, _STATE_ERRORS = 1, 2


@dataclass(frozen=True)
class Counts:
    """Sums over the block groups: what the kernel counts at a mount."""

    free_blocks: int
    free_inodes: int
    directories: int


class Superblock:
    """The superblock of the ext2, ext3 or ext4 file system on a disk.

    Raises DamagedImageError if there is none, or if its numbers contradict each other.
    """

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        data = source.read(s.SUPERBLOCK_OFFSET, s.SUPERBLOCK.size)
        self.fields = s.SUPERBLOCK.unpack(data)
        texts = s.SUPERBLOCK.unpack_bytes(data)
        self.uuid = texts["s_uuid"]
        self.label = _text(texts["s_volume_name"])
        self.last_mounted = _text(texts["s_last_mounted"])
        self.journal_uuid = texts["s_journal_uuid"]
        if self.fields["s_magic"] != s.SUPER_MAGIC:
            raise DamagedImageError("there is no ext4 file system on the disk")
        self.features = tuple(
            name
            for key, names, letter in (
                ("s_feature_compat", _COMPAT, "C"),
                ("s_feature_incompat", _INCOMPAT, "I"),
                ("s_feature_ro_compat", _RO_COMPAT, "R"),
            )
            for name in _feature_names(self.fields[key], names, letter)
        )
        self._check()

    def _check(self) -> None:
        f = self.fields
        if f["s_log_block_size"] > 6:
            raise _damaged(f"its block size is 2^{10 + f['s_log_block_size']}")
        self.block_size = 1024 << f["s_log_block_size"]
        self.inode_size = f["s_inode_size"] if f["s_rev_level"] else 128
        self.blocks_count = f["s_blocks_count_lo"] | (f["s_blocks_count_hi"] << 32 if self._has("64bit") else 0)
        size = self.inode_size
        if size & (size - 1) or not 128 <= size <= self.block_size:
            raise _damaged(f"its inodes have {size} bytes")
        for key in ("s_blocks_per_group", "s_inodes_per_group"):
            most = 8 * self.block_size << (f["s_log_cluster_size"] - f["s_log_block_size"] if self._is_bigalloc else 0)
            if not 0 < f[key] <= most:
                raise _damaged(f"{key} is {f[key]}; 1 to {most} is allowed")
        if self.blocks_count <= f["s_first_data_block"]:
            raise _damaged(f"it has {self.blocks_count} blocks")
        self.groups_count = -(-(self.blocks_count - f["s_first_data_block"]) // f["s_blocks_per_group"])
        if f["s_inodes_count"] != self.groups_count * f["s_inodes_per_group"]:
            raise _damaged(
                f"it has {f['s_inodes_count']} inodes, but {self.groups_count} groups of {f['s_inodes_per_group']}"
            )
        self.desc_size = f["s_desc_size"] if self._has("64bit") else s.DESC_SIZE
        size = self.desc_size
        if self._has("64bit") and (size & (size - 1) or not _DESC_SIZE_64BIT_MIN <= size <= _DESC_SIZE_MAX):
            raise _damaged(f"its group descriptors have {self.desc_size} bytes")

    def _has(self, feature: str) -> bool:
        return feature in self.features

    @property
    def _is_bigalloc(self) -> bool:
        f = self.fields
        return self._has("bigalloc") and 0 <= f["s_log_cluster_size"] - f["s_log_block_size"] <= 16

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Features of the file system that the reader does not know; empty if its files can be read."""
        compat_end = [name for name in self.features if name in _INCOMPAT.values() or name.startswith("FEATURE_I")]
        found = [name for name in compat_end if name not in _READABLE_INCOMPAT]
        if self.block_size not in _BLOCK_SIZES:
            found.append(f"blocks of {self.block_size} bytes")
        if self.groups_count > _GROUPS_MAX:
            found.append(f"{self.groups_count} block groups")
        return tuple(found)

    @property
    def size_bytes(self) -> int:
        return self.blocks_count * self.block_size

    @property
    def free_bytes(self) -> int:
        """As the superblock says; the kernel keeps it up to date only when the file system is unmounted."""
        high = self.fields["s_free_blocks_count_hi"] << 32 if self._has("64bit") else 0
        return (self.fields["s_free_blocks_count_lo"] | high) * self.block_size

    @property
    def allocation_size(self) -> int:
        """The bytes that the group descriptors count free space in."""
        return 1024 << self.fields["s_log_cluster_size"] if self._is_bigalloc else self.block_size

    @property
    def needs_recovery(self) -> bool:
        """Whether the journal holds changes that are to be replayed at the next mount."""
        return self._has("needs_recovery")

    @property
    def state(self) -> str:
        """``clean``, ``not clean``, or either with ``errors``, as dumpe2fs says it."""
        clean = "clean" if self.fields["s_state"] & _STATE_CLEAN else "not clean"
        return f"{clean} with errors" if self.fields["s_state"] & _STATE_ERRORS else clean

    def inode_table(self, group: int) -> int:
        """The first block of a group's inode table."""
        if not 0 <= group < self.groups_count:
            raise DamagedImageError(f"the ext4 file system points to block group {group}, which it does not have")
        index, within = divmod(group, self.block_size // self.desc_size)
        start = self._descriptors_at(index) + within * self.desc_size
        data = self._source.read(start, self.desc_size)
        low: int = s.GROUP_DESC.unpack(data)["bg_inode_table_lo"]
        return low | int.from_bytes(data[_TABLE_HIGH_AT : _TABLE_HIGH_AT + 4], "little") << 32

    @cached_property
    def counts(self) -> Counts:
        """Sums over all groups."""
        per_block = self.block_size // self.desc_size
        totals = [0, 0, 0]
        for index in range(-(-self.groups_count // per_block)):
            size = min(per_block, self.groups_count - index * per_block) * self.desc_size
            rows = list(_DESC_COUNTS.iter_unpack(self._source.read(self._descriptors_at(index), size)))
            step = self.desc_size // s.DESC_SIZE
            # The high halves of the counts lie as the low ones do, 32 bytes on.
            for shift, half in ((0, rows[::step]), (16, rows[1::step] if step > 1 else ())):
                for column, values in enumerate(zip(*half, strict=True)):
                    totals[column] += sum(values) << shift
        blocks, inodes, directories = totals
        if blocks * self.allocation_size > self.size_bytes or inodes > self.fields["s_inodes_count"]:
            raise DamagedImageError("the ext4 group descriptors are damaged: they count more free space than there is")
        return Counts(blocks, inodes, directories)

    def _descriptors_at(self, index: int) -> int:
        """The byte at which a block of group descriptors starts."""
        if self._has("meta_bg") and index >= self.fields["s_first_meta_bg"]:
            home = index * (self.block_size // self.desc_size)
            first = self.fields["s_first_data_block"] + home * self.fields["s_blocks_per_group"]
            return (first + self._has_superblock(home)) * self.block_size
        return (s.SUPERBLOCK_OFFSET // self.block_size + 1 + index) * self.block_size

    def _has_superblock(self, group: int) -> bool:
        return has_superblock(group) if self._has("sparse_super") else True


# Of 32 bytes of a group descriptor: bg_free_blocks_count bg_free_inodes_count bg_used_dirs_count, low or high halves.
_DESC_COUNTS = struct.Struct("<12xHHH14x")
_TABLE_HIGH_AT = 40


def _feature_names(bits: int, names: dict[int, str], letter: str) -> Iterator[str]:
    for bit in range(32):
        if bits >> bit & 1:
            yield names.get(bit, f"FEATURE_{letter}{bit}")


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace")


def _damaged(what: str) -> DamagedImageError:
    return DamagedImageError(f"the ext4 superblock is damaged: {what}", hint="`e2fsck -f` may repair it.")
