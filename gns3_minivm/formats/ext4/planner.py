"""Decides where everything goes, before a byte is written.

Inode numbers and blocks are given in canonical path order, so that the contents can be written in one pass: of every
inode its attribute block, its data, then the index blocks of its extent tree.
"""

from __future__ import annotations

import itertools

from gns3_minivm.base.errors import DiskTooSmallError
from gns3_minivm.base.sizes import binary_size
from gns3_minivm.formats.content import ContentReader, content_size
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.allocator import Allocator, default_journal_blocks
from gns3_minivm.formats.ext4.directory import indexed_blocks, is_linear, record_size
from gns3_minivm.formats.ext4.extents import index_blocks_count, make_extents
from gns3_minivm.formats.ext4.geometry import Geometry, Run, geometry
from gns3_minivm.formats.ext4.plan import LOST_AND_FOUND, Ext4Options, Plan
from gns3_minivm.formats.ext4.xattrs import PackedXattrs, pack_xattrs
from gns3_minivm.formats.tree import FileTree, Node, new_directory, printable

LOST_AND_FOUND_BLOCKS = 4
FAST_SYMLINK_MAX = s.I_BLOCK_SIZE - 1
_BYTES_PER_INODE = 16 * 1024
_MIB = 1 << 20


def plan(tree: FileTree, options: Ext4Options) -> Plan:
    """Plan the file system that holds ``tree``.

    Reads the files of 64 KiB and more, to find their zeros.  Raises DiskTooSmallError, naming the size that would do,
    DamagedImageError or HostError for contents that cannot be read.
    """
    planner = _Planner(tree, options)
    planner.number_inodes()
    with ContentReader() as reader:
        planner.measure(reader)
    planner.lay_out()
    planner.place_inodes()
    return planner.plan


