"""Reads one tar archive: a stream of entries whose contents stay where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from gns3_minivm.base.errors import DamagedImageError, HostError
from gns3_minivm.base.events import Progress
from gns3_minivm.formats.content import Content, Slice, Sparse
from gns3_minivm.formats.tar import headers as h
from gns3_minivm.formats.tree import printable

_WINDOW = 8 * 1024
"""Read at once: the headers of several small files, and not much of what follows a large one's."""
_TOLD_SIZE = 512 * 1024
_XATTR = b"SCHILY.xattr."


class Entry:
    """One entry of an archive; ``content`` is set for regular files only."""

    __slots__ = ("content", "device", "gid", "linkname", "mode", "mtime_ns", "name", "type", "uid", "xattrs")

    def __init__(self) -> None:
        self.name = b""
        self.type = b""
        self.mode = 0
        self.uid = 0
        self.gid = 0
        self.mtime_ns = 0
        self.linkname = b""
        self.device = (0, 0)
        self.content: Content = b""
        self.xattrs: dict[bytes, bytes] | None = None


class Archive:
    """An uncompressed tar archive of ``size`` bytes from ``offset`` on in the file ``path``.

    Raises DamagedImageError if it is not a tar archive or is cut off; the message does not name the archive.
    """

    def __init__(self, path: str, offset: int, size: int, progress: Progress) -> None:
        self._path = path
        self._end = offset + size
        self._position = offset
        self._told = offset
        self._progress = progress
        self._descriptor = -1
        self._window = b""
        self._window_at = 0
        self.last_name = b""
        """The name of the entry being read or read last, for messages."""

    def entries(self) -> Iterator[Entry]:
        """The entries in the archive's order."""
        try:
            with open(self._path, "rb", buffering=0) as stream:
                self._descriptor = stream.fileno()
                if os.fstat(self._descriptor).st_size < self._end:
                    raise DamagedImageError("the layer is shorter than stated")
                while (entry := self._next()) is not None:
                    if self._position - self._told > _TOLD_SIZE:
                        self._tell(self._position)
                    yield entry
        except OSError as error:
            raise HostError(f"cannot read the layer file {self._path}: {error.strerror}") from error
        self._tell(self._end)

    def _tell(self, position: int) -> None:
        self._progress(position - self._told)
        self._told = position

    def _take(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the archive's end."""
        start = self._position - self._window_at
        if start < 0 or start + size > len(self._window):
            want = min(max(_WINDOW, size), self._end - self._position)
            self._window = os.pread(self._descriptor, want, self._position) if want > 0 else b""
            self._window_at, start = self._position, 0
        data = self._window[start : start + size]
        self._position += len(data)
        return data

    def _data(self, size: int, what: str) -> bytes:
        """The data of a special entry, without its padding."""
        if not 0 <= size <= h.EXTRA_SIZE_MAX:
            raise DamagedImageError(f"{what} of {size} bytes; at most {h.EXTRA_SIZE_MAX} are allowed")
        data = self._take(-(-size // h.BLOCK) * h.BLOCK)
        if len(data) < size:
            raise DamagedImageError(f"the archive ends inside {what}")
        return data[:size]

    def _next(self) -> Entry | None:
        header = h.read_entry_header(self._block, self._data)
        if header is None:
            return None
        entry = _entry(header)
        self.last_name = entry.name
        size = h.decimal(header.records[b"size"], "size") if b"size" in header.records else header.size
        if entry.type not in h.TYPES_WITHOUT_DATA:
            entry.content = self._content(header, entry, size)
        return entry

    def _block(self) -> bytes:
        """A header; empty at the end."""
        block = self._take(h.BLOCK)
        return block if len(block) == h.BLOCK and block[0] or not self._is_end(block) else b""

    def _is_end(self, block: bytes) -> bool:
        # An archive may end without the two blocks of zeros; one such block in the middle is damage.
        if block and block != h.ZERO_BLOCK:
            if len(block) < h.BLOCK:
                raise DamagedImageError("the archive ends inside a header")
            return False
        if block and self._take(h.BLOCK).strip(b"\0"):
            raise DamagedImageError("there is a block of zeros in the middle of the archive")
        return True

    def _content(self, header: h.EntryHeader, entry: Entry, size: int) -> Content:
        """Where a file's content lies; moves on to the next header."""
        if size < 0:
            raise DamagedImageError(f"its size is {size}")
        after = self._position + -(-size // h.BLOCK) * h.BLOCK
        content: Content
        if entry.type == h.GNU_SPARSE:
            pieces, logical = self._gnu_sparse(header.block)
            after = self._position + -(-size // h.BLOCK) * h.BLOCK
            content = self._sparse(pieces, logical, size)
        elif header.records and (
            sparse := [pair for pair in header.record_pairs if pair[0].startswith(h.SPARSE_RECORDS)]
        ):
            start = self._position
            pieces, logical = self._pax_sparse(sparse)
            content = self._sparse(pieces, logical, size - (self._position - start))
        else:
            # The last padding may be missing; the data may not.
            self._check_end(self._position + size)
            content = Slice(self._path, self._position, size) if size else b""
        self._position = min(after, self._end)
        return content

    def _check_end(self, position: int) -> None:
        if position > self._end:
            raise DamagedImageError("the archive ends inside the file's data")

    def _gnu_sparse(self, block: bytes) -> tuple[h.SparseMap, int]:
        pieces = h.gnu_sparse_pieces(block, 386, 4)
        logical = h.number(block[483:495], "realsize")
        extended = block[482]
        while extended:
            more = self._take(h.BLOCK)
            if len(more) < h.BLOCK:
                raise DamagedImageError("the archive ends inside a sparse map")
            pieces += h.gnu_sparse_pieces(more, 0, 21)
            h.check_pieces_count(len(pieces))
            extended = more[504]
        return pieces, logical

    def _pax_sparse(self, records: list[tuple[bytes, bytes]]) -> tuple[h.SparseMap, int]:
        """The map of GNU's pax formats 0.0, 0.1 and 1.0, and the file's size."""
        values = {key[len(h.SPARSE_RECORDS) :]: value for key, value in records}
        logical = h.decimal(values.get(b"realsize", values.get(b"size", b"")), "GNU.sparse.size")
        if values.get(b"major") == b"1" and values.get(b"minor") == b"0":
            return self._pax_sparse_1_0(), logical
        if b"map" in values:
            numbers = values[b"map"].split(b",") if values[b"map"] else []
        else:
            wanted = (h.SPARSE_RECORDS + b"offset", h.SPARSE_RECORDS + b"numbytes")
            pairs = [pair for pair in records if pair[0] in wanted]
            if any(pair[0] != wanted[place % 2] for place, pair in enumerate(pairs)):
                raise DamagedImageError("its sparse map is malformed")
            numbers = [value for _, value in pairs]
        return _pieces([h.decimal(value, "GNU.sparse.map") for value in numbers]), logical

    def _pax_sparse_1_0(self) -> h.SparseMap:
        data = b""
        lines: list[bytes] = []
        wanted = 1
        while len(lines) < wanted:
            block = self._take(h.BLOCK)
            if len(block) < h.BLOCK:
                raise DamagedImageError("the archive ends inside a sparse map")
            *found, data = (data + block).split(b"\n")
            lines += found
            if len(data) > 20 and len(lines) < wanted:
                raise DamagedImageError("its sparse map is malformed")
            if lines and wanted == 1:
                h.check_pieces_count(h.decimal(lines[0], "sparse map"))
                wanted = 1 + 2 * int(lines[0])
        return _pieces([h.decimal(line, "sparse map") for line in lines[1:wanted]])

    def _sparse(self, pieces: h.SparseMap, logical: int, stored: int) -> Content:
        if logical < 0:
            raise DamagedImageError(f"its size is {logical}")
        segments = []
        position = self._position
        for start, length in h.check_sparse(pieces, logical, stored):
            segments.append((start, Slice(self._path, position, length)))
            position += length
        self._check_end(position)
        return Sparse(logical, tuple(segments))


def _pieces(numbers: list[int]) -> h.SparseMap:
    if len(numbers) % 2:
        raise DamagedImageError("its sparse map has an odd count of numbers")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _entry(header: h.EntryHeader) -> Entry:
    """The entry that a header describes, without its content."""
    _, mode, uid, gid, _, mtime, _, typeflag, linkname, _, _, _, major, minor, _ = header.fields
    records = header.records
    entry = Entry()
    # First of all, so that a message about another field can name the entry.
    entry.name, entry.type = header.path(), typeflag
    if linkname[0]:
        entry.linkname = h.text(linkname)
    try:
        _numbers(entry, mode, uid, gid, mtime, records)
        if typeflag in (h.CHRTYPE, h.BLKTYPE):
            entry.device = (h.number(major, "devmajor"), h.number(minor, "devminor"))
    except DamagedImageError as error:
        raise DamagedImageError(f"entry {printable(entry.name)}: {error.message}") from error
    if records:
        if header.long_name is None:
            entry.name = records.get(b"GNU.sparse.name") or entry.name
        entry.linkname = records.get(b"linkpath") or entry.linkname
        cut = len(_XATTR)
        entry.xattrs = {key[cut:]: value for key, value in records.items() if key.startswith(_XATTR)} or None
    if header.long_link is not None:
        entry.linkname = header.long_link
    if typeflag in (h.AREGTYPE, h.REGTYPE, h.CONTTYPE):
        # Before there was a type for directories, a slash at the end told them.
        entry.type = h.DIRTYPE if typeflag == h.AREGTYPE and entry.name.endswith(b"/") else h.REGTYPE
    return entry


def _numbers(entry: Entry, mode: bytes, uid: bytes, gid: bytes, mtime: bytes, records: Mapping[bytes, bytes]) -> None:
    entry.mode = h.repeated_number(mode, "mode") & 0o7777
    uid_record, gid_record, mtime_record = records.get(b"uid"), records.get(b"gid"), records.get(b"mtime")
    entry.uid = h.decimal(uid_record, "uid") if uid_record else h.repeated_number(uid, "uid")
    entry.gid = h.decimal(gid_record, "gid") if gid_record else h.repeated_number(gid, "gid")
    entry.mtime_ns = h.time_ns(mtime_record) if mtime_record else h.number(mtime, "mtime") * 1_000_000_000
