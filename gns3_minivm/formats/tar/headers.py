"""Tar headers as they lie in an archive: fields, numbers, pax records, sparse maps.

Names of fields and types are those of the POSIX ustar and the GNU tar documents.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

from gns3_minivm.base.errors import DamagedImageError

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)

REGTYPE, AREGTYPE, CONTTYPE = b"0", b"\0", b"7"
LNKTYPE, SYMTYPE, CHRTYPE, BLKTYPE, DIRTYPE, FIFOTYPE = b"1", b"2", b"3", b"4", b"5", b"6"
PAX_HEADER, PAX_GLOBAL, PAX_SOLARIS = b"x", b"g", b"X"
GNU_LONGNAME, GNU_LONGLINK, GNU_SPARSE, GNU_VOLUME = b"L", b"K", b"S", b"V"
TYPES_WITHOUT_DATA = frozenset((LNKTYPE, SYMTYPE, CHRTYPE, BLKTYPE, DIRTYPE, FIFOTYPE))

# name mode uid gid size mtime chksum typeflag linkname magic+version uname gname devmajor devminor prefix
HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
MAGIC_USTAR = b"ustar\00000"
MAGIC_GNU = b"ustar  \0"

_NO_RECORDS: Mapping[bytes, bytes] = {}
SPARSE_RECORDS = b"GNU.sparse."
"""What the pax records of a sparse file begin with."""

EXTRA_SIZE_MAX = 1 << 20
"""Bytes in one pax header or long name; Go's reader, which every engine uses, has the same limit."""
SPARSE_PIECES_MAX = 1 << 20
"""A map of more pieces would need more memory than the file is worth; GNU tar's maps have one for each hole."""
_INT64_MAX = (1 << 63) - 1
_DECIMAL = re.compile(rb"-?[0-9]{1,19}")
_TIME = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")

SparseMap = list[tuple[int, int]]
"""(position in the file, bytes) of the parts that the archive holds."""


def text(field: bytes) -> bytes:
    """A name field: up to the first null byte."""
    return field.split(b"\0", 1)[0]


def number(field: bytes, what: str) -> int:
    """A numeric field: octal digits, or base-256 where the first bit is set."""
    digits = field.rstrip(b" \0")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            pass
    return _odd_number(field, what)


repeated_number = functools.lru_cache(4096)(number)
"""The same, for fields that have the same few values throughout an archive."""


def _odd_number(field: bytes, what: str) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
            raise DamagedImageError(f"the field {what} holds {value}, more than 64 bits")
        return value
    digits = text(field.strip(b" \0"))
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise DamagedImageError(f"the field {what} holds {digits!r}, not an octal number")
    return int(digits, 8)


def checksum_matches(block: bytes, field: bytes) -> bool:
    """Whether the header's checksum is right; old archives summed signed bytes."""
    try:
        wanted = number(field, "chksum")
    except DamagedImageError:
        return False
    # The lower half of Adler-32 (RFC 1950) is one more than the sum of the bytes, modulo 65521, which is more than the
    # bytes of a text add up to.  The field itself counts as eight spaces.
    if zlib.adler32(block) & 0xFFFF == (wanted + sum(field) - 255) % 65521:
        return True
    rest = block[:148] + b"        " + block[156:]
    unsigned = sum(rest)
    return unsigned == wanted or unsigned - 256 * sum(byte > 127 for byte in rest) == wanted


