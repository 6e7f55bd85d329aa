"""The files in an image's archive, a tar stream that is gone through once, from its front to its end.

The standard library's reader is not used here: it believes what a header says of its own length, of holes, and of
further headers, so that a small archive could take all memory, or centuries.

https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13 (not supported: sparse files, which no
program writes into an image's archive)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Protocol

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.tar import headers as h
from gns3_minivm.images.oci import legible
from gns3_minivm.images.unpack import Piece, Readable

_FILES = frozenset((h.REGTYPE, h.AREGTYPE, h.CONTTYPE, h.GNU_SPARSE))


class ArchiveError(Exception):
    """The archive is cut off, or not an archive; the message does not name it."""


@dataclass(frozen=True)
class ArchiveMember:
    """A regular file; its bytes begin at ``offset`` of the archive."""

    name: str
    size: int
    offset: int

    @property
    def shown(self) -> str:
        """The name for messages."""
        return legible(self.name)


class ByteSource(Protocol):
    """Where an archive's bytes come from."""

    position: int

    def read(self, size: int, /) -> Piece:
        """The next bytes: at most ``size``, perhaps fewer, and none only at the end."""

    def skip(self, size: int, /) -> bool:
        """Pass by as many bytes; returns whether there were so many."""


class StreamSource:
    """An archive that comes in pieces, once."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.position = 0

    def read(self, size: int) -> Piece:
        data = self._source.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> bool:
        while size and (data := self.read(size)):
            size -= len(data)
        return not size


class FileSource:
    """An archive in a file; what is passed by is not read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.position = file.tell()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> bool:
        end = self.position + size
        self.position = min(end, self._size)
        self._file.seek(self.position)
        return end <= self._size


class Members:
    """The regular files of an archive in its order; ``read`` gives the bytes of the one that came last.

    Raises ArchiveError, and what the source raises.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._member = ArchiveMember("", 0, 0)
        self._left = 0

    def __iter__(self) -> Iterator[ArchiveMember]:
        while (member := self._next()) is not None:
            self._member, self._left = member, member.size
            yield member
            if not self._source.skip(self._left):
                raise self._cut_off()
            self._source.skip(_padding(member.size))

    def read(self, size: int) -> Piece:
        """As a file does, but perhaps fewer bytes than there are."""
        if not self._left:
            return b""
        data = self._source.read(min(size, self._left))
        self._left -= len(data)
        if not data:
            raise self._cut_off()
        return data

    def _cut_off(self) -> ArchiveError:
        found = self._source.position - self._member.offset
        return ArchiveError(f"{self._member.shown} ends after {found} of {self._member.size} bytes")

    def _next(self) -> ArchiveMember | None:
        while True:
            with _header_errors():
                header = h.read_entry_header(self._block, self._extra)
                if header is None:
                    return None
                size = h.decimal(header.records[b"size"], "size") if b"size" in header.records else header.size
            if header.type in h.TYPES_WITHOUT_DATA:
                continue
            member = ArchiveMember(header.path().decode("utf-8", "surrogateescape"), size, self._source.position)
            if size < 0:
                raise ArchiveError(f"the size of {member.shown} is {size}")
            if header.type in _FILES:
                if header.type == h.GNU_SPARSE or any(key.startswith(h.SPARSE_RECORDS) for key in header.records):
                    raise ArchiveError(f"{member.shown} is a sparse file, which is not supported")
                return member
            if not self._source.skip(size + _padding(size)):
                raise ArchiveError(f"it ends inside {member.shown}")

    def _block(self) -> bytes:
        """A header; empty at the end."""
        block = self._take(h.BLOCK)
        if not block and not self._source.position:
            raise ArchiveError("it is empty")
        if block and len(block) < h.BLOCK:
            raise ArchiveError("it ends inside a header")
        return b"" if block == h.ZERO_BLOCK else block

    def _extra(self, size: int, what: str) -> bytes:
        if not 0 <= size <= h.EXTRA_SIZE_MAX:
            raise ArchiveError(f"{what} of {size} bytes; at most {h.EXTRA_SIZE_MAX} are allowed")
        data = self._take(size + _padding(size))
        if len(data) < size:
            raise ArchiveError(f"it ends inside {what}")
        return data[:size]

    def _take(self, size: int) -> bytes:
        """So many bytes, fewer only at the end."""
        parts = []
        while size and (data := self._source.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


@contextmanager
def _header_errors() -> Iterator[None]:
    """What is wrong with a header is wrong with the archive, whose name is not known here."""
    try:
        yield
    except DamagedImageError as error:
        raise ArchiveError(error.message) from error


def _padding(size: int) -> int:
    return -size % h.BLOCK
