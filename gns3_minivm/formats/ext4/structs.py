"""On-disk structures and constants of ext4 and its journal, under the names of the kernel's documentation.

All little-endian but the journal, which is big-endian.
https://www.kernel.org/doc/html/latest/filesystems/ext4/globals.html
"""

from __future__ import annotations

import struct

BLOCK_SIZE = 4096
BLOCKS_PER_GROUP = 8 * BLOCK_SIZE
INODE_SIZE = 256
INODES_PER_BLOCK = BLOCK_SIZE // INODE_SIZE
INODES_PER_GROUP_MAX = 8 * BLOCK_SIZE
DESC_SIZE = 32
LOG_GROUPS_PER_FLEX = 4
BLOCKS_MAX = (1 << 32) - 1
SUPERBLOCK_OFFSET = 1024
SECTORS_PER_BLOCK = BLOCK_SIZE // 512

ROOT_INO = 2
JOURNAL_INO = 8
FIRST_INO = 11
LINK_MAX = 65000

COMPAT_HAS_JOURNAL = 0x4
COMPAT_EXT_ATTR = 0x8
COMPAT_DIR_INDEX = 0x20
INCOMPAT_FILETYPE = 0x2
INCOMPAT_RECOVER = 0x4
INCOMPAT_EXTENTS = 0x40
INCOMPAT_64BIT = 0x80
INCOMPAT_FLEX_BG = 0x200
RO_COMPAT_SPARSE_SUPER = 0x1
RO_COMPAT_LARGE_FILE = 0x2
RO_COMPAT_HUGE_FILE = 0x8
RO_COMPAT_GDT_CSUM = 0x10
RO_COMPAT_DIR_NLINK = 0x20
RO_COMPAT_EXTRA_ISIZE = 0x40

STATE_CLEAN = 1
ERRORS_REMOUNT_RO = 2
DEFM_XATTR_USER = 0x4
DEFM_ACL = 0x8
FLAGS_SIGNED_HASH = 0x1
HASH_HALF_MD4 = 1
SUPER_MAGIC = 0xEF53

INODE_UNINIT = 0x1
BLOCK_UNINIT = 0x2
INODE_ZEROED = 0x4

INDEX_FL = 0x1000
EXTENTS_FL = 0x80000
HUGE_FILE_FL = 0x40000
INLINE_DATA_FL = 0x10000000

FT_REG_FILE, FT_DIR, FT_CHRDEV, FT_BLKDEV, FT_FIFO, FT_SOCK, FT_SYMLINK = range(1, 8)


class Record:
    """A structure with named fields: packs and unpacks dictionaries.  Fields that are not given are zero."""

    def __init__(self, byte_order: str, fields: str) -> None:
        pairs = [field.split(":") for field in fields.split()]
        self.names = [name for name, _ in pairs]
        self._zeros = {name: b"" if code.endswith("s") else 0 for name, code in pairs}
        self.struct = struct.Struct(byte_order + "".join(code for _, code in pairs))
        self.size = self.struct.size

    def pack(self, **values: int | bytes) -> bytes:
        """The structure's bytes; an unknown name is a KeyError."""
        unknown = values.keys() - self._zeros.keys()
        if unknown:
            raise KeyError(*sorted(unknown))
        return self.struct.pack(*(values.get(name, zero) for name, zero in self._zeros.items()))

    def unpack(self, data: bytes) -> dict[str, int]:
        """The structure's fields; those that hold bytes are read with ``unpack_bytes``."""
        values = zip(self.names, self.struct.unpack(data[: self.size]), strict=True)
        return {name: value for name, value in values if isinstance(value, int)}

    def unpack_bytes(self, data: bytes) -> dict[str, bytes]:
        """The fields that hold bytes."""
        values = zip(self.names, self.struct.unpack(data[: self.size]), strict=True)
        return {name: value for name, value in values if isinstance(value, bytes)}


# struct ext4_super_block
SUPERBLOCK = Record(
    "<",
    """
    s_inodes_count:I s_blocks_count_lo:I s_r_blocks_count_lo:I s_free_blocks_count_lo:I s_free_inodes_count:I
    s_first_data_block:I s_log_block_size:I s_log_cluster_size:I s_blocks_per_group:I s_clusters_per_group:I
    s_inodes_per_group:I s_mtime:I s_wtime:I s_mnt_count:H s_max_mnt_count:H s_magic:H s_state:H s_errors:H
    s_minor_rev_level:H s_lastcheck:I s_checkinterval:I s_creator_os:I s_rev_level:I s_def_resuid:H s_def_resgid:H
    s_first_ino:I s_inode_size:H s_block_group_nr:H s_feature_compat:I s_feature_incompat:I s_feature_ro_compat:I
    s_uuid:16s s_volume_name:16s s_last_mounted:64s s_algorithm_usage_bitmap:I s_prealloc_blocks:B
    s_prealloc_dir_blocks:B s_reserved_gdt_blocks:H s_journal_uuid:16s s_journal_inum:I s_journal_dev:I
    s_last_orphan:I s_hash_seed:16s s_def_hash_version:B s_jnl_backup_type:B s_desc_size:H s_default_mount_opts:I
    s_first_meta_bg:I s_mkfs_time:I s_jnl_blocks:68s s_blocks_count_hi:I s_r_blocks_count_hi:I
    s_free_blocks_count_hi:I s_min_extra_isize:H s_want_extra_isize:H s_flags:I s_raid_stride:H s_mmp_interval:H
    s_mmp_block:Q s_raid_stripe_width:I s_log_groups_per_flex:B s_checksum_type:B s_reserved_pad:H
    s_kbytes_written:Q s_rest:640s
    """,
)
assert SUPERBLOCK.size == 1024