class EntryHeader:
    """An entry's header, with what extended headers before it say.

    ``size`` is the one of the header's own field.  ``records`` has the last of each pax record, ``record_pairs`` all in
    their order.
    """

    __slots__ = ("block", "fields", "long_link", "long_name", "record_pairs", "records", "size", "type")

    def __init__(
        self,
        block: bytes,
        fields: tuple[bytes, ...],
        size: int,
        record_pairs: Sequence[tuple[bytes, bytes]],
        records: Mapping[bytes, bytes],
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> None:
        self.block = block
        self.fields = fields
        self.type = fields[7]
        self.size = size
        self.record_pairs = record_pairs
        self.records = records
        self.long_name = long_name
        self.long_link = long_link

    def path(self) -> bytes:
        """The entry's name."""
        if self.long_name is not None:
            return self.long_name
        if self.records and (path := self.records.get(b"path")):
            return path
        name, magic, prefix = text(self.fields[0]), self.fields[9], self.fields[14]
        if magic == MAGIC_USTAR and prefix[0]:
            # star keeps two times at the end of the field and marks that in the header's last bytes.
            return text(prefix[:131] if self.block[508:] == b"tar\0" else prefix) + b"/" + name
        return name


def read_entry_header(next_block: Callable[[], bytes], data: Callable[[int, str], bytes]) -> EntryHeader | None:
    """The next entry's header; None at the end of the archive, where ``next_block`` gives nothing.

    ``data`` gives what an extended header holds, by its size and for messages by its name.  Global headers are passed
    over.
    """
    pairs: Sequence[tuple[bytes, bytes]] = ()
    records = _NO_RECORDS
    long_name = long_link = None
    while True:
        block = next_block()
        if not block:
            if records or long_name is not None or long_link is not None:
                raise DamagedImageError("the archive ends after an extended header")
            return None
        fields = HEADER.unpack(block)
        if not checksum_matches(block, fields[6]):
            raise DamagedImageError("a header's checksum is wrong, or this is not a tar archive")
        typeflag, size = fields[7], number(fields[4], "size")
        if typeflag in (PAX_HEADER, PAX_SOLARIS):
            pairs = pax_records(data(size, "a pax header"))
            records = dict(pairs)
        elif typeflag in (PAX_GLOBAL, GNU_VOLUME):
            data(size, "a global header")
        elif typeflag == GNU_LONGNAME:
            long_name = text(data(size, "a long name"))
        elif typeflag == GNU_LONGLINK:
            long_link = text(data(size, "a long link name"))
        else:
            return EntryHeader(block, fields, size, pairs, records, long_name, long_link)


def pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records of a pax header, in order."""
    records = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        length = data[position:space] if space > 0 else b""
        # int() alone would take signs, underscores and blanks.
        end = position + int(length) if length.isdigit() else 0
        if end <= space + 1 or end > len(data) or data[end - 1] != 0x0A:
            raise DamagedImageError(f"a pax record is malformed at byte {position}: {data[position : position + 40]!r}")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise DamagedImageError(f"a pax record has no key: {data[position : position + 40]!r}")
        records.append((key, value))
        position = end
    return records


def decimal(value: bytes, what: str) -> int:
    """A decimal number of a pax record."""
    if not _DECIMAL.fullmatch(value):
        raise DamagedImageError(f"the pax record {what} holds {value[:40]!r}, not a number")
    return int(value)


def time_ns(value: bytes) -> int:
    """A pax time, seconds with a fraction, in nanoseconds; digits below that are cut off."""
    match = _TIME.fullmatch(value)
    if not match:
        raise DamagedImageError(f"the pax record mtime holds {value[:40]!r}, not a time")
    ns = int(match[2]) * 1_000_000_000 + int(((match[3] or b"") + b"0" * 9)[:9])
    return -ns if match[1] else ns


def gnu_sparse_pieces(block: bytes, start: int, count: int) -> SparseMap:
    """The sparse structs of an old GNU header or of one of its extensions, up to the first unused one."""
    pieces = []
    for at in range(start, start + 24 * count, 24):
        if not block[at]:
            break
        pieces.append((number(block[at : at + 12], "offset"), number(block[at + 12 : at + 24], "numbytes")))
    return pieces


def check_pieces_count(count: int) -> None:
    """Raise DamagedImageError for a sparse map that is too long."""
    if count > SPARSE_PIECES_MAX:
        raise DamagedImageError(f"its sparse map has {count} pieces or more; at most {SPARSE_PIECES_MAX} are allowed")


def check_sparse(pieces: SparseMap, size: int, stored: int) -> SparseMap:
    """Raise DamagedImageError unless the pieces ascend, do not overlap, and hold what is stored; drops empty ones."""
    end = total = 0
    for start, length in pieces:
        if start < end or length < 0 or start + length > size:
            raise DamagedImageError(f"its sparse map has a piece of {length} bytes at {start} out of place")
        end = start + length
        total += length
    if total != stored:
        raise DamagedImageError(f"its sparse map covers {total} bytes, but the archive holds {stored}")
    return [piece for piece in pieces if piece[1]]
