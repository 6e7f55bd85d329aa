"""The journal: inode 8, and the superblock of a clean, empty jbd2 log.

https://www.kernel.org/doc/html/latest/filesystems/ext4/journal.html
"""

from __future__ import annotations

import stat

from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.extents import build_tree
from gns3_minivm.formats.ext4.plan import Plan


def journal_blocks(plan: Plan) -> int:
    """The journal's length in blocks."""
    return sum(length for _, _, length in plan.journal)


def journal_superblock(plan: Plan) -> bytes:
    """The first block of the log."""
    record = s.JOURNAL_SUPERBLOCK.pack(
        h_magic=s.JOURNAL_MAGIC,
        h_blocktype=s.JOURNAL_SUPERBLOCK_V2,
        s_blocksize=s.BLOCK_SIZE,
        s_maxlen=journal_blocks(plan),
        s_first=1,
        s_sequence=1,
        s_uuid=plan.options.uuid,
        s_nr_users=1,
    )
    return record.ljust(s.BLOCK_SIZE, b"\0")


def journal_i_block(plan: Plan) -> bytes:
    """The root of inode 8's extent tree."""
    return build_tree(plan.journal, plan.journal_index)[0]


def journal_index_blocks(plan: Plan) -> list[tuple[int, bytes]]:
    """(block, bytes) of the rest of the tree."""
    return list(zip(plan.journal_index, build_tree(plan.journal, plan.journal_index)[1], strict=True))


def journal_inode(plan: Plan) -> bytes:
    """Inode 8."""
    blocks = journal_blocks(plan)
    size = blocks * s.BLOCK_SIZE
    return s.INODE.pack(
        i_mode=stat.S_IFREG | 0o600,
        i_links_count=1,
        i_size_lo=size & 0xFFFFFFFF,
        i_size_high=size >> 32,
        i_blocks_lo=(blocks + len(plan.journal_index)) * s.SECTORS_PER_BLOCK,
        i_flags=s.EXTENTS_FL,
        i_block=journal_i_block(plan),
        i_extra_isize=s.EXTRA_ISIZE,
    )


def journal_backup(plan: Plan) -> bytes:
    """s_jnl_blocks: i_block of inode 8, then its size, high half first; e2fsck restores the inode from it."""
    size = journal_blocks(plan) * s.BLOCK_SIZE
    return journal_i_block(plan) + (size >> 32).to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