class _Planner:
    def __init__(self, tree: FileTree, options: Ext4Options) -> None:
        self._tree = tree
        self._options = options
        self._holey: dict[int, list[Run]] = {}
        """The blocks that a file needs, as runs within the file, where these are not all of its blocks."""
        self._copies: dict[Node, int] = {}
        self._packed: dict[tuple[tuple[bytes, bytes], ...], PackedXattrs] = {}
        self._allocator: Allocator
        self.plan = Plan(options)

    def number_inodes(self) -> None:
        """Give inode numbers, count links, and pack extended attributes."""
        plan = self.plan
        root = self._tree.root
        plan.nodes[s.ROOT_INO] = root
        plan.numbers[root] = plan.parents[s.ROOT_INO] = s.ROOT_INO
        plan.links[s.ROOT_INO] = 2
        self._pack_xattrs(s.ROOT_INO, root, [])
        if LOST_AND_FOUND not in root.children:
            plan.lost_and_found = self._add(new_directory(0o700), s.ROOT_INO)
        numbers, links = plan.numbers, plan.links
        for trail, directory, node in self._tree.walk_entries():
            number = numbers.get(node)
            if number is None:
                numbers[node] = number = self._add(node, numbers[directory])
                self._pack_xattrs(number, node, trail)
            elif links[number] < s.LINK_MAX:
                links[number] += 1
            else:
                self._link_copy(node, numbers[directory], trail)

    def _add(self, node: Node, parent: int) -> int:
        plan = self.plan
        plan.nodes.append(node)
        plan.parents.append(parent)
        plan.first_blocks.append(0)
        plan.block_counts.append(0)
        if node.is_directory:
            plan.links.append(2)
            plan.links[parent] += 1
        else:
            plan.links.append(1)
        return len(plan.nodes) - 1

    def _link_copy(self, node: Node, parent: int, trail: list[bytes]) -> None:
        """Give a name to a copy of a node whose inode has all the links that ext4 allows."""
        number = self._copies.get(node)
        if number is not None and self.plan.links[number] < s.LINK_MAX:
            self.plan.links[number] += 1
        else:
            self._copies[node] = number = self._add(node, parent)
            self._pack_xattrs(number, node, trail)
            self.plan.warnings.append(
                f"{printable(b'/'.join(trail))} has more than {s.LINK_MAX} hard links; the further ones lead to a copy"
            )
        self.plan.copies[parent, trail[-1]] = number

    def _pack_xattrs(self, number: int, node: Node, trail: list[bytes]) -> None:
        if not node.xattrs:
            return
        # Most images have few different sets, so equal ones share their bytes.
        key = tuple(sorted(node.xattrs.items()))
        packed = self._packed.get(key)
        if packed is None:
            packed = self._packed[key] = pack_xattrs(node.xattrs)
        self.plan.xattrs[number] = packed
        for name, reason in packed.dropped:
            self.plan.warnings.append(
                f"{printable(b'/'.join(trail))}: the extended attribute {printable(name)} is left out: {reason}"
            )

    def measure(self, reader: ContentReader) -> None:
        """Find out how many blocks every inode needs, the index blocks of large extent trees aside."""
        plan = self.plan
        counts = plan.block_counts
        for number, node in enumerate(plan.nodes):
            if node is None:
                continue
            if node.is_file:
                counts[number] = self._measure_file(number, node, reader)
            elif node.is_directory:
                counts[number] = self._measure_directory(number, node)
            elif node.is_symlink:
                counts[number] = len(node.target) > FAST_SYMLINK_MAX
            if number in plan.xattrs and plan.xattrs[number].block:
                counts[number] += 1

    def _measure_file(self, number: int, node: Node, reader: ContentReader) -> int:
        size = content_size(node.content)
        self.plan.content_bytes += size
        blocks = -(-size // s.BLOCK_SIZE)
        runs = [(start, start + count) for start, count in reader.data_runs(node.content)]
        if runs != [(0, blocks)] and blocks:
            self._holey[number] = runs
            return sum(end - start for start, end in runs)
        return blocks

    def _measure_directory(self, number: int, node: Node) -> int:
        plan = self.plan
        if number == plan.lost_and_found:
            return LOST_AND_FOUND_BLOCKS
        size = sum(map(record_size, node.children))
        if number == s.ROOT_INO and plan.lost_and_found:
            size += record_size(LOST_AND_FOUND)
        if is_linear(size):
            return 1
        entries = plan.directory_entries(number)
        blocks = indexed_blocks(number, plan.parents[number], entries, self._options.hash_seed)
        plan.directories[number] = blocks
        return len(blocks) // s.BLOCK_SIZE

    def lay_out(self) -> None:
        """Choose the geometry and reserve the journal; raises DiskTooSmallError if the inodes' blocks do not fit."""
        found = self._fitting(self._options.size_bytes, sum(self.plan.block_counts))
        if found is None:
            raise self._too_small(sum(self.plan.block_counts))
        layout, journal_blocks = found
        self.plan.geometry = layout
        self._allocator = Allocator(layout)
        if journal_blocks:
            start = self._allocator.reserve(journal_blocks)
            if start is None:
                raise self._too_small(sum(self.plan.block_counts) + journal_blocks)
            self.plan.journal = make_extents([(0, (start, start + journal_blocks))])
            index_count = index_blocks_count(len(self.plan.journal))
            self.plan.journal_index = [block for run in self._take(index_count) for block in range(*run)]

    def _fitting(self, size_bytes: int, blocks: int) -> tuple[Geometry, int] | None:
        """The geometry of a disk and its journal's blocks, if the disk has room for ``blocks`` beside them."""
        inodes = len(self.plan.nodes)
        layout = geometry(size_bytes, max(size_bytes // _BYTES_PER_INODE, 2 * inodes))
        if layout is None or layout.inodes_count < inodes:
            return None
        journal = self._options.journal_blocks
        if journal is None:
            journal = default_journal_blocks(layout.blocks_count)
        free = layout.blocks_count - sum(end - start for start, end in layout.used)
        return (layout, journal) if free >= blocks + journal else None

    def _too_small(self, blocks: int) -> DiskTooSmallError:
        low, high = 0, 1
        while self._fitting(high * _MIB, blocks) is None and high * _MIB <= s.BLOCKS_MAX * s.BLOCK_SIZE:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if self._fitting(middle * _MIB, blocks) is None:
                low = middle
            else:
                high = middle
        return DiskTooSmallError(
            f"the image needs a disk of at least {binary_size(high * _MIB)}; "
            f"the disk's size is {binary_size(self._options.size_bytes)}",
            hint=f"Choose a larger disk: --size {-(-high * 5 // 4 // 1024)}G leaves room for new files.",
        )

    def place_inodes(self) -> None:
        """Give every inode its blocks, in the order of the inode numbers."""
        plan = self.plan
        for number in itertools.chain([s.ROOT_INO], range(s.FIRST_INO, len(plan.nodes))):
            count = plan.block_counts[number]
            if not count:
                continue
            if number in plan.xattrs and plan.xattrs[number].block:
                plan.xattr_blocks[number] = self._take(1)[0][0]
                count -= 1
            runs = self._take(count)
            if number not in self._holey and len(runs) == 1 and count <= s.EXTENT_LEN_MAX:
                plan.first_blocks[number] = runs[0][0]
            elif count:
                self._place_pieces(number, runs)
        plan.used = self._allocator.used()

    def _place_pieces(self, number: int, runs: list[Run]) -> None:
        """Spread the blocks of a file with holes, or in several pieces, over ``runs``."""
        plan = self.plan
        pieces = []
        disk = iter(runs)
        start, end = next(disk)
        for logical, logical_end in self._holey.get(number) or [(0, sum(end - start for start, end in runs))]:
            while logical < logical_end:
                if start == end:
                    start, end = next(disk)
                length = min(logical_end - logical, end - start)
                pieces.append((logical, (start, start + length)))
                logical, start = logical + length, start + length
        plan.extents[number] = extents = make_extents(pieces)
        index_count = index_blocks_count(len(extents))
        if index_count:
            plan.index_blocks[number] = [block for run in self._take(index_count) for block in range(*run)]
            plan.block_counts[number] += index_count

    def _take(self, count: int) -> list[Run]:
        runs = self._allocator.take(count)
        if runs is None:
            # Only the index blocks of extent trees can have been forgotten: one in 340 extents.
            raise self._too_small(sum(self.plan.block_counts) + count)
        return runs
