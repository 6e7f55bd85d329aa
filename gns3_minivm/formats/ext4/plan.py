"""The plan of a file system: its options, and where everything will lie."""

from __future__ import annotations

import stat
from array import array
from dataclasses import dataclass, field

from gns3_minivm.base.errors import BugError
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.directory import DirEntry
from gns3_minivm.formats.ext4.extents import Extent
from gns3_minivm.formats.ext4.geometry import Geometry, Run
from gns3_minivm.formats.ext4.xattrs import PackedXattrs
from gns3_minivm.formats.tree import Node

LOST_AND_FOUND = b"lost+found"

_FILE_TYPES = {
    stat.S_IFREG: s.FT_REG_FILE,
    stat.S_IFDIR: s.FT_DIR,
    stat.S_IFCHR: s.FT_CHRDEV,
    stat.S_IFBLK: s.FT_BLKDEV,
    stat.S_IFIFO: s.FT_FIFO,
    stat.S_IFSOCK: s.FT_SOCK,
    stat.S_IFLNK: s.FT_SYMLINK,
}


@dataclass(frozen=True)
class Ext4Options:
    """``size_bytes`` is the disk's size (above 16 TiB the rest is not used); ``uuid`` and ``hash_seed`` have 16 bytes.

    ``reserved_blocks`` are kept for root.  ``journal_blocks`` None means what mke2fs would choose; 0 means no journal.
    """

    size_bytes: int
    uuid: bytes
    hash_seed: bytes
    label: str = ""
    reserved_blocks: int = 0
    journal_blocks: int | None = None

    def __post_init__(self) -> None:
        if len(self.uuid) != 16 or len(self.hash_seed) != 16 or len(self.label.encode()) > 16:
            raise BugError("an ext4 UUID and hash seed have 16 bytes, a label at most 16")
        if self.journal_blocks and self.journal_blocks < s.JOURNAL_BLOCKS_MIN:
            raise BugError(f"an ext4 journal has at least {s.JOURNAL_BLOCKS_MIN} blocks, not {self.journal_blocks}")


@dataclass
class Plan:
    """A file system before it is written; lists and arrays are indexed by inode number.

    A regular file's node may stand under several numbers: an inode takes 65000 links at most, further names lead to
    copies.
    """

    options: Ext4Options
    geometry: Geometry = field(default_factory=lambda: Geometry(0, 0, 0, [], [], [], []))
    nodes: list[Node | None] = field(default_factory=lambda: [None] * s.FIRST_INO)
    parents: array[int] = field(default_factory=lambda: array("I", [0] * s.FIRST_INO))
    """The directory that holds an inode's first name."""
    links: array[int] = field(default_factory=lambda: array("I", [0] * s.FIRST_INO))
    first_blocks: array[int] = field(default_factory=lambda: array("I", [0] * s.FIRST_INO))
    """The first block of an inode that lies in one piece, without holes; 0 for all others."""
    block_counts: array[int] = field(default_factory=lambda: array("Q", [0] * s.FIRST_INO))
    """All blocks of an inode: attribute block, data, and index blocks."""
    extents: dict[int, list[Extent]] = field(default_factory=dict)
    """Of inodes in several pieces, or with holes."""
    index_blocks: dict[int, list[int]] = field(default_factory=dict)
    directories: dict[int, bytes] = field(default_factory=dict)
    """The blocks of directories that do not fit one block."""
    xattrs: dict[int, PackedXattrs] = field(default_factory=dict)
    xattr_blocks: dict[int, int] = field(default_factory=dict)
    numbers: dict[Node, int] = field(default_factory=dict)
    copies: dict[tuple[int, bytes], int] = field(default_factory=dict)
    """The copy that a name (directory's number, name) leads to."""
    lost_and_found: int = 0
    """The inode number of the directory lost+found, if the tree has none of its own."""
    journal: list[Extent] = field(default_factory=list)
    journal_index: list[int] = field(default_factory=list)
    """The journal's index blocks: one above 512 MiB."""
    used: list[Run] = field(default_factory=list)
    """The blocks in use, ascending."""
    warnings: list[str] = field(default_factory=list)
    content_bytes: int = 0
    """What ``write`` tells as progress, in total."""

    @property
    def free_blocks(self) -> int:
        return self.geometry.blocks_count - sum(end - start for start, end in self.used)

    def directory_entries(self, number: int) -> list[DirEntry]:
        """The entries of a directory in the order of their names, without ``.`` and ``..``."""
        node = self.nodes[number]
        assert node is not None
        numbers = self.numbers
        entries = [
            (name, numbers[child], _FILE_TYPES[stat.S_IFMT(child.mode)])
            for name, child in sorted(node.children.items())
        ]
        if self.copies:
            entries = [(name, self.copies.get((number, name), ino), kind) for name, ino, kind in entries]
        if number == s.ROOT_INO and self.lost_and_found:
            entries.append((LOST_AND_FOUND, self.lost_and_found, s.FT_DIR))
            entries.sort()
        return entries
