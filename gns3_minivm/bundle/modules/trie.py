"""Writes the binary index files that kmod searches (modules.dep.bin and its like).

Format: kmod, libkmod/libkmod-index.h.  A radix tree of ASCII keys; integers are 32 bits, big-endian::

    magic 0xB007F457 | version 2.1 | offset of the root node
    node:  prefix, NUL                                       if its offset has PREFIX
           first, last (characters), offset[last-first+1]    if CHILDREN
           count, count x (priority, value, NUL)             if VALUES

The three flags are the highest bits of every offset that points to a node.  A key's values are ordered by priority, the
smallest first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from gns3_minivm.base.errors import PackageError

MAGIC = 0xB007F457
VERSION = 0x00020001
PREFIX = 0x80000000
VALUES = 0x40000000
CHILDREN = 0x20000000
OFFSET_MASK = 0x0FFFFFFF

Entry = tuple[str, str, int]
_Rows = list[tuple[bytes, int, bytes]]


def encode(entries: Iterable[Entry]) -> bytes:
    """The index of (key, value, priority) entries; the same entries in any order give the same bytes.

    Raises PackageError for a key that is not ASCII, as no kernel writes it.
    """
    rows: _Rows = sorted({(_ascii(key), priority, _ascii(value)) for key, value, priority in entries})
    out = bytearray(struct.pack(">III", MAGIC, VERSION, 0))
    root = _write(out, rows, 0, len(rows), 0, root=True)
    struct.pack_into(">I", out, 8, root)
    return bytes(out)


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as error:
        raise PackageError(f"the module information {text!r} is not ASCII") from error


def _write(out: bytearray, rows: _Rows, low: int, high: int, depth: int, *, root: bool = False) -> int:
    """Append the node of ``rows[low:high]``, which share their first ``depth`` characters; returns its offset."""
    # depmod gives the root no prefix, whatever its keys have in common.
    prefix = b"" if root else _common(rows, low, high)[depth:]
    end = depth + len(prefix)
    split = low
    while split < high and len(rows[split][0]) == end:
        split += 1
    children: dict[int, int] = {}
    start = split
    while start < high:
        letter = rows[start][0][end]
        stop = start
        while stop < high and rows[stop][0][end] == letter:
            stop += 1
        children[letter] = _write(out, rows, start, stop, end + 1)
        start = stop

    offset = len(out)
    if prefix:
        out += prefix + b"\0"
        offset |= PREFIX
    if children:
        first, last = min(children), max(children)
        out += bytes((first, last))
        out += b"".join(struct.pack(">I", children.get(letter, 0)) for letter in range(first, last + 1))
        offset |= CHILDREN
    if split > low:
        out += struct.pack(">I", split - low)
        for _, priority, value in rows[low:split]:
            out += struct.pack(">I", priority) + value + b"\0"
        offset |= VALUES
    return offset


def _common(rows: _Rows, low: int, high: int) -> bytes:
    """The longest common prefix; of sorted keys it is that of the first and the last."""
    if low == high:
        return b""
    first, last = rows[low][0], rows[high - 1][0]
    length = 0
    for a, b in zip(first, last, strict=False):
        if a != b:
            break
        length += 1
    return first[:length]
