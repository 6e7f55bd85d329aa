"""Superblock, group descriptors and bitmaps."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.geometry import has_superblock
from gns3_minivm.formats.ext4.journal import journal_backup
from gns3_minivm.formats.ext4.plan import Plan


def crc16(data: bytes, value: int) -> int:
    """CRC-16 (polynomial 0xA001, reflected), as Linux lib/crc16.c."""
    for byte in data:
        value = value >> 8 ^ _CRC16[(value ^ byte) & 0xFF]
    return value


def _crc16_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0xA001 * (value & 1)
        table.append(value)
    return table


_CRC16 = _crc16_table()


def group_metadata(plan: Plan, directories: array[int]) -> Iterator[tuple[int, bytes]]:
    """(block, bytes) of all bitmaps, superblocks and group descriptor tables.

    ``directories`` counts them by group.  Bitmaps of groups without anything in them are not written: the flags say
    that they are to be made up.
    """
    geometry = plan.geometry
    inodes_used = len(plan.nodes) - 1
    runs = iter(plan.used)
    run = next(runs, None)
    table = []
    for group in range(geometry.groups_count):
        base, size = group * s.BLOCKS_PER_GROUP, geometry.group_blocks(group)
        bitmap = bytearray(s.BLOCK_SIZE)
        used = 0
        while run is not None and run[0] < base + size:
            start, end = max(run[0], base), min(run[1], base + size)
            _set_bits(bitmap, start - base, end - base)
            used += end - start
            if run[1] > base + size:
                break
            run = next(runs, None)
        inodes = min(max(inodes_used - group * geometry.inodes_per_group, 0), geometry.inodes_per_group)
        flags = s.INODE_ZEROED
        if inodes:
            yield geometry.inode_bitmaps[group], _inode_bitmap(inodes, geometry.inodes_per_group)
        else:
            flags |= s.INODE_UNINIT
        # The kernel and e2fsck want the last group's bitmap to be there.
        if used or group == geometry.groups_count - 1:
            _set_bits(bitmap, size, s.BLOCKS_PER_GROUP)
            yield geometry.block_bitmaps[group], bytes(bitmap)
        else:
            flags |= s.BLOCK_UNINIT
        table.append(_descriptor(plan, group, size - used, inodes, directories[group], flags))
    descriptors = b"".join(table)
    for group in range(geometry.groups_count):
        if has_superblock(group):
            # The primary superblock starts after the boot sector's kilobyte.
            padding = bytes(s.SUPERBLOCK_OFFSET if group == 0 else 0)
            block = (padding + _superblock(plan, group)).ljust(s.BLOCK_SIZE, b"\0")
            yield group * s.BLOCKS_PER_GROUP, block + descriptors


def _set_bits(bitmap: bytearray, start: int, end: int) -> None:
    first, last = -(-start // 8), end // 8
    if first > last:
        bitmap[last] |= (1 << end % 8) - (1 << start % 8)
        return
    bitmap[first:last] = b"\xff" * (last - first)
    if start % 8:
        bitmap[first - 1] |= 0x100 - (1 << start % 8)
    if end % 8:
        bitmap[last] |= (1 << end % 8) - 1


def _inode_bitmap(used: int, inodes: int) -> bytes:
    bitmap = bytearray(s.BLOCK_SIZE)
    _set_bits(bitmap, 0, used)
    _set_bits(bitmap, inodes, 8 * s.BLOCK_SIZE)
    return bytes(bitmap)


def _descriptor(plan: Plan, group: int, free_blocks: int, inodes_used: int, directories: int, flags: int) -> bytes:
    geometry = plan.geometry
    free_inodes = geometry.inodes_per_group - inodes_used
    data = s.GROUP_DESC.pack(
        bg_block_bitmap_lo=geometry.block_bitmaps[group],
        bg_inode_bitmap_lo=geometry.inode_bitmaps[group],
        bg_inode_table_lo=geometry.inode_tables[group],
        bg_free_blocks_count_lo=free_blocks,
        bg_free_inodes_count_lo=free_inodes,
        bg_used_dirs_count_lo=directories,
        bg_flags=flags,
        bg_itable_unused_lo=free_inodes,
    )
    checksum = crc16(data[:-2], crc16(group.to_bytes(4, "little"), crc16(plan.options.uuid, 0xFFFF)))
    return data[:-2] + checksum.to_bytes(2, "little")


def _superblock(plan: Plan, group: int) -> bytes:
    geometry, options = plan.geometry, plan.options
    has_journal = bool(plan.journal)
    return s.SUPERBLOCK.pack(
        s_inodes_count=geometry.inodes_count,
        s_blocks_count_lo=geometry.blocks_count,
        s_r_blocks_count_lo=options.reserved_blocks,
        s_free_blocks_count_lo=plan.free_blocks,
        s_free_inodes_count=geometry.inodes_count - (len(plan.nodes) - 1),
        s_log_block_size=2,
        s_log_cluster_size=2,
        s_blocks_per_group=s.BLOCKS_PER_GROUP,
        s_clusters_per_group=s.BLOCKS_PER_GROUP,
        s_inodes_per_group=geometry.inodes_per_group,
        s_max_mnt_count=0xFFFF,
        s_magic=s.SUPER_MAGIC,
        s_state=s.STATE_CLEAN,
        s_errors=s.ERRORS_REMOUNT_RO,
        s_rev_level=1,
        s_first_ino=s.FIRST_INO,
        s_inode_size=s.INODE_SIZE,
        # 16 bits, from which mke2fs leaves out the rest too; nobody looks for a superblock by it.
        s_block_group_nr=group & 0xFFFF,
        s_feature_compat=s.COMPAT_HAS_JOURNAL * has_journal | s.COMPAT_EXT_ATTR | s.COMPAT_DIR_INDEX,
        s_feature_incompat=s.INCOMPAT_FILETYPE | s.INCOMPAT_EXTENTS | s.INCOMPAT_FLEX_BG,
        s_feature_ro_compat=s.RO_COMPAT_SPARSE_SUPER
        | s.RO_COMPAT_LARGE_FILE
        | s.RO_COMPAT_HUGE_FILE
        | s.RO_COMPAT_GDT_CSUM
        | s.RO_COMPAT_DIR_NLINK
        | s.RO_COMPAT_EXTRA_ISIZE,
        s_uuid=options.uuid,
        s_volume_name=options.label.encode(),
        s_journal_inum=s.JOURNAL_INO * has_journal,
        s_hash_seed=options.hash_seed,
        s_def_hash_version=s.HASH_HALF_MD4,
        s_jnl_backup_type=int(has_journal),
        s_default_mount_opts=s.DEFM_XATTR_USER | s.DEFM_ACL,
        s_jnl_blocks=journal_backup(plan) if has_journal else b"",
        s_min_extra_isize=s.EXTRA_ISIZE,
        s_want_extra_isize=s.EXTRA_ISIZE,
        s_flags=s.FLAGS_SIGNED_HASH,
        s_log_groups_per_flex=s.LOG_GROUPS_PER_FLEX,
    )