# struct ext4_group_desc, the 32 bytes of a file system without the 64bit feature
GROUP_DESC = Record(
    "<",
    """
    bg_block_bitmap_lo:I bg_inode_bitmap_lo:I bg_inode_table_lo:I bg_free_blocks_count_lo:H bg_free_inodes_count_lo:H
    bg_used_dirs_count_lo:H bg_flags:H bg_exclude_bitmap_lo:I bg_block_bitmap_csum_lo:H bg_inode_bitmap_csum_lo:H
    bg_itable_unused_lo:H bg_checksum:H
    """,
)
assert GROUP_DESC.size == DESC_SIZE

# struct ext4_inode with i_extra_isize 32; the rest of its 256 bytes holds extended attributes.
INODE_FIELDS = (
    "i_mode:H i_uid:H i_size_lo:I i_atime:I i_ctime:I i_mtime:I i_dtime:I i_gid:H i_links_count:H i_blocks_lo:I "
    "i_flags:I l_i_version:I i_block:60s i_generation:I i_file_acl_lo:I i_size_high:I i_obso_faddr:I "
    "l_i_blocks_high:H l_i_file_acl_high:H l_i_uid_high:H l_i_gid_high:H l_i_checksum_lo:H l_i_reserved:H "
    "i_extra_isize:H i_checksum_hi:H i_ctime_extra:I i_mtime_extra:I i_atime_extra:I i_crtime:I i_crtime_extra:I "
    "i_version_hi:I i_projid:I i_xattrs:96s"
)
INODE = Record("<", INODE_FIELDS)
assert INODE.size == INODE_SIZE
EXTRA_ISIZE = 32
INODE_XATTR_OFFSET = 128 + EXTRA_ISIZE
I_BLOCK_SIZE = 60

# struct ext4_extent_header: eh_magic eh_entries eh_max eh_depth eh_generation
EXTENT_HEADER = struct.Struct("<HHHHI")
# struct ext4_extent: ee_block ee_len ee_start_hi ee_start_lo
EXTENT = struct.Struct("<IHHI")
# struct ext4_extent_idx: ei_block ei_leaf_lo ei_leaf_hi ei_unused
EXTENT_IDX = struct.Struct("<IIHH")
EXTENT_MAGIC = 0xF30A
EXTENT_LEN_MAX = 32768

# struct ext4_dir_entry_2: inode rec_len name_len file_type, then the name
DIR_ENTRY = struct.Struct("<IHBB")
# struct dx_root_info: reserved_zero hash_version info_length indirect_levels unused_flags
DX_ROOT_INFO = struct.Struct("<IBBBB")
# struct dx_countlimit: limit count; it overlies the hash of the first dx_entry
DX_COUNT_LIMIT = struct.Struct("<HH")
# struct dx_entry: hash block
DX_ENTRY = struct.Struct("<II")

# struct ext4_xattr_entry: e_name_len e_name_index e_value_offs e_value_inum e_value_size e_hash, then the name
XATTR_ENTRY = struct.Struct("<BBHIII")
# struct ext4_xattr_header: h_magic h_refcount h_blocks h_hash h_checksum, 12 reserved bytes
XATTR_HEADER = struct.Struct("<IIIII12x")
XATTR_MAGIC = 0xEA020000

# journal_superblock_t of jbd2 (include/linux/jbd2.h), big-endian
JOURNAL_SUPERBLOCK = Record(
    ">",
    """
    h_magic:I h_blocktype:I h_sequence:I s_blocksize:I s_maxlen:I s_first:I s_sequence:I s_start:I s_errno:I
    s_feature_compat:I s_feature_incompat:I s_feature_ro_compat:I s_uuid:16s s_nr_users:I s_dynsuper:I
    s_max_transaction:I s_max_trans_data:I s_rest:176s s_users:768s
    """,
)
assert JOURNAL_SUPERBLOCK.size == 1024
JOURNAL_MAGIC = 0xC03B3998
JOURNAL_SUPERBLOCK_V2 = 4
JOURNAL_BLOCKS_MIN = 1024
