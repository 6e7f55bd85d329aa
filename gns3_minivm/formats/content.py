"""File contents by reference: pieces of layer files, read when the disk is written."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from gns3_minivm.base.errors import DamagedImageError, HostError

BLOCK_SIZE = 4096
PIECE_SIZE = 64 * 1024
"""Zero runs are looked for in pieces of this size, aligned within the file."""
_ZEROS = bytes(PIECE_SIZE)
_READ_SIZE = 4 << 20
_FILES_OPEN_MAX = 64


class Slice:
    """``size`` bytes from ``offset`` on in the file ``path``."""

    __slots__ = ("offset", "path", "size")

    def __init__(self, path: str, offset: int, size: int) -> None:
        self.path = path
        self.offset = offset
        self.size = size


class Sparse:
    """A file of ``size`` bytes that reads as zeros but for ``segments``: (position in the file, its bytes).

    Segments are in ascending order and do not overlap.
    """

    __slots__ = ("segments", "size")

    def __init__(self, size: int, segments: tuple[tuple[int, Slice], ...]) -> None:
        self.size = size
        self.segments = segments


Content = bytes | Slice | Sparse


def content_size(content: Content) -> int:
    """The length of a file in bytes, holes included."""
    return len(content) if isinstance(content, bytes) else content.size


class ContentReader:
    """Reads contents; keeps the layer files open that it has seen.  A context manager."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def read(self, content: Content, offset: int, size: int) -> bytes:
        """Return ``size`` bytes of a content; the range must lie inside it.

        Raises HostError if the layer file cannot be read, DamagedImageError if it has become shorter.
        """
        if isinstance(content, bytes):
            return content[offset : offset + size]
        if isinstance(content, Slice):
            return self._read_file(content.path, content.offset + offset, size)
        return self._read_sparse(content, offset, size)

    def _read_file(self, path: str, offset: int, size: int) -> bytes:
        descriptor = self._files.get(path)
        try:
            if descriptor is None:
                if len(self._files) >= _FILES_OPEN_MAX:
                    os.close(self._files.popitem(last=False)[1])
                descriptor = self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(descriptor, size, offset)
            # One call returns at most 2 GiB, and may be cut short.
            while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise HostError(f"cannot read the layer file {path}: {error.strerror}") from error
        if len(data) < size:
            raise DamagedImageError(f"the layer file {path} ends {size - len(data)} bytes too early")
        return data

    def _read_sparse(self, content: Sparse, offset: int, size: int) -> bytes:
        end = offset + size
        parts: list[bytes] = []
        position = offset
        first = max(0, bisect_right(content.segments, offset, key=lambda segment: segment[0]) - 1)
        # A slice of the segments would copy them all, once for every run of blocks.
        for index in range(first, len(content.segments)):
            start, piece = content.segments[index]
            if start >= end:
                break
            low, high = max(start, position), min(start + piece.size, end)
            if low < high:
                parts += (bytes(low - position), self._read_file(piece.path, piece.offset + low - start, high - low))
                position = high
        parts.append(bytes(end - position))
        return b"".join(parts)

    def data_runs(self, content: Content) -> Iterator[tuple[int, int]]:
        """The parts of a content that need blocks on a disk: (first block, blocks) of 4 KiB, ascending, not adjoining.

        What the sparse map leaves out is a hole, and so is every 64 KiB piece of zeros in a file of 64 KiB or more.
        """
        size = content_size(content)
        spans: Iterable[tuple[int, int]]
        if isinstance(content, Sparse):
            spans = [(start, start + piece.size) for start, piece in content.segments if piece.size]
        elif size < PIECE_SIZE:
            spans = [(0, size)] if size else []
        else:
            spans = self._nonzero_spans(content, size)
        first = last = 0
        for start, end in spans:
            low, high = start // BLOCK_SIZE, -(-end // BLOCK_SIZE)
            if low > last > first:
                yield first, last - first
            if low > last or last == first:
                first = low
            last = high
        if last > first:
            yield first, last - first

    def _nonzero_spans(self, content: Content, size: int) -> Iterator[tuple[int, int]]:
        start = -1
        for base in range(0, size, _READ_SIZE):
            chunk = self.read(content, base, min(_READ_SIZE, size - base))
            for within in range(0, len(chunk), PIECE_SIZE):
                length = min(PIECE_SIZE, len(chunk) - within)
                # The first byte decides for most pieces; startswith compares without copying.
                if chunk[within] or not chunk.startswith(_ZEROS if length == PIECE_SIZE else _ZEROS[:length], within):
                    if start < 0:
                        start = base + within
                elif start >= 0:
                    yield start, base + within
                    start = -1
        if start >= 0:
            yield start, size
