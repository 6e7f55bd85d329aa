"""Directory blocks: one linear block where the entries fit, a hash tree where they do not.

A directory of several blocks without an index is valid, but the kernel never gives it one, so it would stay slow.
https://www.kernel.org/doc/html/latest/filesystems/ext4/directory.html#hash-tree-directories
"""

from __future__ import annotations

from collections.abc import Sequence

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.namehash import half_md4, seed_words

_ROOT_LIMIT = (s.BLOCK_SIZE - 32) // s.DX_ENTRY.size
_NODE_LIMIT = (s.BLOCK_SIZE - 8) // s.DX_ENTRY.size
_EMPTY_BLOCK = s.DIR_ENTRY.pack(0, s.BLOCK_SIZE, 0, 0).ljust(s.BLOCK_SIZE, b"\0")

DirEntry = tuple[bytes, int, int]
"""(name, inode number, file type)."""


def record_size(name: bytes) -> int:
    """The bytes that an entry needs in a directory block."""
    return (8 + len(name) + 3) & ~3


def linear_block(ino: int, parent_ino: int, entries: Sequence[DirEntry]) -> bytes:
    """The one block of a small directory."""
    return _leaf([(b".", ino, s.FT_DIR), (b"..", parent_ino, s.FT_DIR), *entries])


def is_linear(names_size: int) -> bool:
    """Whether entries whose ``record_size`` sums up to this fit into one block."""
    return 24 + names_size <= s.BLOCK_SIZE


def lost_and_found_blocks(ino: int, blocks: int) -> bytes:
    """The empty directory into which e2fsck can put files without needing a free block."""
    return linear_block(ino, s.ROOT_INO, []) + _EMPTY_BLOCK * (blocks - 1)


def _leaf(entries: Sequence[DirEntry]) -> bytes:
    parts = []
    left = s.BLOCK_SIZE
    last = len(entries) - 1
    for place, (name, ino, file_type) in enumerate(entries):
        size = (8 + len(name) + 3) & ~3 if place != last else left
        parts.append(s.DIR_ENTRY.pack(ino, size, len(name), file_type))
        parts.append(name.ljust(size - 8, b"\0"))
        left -= size
    return b"".join(parts)


def indexed_blocks(ino: int, parent_ino: int, entries: Sequence[DirEntry], hash_seed: bytes) -> bytes:
    """All blocks of a large directory: the root of the index, the leaves, then the inner nodes if there are any.

    Raises DamagedImageError beyond two levels of index, some ten million names.
    """
    seed = seed_words(hash_seed)
    hashed = sorted((half_md4(entry[0], seed), entry) for entry in entries)
    leaves: list[bytes] = []
    index: list[tuple[int, int]] = []
    leaf: list[DirEntry] = []
    room = s.BLOCK_SIZE
    last_hash = first_hash = -1
    for (major, _), entry in hashed:
        size = record_size(entry[0])
        if size > room:
            index.append((first_hash, 1 + len(leaves)))
            leaves.append(_leaf(leaf))
            # The lowest bit tells that names of this hash begin in the block before.
            first_hash = major | 1 if major == last_hash else major
            leaf, room = [], s.BLOCK_SIZE
        elif first_hash < 0:
            first_hash = major
        leaf.append(entry)
        room -= size
        last_hash = major
    index.append((first_hash, 1 + len(leaves)))
    leaves.append(_leaf(leaf))
    nodes: list[bytes] = []
    levels = 0
    if len(index) > _ROOT_LIMIT:
        levels = 1
        parents = []
        for first in range(0, len(index), _NODE_LIMIT):
            part = index[first : first + _NODE_LIMIT]
            parents.append((part[0][0], 1 + len(leaves) + len(nodes)))
            nodes.append(s.DIR_ENTRY.pack(0, s.BLOCK_SIZE, 0, 0) + _index(part, _NODE_LIMIT))
        index = parents
    if len(index) > _ROOT_LIMIT:
        raise DamagedImageError(f"a directory holds {len(entries)} names, more than ext4 can index")
    root = s.DIR_ENTRY.pack(ino, 12, 1, s.FT_DIR) + b".\0\0\0"
    root += s.DIR_ENTRY.pack(parent_ino, s.BLOCK_SIZE - 12, 2, s.FT_DIR) + b"..\0\0"
    root += s.DX_ROOT_INFO.pack(0, s.HASH_HALF_MD4, 8, levels, 0) + _index(index, _ROOT_LIMIT)
    return b"".join([root.ljust(s.BLOCK_SIZE, b"\0"), *leaves, *(node.ljust(s.BLOCK_SIZE, b"\0") for node in nodes)])


def _index(entries: list[tuple[int, int]], limit: int) -> bytes:
    # The first entry has no hash: all below the second one's is its.
    parts = [s.DX_COUNT_LIMIT.pack(limit, len(entries)), entries[0][1].to_bytes(4, "little")]
    parts += [s.DX_ENTRY.pack(*entry) for entry in entries[1:]]
    return b"".join(parts)
