"""What the journal says about itself: its size, and whether it holds changes.

https://www.kernel.org/doc/html/latest/filesystems/ext4/journal.html
"""

from __future__ import annotations

from dataclasses import dataclass

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.reader import Ext4Reader


@dataclass(frozen=True)
class Journal:
    """``is_empty`` is False from the first change after a mount until the file system is unmounted cleanly."""

    size_bytes: int
    is_empty: bool


def read_journal(disk: Ext4Reader) -> Journal | None:
    """The journal of a file system; None if it has none, or has it on another disk.

    Raises DamagedImageError.
    """
    inode = disk.superblock["s_journal_inum"]
    if "has_journal" not in disk.super.features or not inode:
        return None
    data = disk.read_file(inode, 0, s.JOURNAL_SUPERBLOCK.size)
    if len(data) < s.JOURNAL_SUPERBLOCK.size:
        raise DamagedImageError(f"the journal (inode {inode}) has {len(data)} bytes")
    fields = s.JOURNAL_SUPERBLOCK.unpack(data)
    if fields["h_magic"] != s.JOURNAL_MAGIC:
        raise DamagedImageError(f"the journal (inode {inode}) is damaged: it starts with {data[:4].hex()}")
    return Journal(fields["s_maxlen"] * fields["s_blocksize"], is_empty=not fields["s_start"])
