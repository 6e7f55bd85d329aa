"""On-disk structures and constants of qcow2, under the specification's names; all big-endian."""

from __future__ import annotations

import struct
from typing import Literal

Compression = Literal["zstd", "zlib", "none"]

MAGIC = 0x514649FB
VERSION = 3
CLUSTER_BITS = 16
CLUSTER_SIZE = 1 << CLUSTER_BITS
REFCOUNT_ORDER = 4
L2_ENTRIES = CLUSTER_SIZE // 8
REFCOUNTS_PER_BLOCK = CLUSTER_SIZE // 2
SECTOR = 512

# magic version backing_file_offset backing_file_size cluster_bits size crypt_method l1_size l1_table_offset
# refcount_table_offset refcount_table_clusters nb_snapshots snapshots_offset, then of version 3:
# incompatible_features compatible_features autoclear_features refcount_order header_length
HEADER = struct.Struct(">IIQIIQIIQQIIQQQQII")
HEADER_LENGTH = 104
assert HEADER.size == HEADER_LENGTH
HEADER_LENGTH_V2 = 72
HEADER_LENGTH_WITH_COMPRESSION_TYPE = 112

INCOMPATIBLE_DIRTY = 1 << 0
INCOMPATIBLE_CORRUPT = 1 << 1
INCOMPATIBLE_COMPRESSION_TYPE = 1 << 3
INCOMPATIBLE_READABLE = INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT | INCOMPATIBLE_COMPRESSION_TYPE
COMPRESSION_TYPE_ZLIB, COMPRESSION_TYPE_ZSTD = 0, 1

EXTENSION_END = 0
EXTENSION_BACKING_FORMAT = 0xE2792ACA
EXTENSION_FEATURE_NAMES = 0x6803F857
# Feature name table entry: feature type (0: incompatible), bit, name
FEATURE_NAME = struct.Struct(">BB46s")

COPIED = 1 << 63
COMPRESSED = 1 << 62
OFFSET_MASK = 0x00FFFFFFFFFFFE00
ZERO_CLUSTER = 1


def compressed_entry(offset: int, size: int) -> int:
    """The L2 entry of a compressed cluster: host offset, and the sectors that it touches beyond the first."""
    sectors = (offset + size - 1) // SECTOR - offset // SECTOR
    return COMPRESSED | sectors << _offset_bits(CLUSTER_BITS) | offset


def compressed_place(entry: int, cluster_bits: int) -> tuple[int, int]:
    """The host offset of a compressed cluster and the most bytes that it may have."""
    bits = _offset_bits(cluster_bits)
    offset = entry & ((1 << bits) - 1)
    sectors = (entry >> bits & ((1 << (62 - bits)) - 1)) + 1
    return offset, sectors * SECTOR - offset % SECTOR


def _offset_bits(cluster_bits: int) -> int:
    return 62 - (cluster_bits - 8)
