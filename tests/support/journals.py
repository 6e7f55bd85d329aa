"""Writes transactions into the journal of a raw ext4 disk, as jbd2 does, so that the next mount has to replay them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gns3_minivm.formats.ext4 import Ext4Reader
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.raw import RawDisk

BLOCK = 4096
BITS64, CSUM_V2, CSUM_V3 = 0x2, 0x8, 0x10
MAGIC = s.JOURNAL_MAGIC.to_bytes(4, "big")
_ESCAPED, _SAME_UUID, _LAST = 1, 2, 8
_INCOMPAT_AT, _NEEDS_RECOVERY = 1024 + 96, 4


@dataclass(frozen=True)
class Transaction:
    """New contents of blocks, and blocks that are revoked."""

    writes: Mapping[int, bytes] = field(default_factory=dict)
    revokes: Sequence[int] = ()
    is_committed: bool = True


def reader(raw: bytes | bytearray) -> Ext4Reader:
    return Ext4Reader(RawDisk(io.BytesIO(raw), "disk"))


def with_journal(
    raw: bytes, transactions: Iterable[Transaction], *, features: int = 0, start: int = 1, sequence: int = 7
) -> bytes:
    """The disk with a dirty journal that holds the transactions from its block ``start`` on, running round its end."""
    disk = bytearray(raw)
    ((_, first, length),) = reader(raw).extents(s.JOURNAL_INO)
    at, number = start, sequence

    def put(data: bytes) -> None:
        nonlocal at
        disk[(first + at) * BLOCK : (first + at + 1) * BLOCK] = data.ljust(BLOCK, b"\0")
        at = at + 1 if at + 1 < length else 1

    for one in transactions:
        if one.writes:
            put(struct.pack(">4sII", MAGIC, 1, number) + _tags(one.writes, features))
        for data in one.writes.values():
            put(bytes(4) + data[4:] if data[:4] == MAGIC else data)
        if one.revokes:
            size = 8 if features & BITS64 else 4
            revoked = b"".join(block.to_bytes(size, "big") for block in one.revokes)
            put(struct.pack(">4sIII", MAGIC, 5, number, 16 + len(revoked)) + revoked)
        if one.is_committed:
            put(struct.pack(">4sII", MAGIC, 2, number))
        number += 1
    # s_sequence, s_start; s_feature_incompat
    struct.pack_into(">II", disk, first * BLOCK + 24, sequence, start)
    struct.pack_into(">I", disk, first * BLOCK + 40, features)
    disk[_INCOMPAT_AT] |= _NEEDS_RECOVERY
    return bytes(disk)


def _tags(writes: Mapping[int, bytes], features: int) -> bytes:
    tags = []
    for place, (block, data) in enumerate(writes.items(), 1):
        flags = _ESCAPED * (data[:4] == MAGIC) | _SAME_UUID * (place > 1) | _LAST * (place == len(writes))
        low, high = block & 0xFFFFFFFF, block >> 32
        if features & CSUM_V3:
            tag = struct.pack(">IIII", low, flags, high, 0)
        else:
            tag = struct.pack(">IHH", low, 0, flags)
            tag += struct.pack(">I", high) * bool(features & BITS64) + bytes(2) * bool(features & CSUM_V2)
        tags.append(tag + bytes(16) * (place == 1))
    return b"".join(tags)
