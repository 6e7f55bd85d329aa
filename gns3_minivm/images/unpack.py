"""Unpacks one layer, compressed or not, into a file while it arrives.

What a layer is compressed with is read from its first bytes, not from what its manifest says: gzip (RFC 1952), zstd
(RFC 8878), xz, bzip2, or nothing.  A layer's unpacked size is stated nowhere, so that a few bytes may claim to be
terabytes: the work goes on in pieces of bounded size, whole pieces of zeros become holes in the file, and what grows
beyond every sensible layer is refused.
"""

from __future__ import annotations

import hashlib
import io
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import IO, Any, Protocol, Self, cast

from gns3_minivm.base.cancel import checkpoint

CHUNK_SIZE = 1 << 20
UNPACKED_MAX = 64 << 30
"""Bytes that any layer may unpack to, however small it is."""
RATIO_MAX = 1100
"""Above that, how many times its packed size; the most that deflate can do is 1032."""

_GZIP = b"\x1f\x8b"
_ZSTD_FRAME = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
"""Some packers begin with such a frame, which has no data."""
_XZ = b"\xfd7zXZ\0"
# The letters alone may be the start of a tar file: the name of its first entry.
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
MAGIC_SIZE = 10
_PACKED_SIZE = 1 << 17
_THREAD_SIZE = 1 << 18
"""Smaller pieces are not worth handing over."""
_ZEROS = bytes(CHUNK_SIZE)
_MEMORY_MAX = 256 << 20


class UnpackError(Exception):
    """The packed bytes are not what they claim to be."""


Piece = bytes | memoryview


class Readable(Protocol):
    """What gives the next bytes: at most ``size``, perhaps fewer, and none only at the end."""

    def read(self, size: int, /) -> Piece: ...


class PieceReader:
    """The pieces of a stream, cut to size and not copied; ``progress`` is called with the size of each."""

    def __init__(self, pieces: Iterable[Piece], progress: Callable[[int], object] = lambda _: None) -> None:
        self._pieces = iter(pieces)
        self._progress = progress
        self._rest = memoryview(b"")

    def read(self, size: int) -> Piece:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
            if self._rest:
                self._progress(len(self._rest))
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same stream in pieces of at least ``CHUNK_SIZE`` bytes, but for the last: small ones cost too much each."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= CHUNK_SIZE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def unpack(source: Readable, target: IO[bytes], *, is_slow: bool = False) -> tuple[str, int]:
    """Append a layer, unpacked, to ``target``; returns its diff ID and its unpacked size.

    ``is_slow`` says that ``source`` keeps a processor busy.  Raises UnpackError for a damaged or boundless stream, and
    what ``source`` raises.
    """
    packed = _Counted(source)
    reader = open_packed(packed)
    start = target.tell()
    size = 0
    with _Spool(target, is_busy=is_slow or not isinstance(reader, _Prefixed)) as spool:
        while True:
            checkpoint()
            data = reader.read(CHUNK_SIZE)
            if not data:
                break
            spool.put(data)
            size += len(data)
            if size > UNPACKED_MAX and size > packed.count * RATIO_MAX:
                raise UnpackError(f"{packed.count} bytes unpack to more than {size >> 30} GiB")
    # A hole at the end is only a position so far.
    target.truncate(start + size)
    return f"sha256:{spool.hexdigest()}", size


class _Spool:
    """Writes pieces to ``target`` and takes their sha256; all of it is done after the block.

    Large pieces are written on a thread.  That takes the digest too where the caller's is busy.  Raises what ``target``
    raises.
    """

    def __init__(self, target: IO[bytes], *, is_busy: bool) -> None:
        self._target = target
        self._is_busy = is_busy
        self._sha256 = hashlib.sha256()
        self._pieces: queue.Queue[Piece] = queue.Queue(4)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._thread is not None:
            self._pieces.put(b"")
            self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, data: Piece) -> None:
        if self._error is not None:
            raise self._error
        if self._thread is None:
            if len(data) < _THREAD_SIZE:
                self._sha256.update(data)
                return self._write(data)
            self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
            self._thread.start()
        if not self._is_busy:
            self._sha256.update(data)
        self._pieces.put(data)

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()

    def _work(self) -> None:
        while data := self._pieces.get():
            # After a failure the rest is taken and dropped, so that nobody waits for room.
            if self._error is None:
                try:
                    if self._is_busy:
                        self._sha256.update(data)
                    self._write(data)
                except BaseException as error:  # noqa: BLE001  (carried over to the thread that unpacks)
                    self._error = error

    def _write(self, data: Piece) -> None:
        if len(data) == CHUNK_SIZE and data == _ZEROS:
            self._target.seek(CHUNK_SIZE, io.SEEK_CUR)
            return
        while data:  # a file without a buffer may take a part
            data = data[self._target.write(data) :]


def open_packed(source: Readable) -> Readable:
    """A reader of the unpacked bytes."""
    data = source.read(CHUNK_SIZE)
    while 0 < len(data) < MAGIC_SIZE and (more := source.read(CHUNK_SIZE)):
        data = bytes(data) + bytes(more)
    start = bytes(data[:MAGIC_SIZE])
    rest = _Prefixed(data, source)
    if start.startswith(_GZIP):
        return _Gzip(rest)
    if _is_zstd(start):
        return _Zstd(rest)
    if start.startswith(_XZ):
        import lzma

        return _Streams(rest, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_MAX))
    if _BZIP2.match(start):
        import bz2

        return _Streams(rest, bz2.BZ2Decompressor)
    return rest


def is_packed(start: bytes) -> bool:
    """Whether a file that starts so (``MAGIC_SIZE`` bytes are enough) is compressed."""
    return start.startswith((_GZIP, _XZ)) or _is_zstd(start) or bool(_BZIP2.match(start))


def _is_zstd(start: bytes) -> bool:
    return start.startswith(_ZSTD_FRAME) or bool(_ZSTD_SKIPPABLE.match(start))


class _Counted:
    def __init__(self, source: Readable) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int) -> Piece:
        data = self._source.read(size)
        self.count += len(data)
        return data


class _Prefixed:
    """A source whose first bytes have been read already."""

    def __init__(self, start: Piece, source: Readable) -> None:
        self._start = start
        self._source = source

    def read(self, size: int) -> Piece:
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return self._source.read(size)


class _Gzip:
    """Gzip members one after the other."""

    def __init__(self, source: Readable) -> None:
        from zlib_ng import zlib_ng

        self._zlib: Any = zlib_ng
        self._source = source
        self._stream = self._zlib.decompressobj(wbits=31)
        self._input: Piece = b""

    def read(self, size: int) -> bytes:
        while True:
            if not self._input:
                # What one call leaves over is copied, so not much at a time.
                self._input = self._source.read(_PACKED_SIZE)
            if self._stream.eof:
                if self._input and not self._input[0]:
                    # Files may be padded with zeros.
                    self._input = bytes(self._input).lstrip(b"\0")
                    continue
                if not self._input:
                    return b""
                self._stream = self._zlib.decompressobj(wbits=31)
            at_end = not self._input
            try:
                data: bytes = self._stream.decompress(self._input, size)
            except self._zlib.error as error:
                raise UnpackError(str(error)) from error
            self._input = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if data:
                return data
            if at_end and not self._stream.eof:
                raise UnpackError("its gzip stream is cut off")


class _Zstd:
    def __init__(self, source: Readable) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._frames = _ZstdFrames(source)
        # It needs no more of a file than read().
        file = cast(IO[bytes], self._frames)
        self._reader = zstandard.ZstdDecompressor().stream_reader(file, read_size=CHUNK_SIZE, read_across_frames=True)

    def read(self, size: int) -> bytes:
        try:
            data = self._reader.read(size)
        except self._error as error:
            raise UnpackError(str(error)) from error
        if not data and not self._frames.is_whole:
            raise UnpackError("its zstd stream is cut off")
        return data


class _ZstdFrames:
    """Follows frames and blocks as they pass by: the library's reader takes a stream that is cut off for its end.

    RFC 8878, sections 3.1.1 and 3.1.2.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._header = b""
        self._skip = 0
        self._next: Callable[[bytes], int] = self._magic
        """Takes the start of a header; returns how many bytes of it are missing, or 0 when it was read."""
        self._has_checksum = False

    def read(self, size: int) -> Piece:
        data = self._source.read(size)
        self._follow(data)
        return data

    @property
    def is_whole(self) -> bool:
        return self._next == self._magic and not self._header and not self._skip

    def _follow(self, data: Piece) -> None:
        position = 0
        missing = max(0, self._next(self._header)) if not self._skip else 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                if not self._skip:
                    missing = self._next(b"")
                continue
            self._header += bytes(data[position : position + missing])
            position += missing
            missing = self._next(self._header)
            if not missing:
                self._header = b""
                missing = self._next(b"") if not self._skip else 0

    def _magic(self, start: bytes) -> int:
        if len(start) < 5:
            return 5 - len(start)
        if _ZSTD_SKIPPABLE.match(start):
            if len(start) < 8:
                return 8 - len(start)
            self._skip = int.from_bytes(start[4:8], "little")
            return 0
        # What is no frame is the decoder's affair.
        flags = start[4]
        is_single = bool(flags & 0x20)
        self._has_checksum = bool(flags & 4)
        self._skip = (
            (not is_single) + (0, 1, 2, 4)[flags & 3] + ((2, 4, 8)[(flags >> 6) - 1] if flags >> 6 else is_single)
        )
        self._next = self._block
        return 0

    def _block(self, start: bytes) -> int:
        if len(start) < 3:
            return 3 - len(start)
        value = int.from_bytes(start, "little")
        # Of a block that repeats one byte, only that byte is there.
        self._skip = 1 if value >> 1 & 3 == 1 else value >> 3
        if value & 1:
            self._skip += 4 * self._has_checksum
            self._next = self._magic
        return 0


class _Streams:
    """xz or bzip2 streams one after the other."""

    def __init__(self, source: Readable, make: Callable[[], Any]) -> None:
        self._source = source
        self._make = make
        self._stream = make()
        self._input: Piece = b""

    def read(self, size: int) -> bytes:
        import lzma

        while True:
            if self._stream.eof:
                rest = self._stream.unused_data or self._input or self._source.read(CHUNK_SIZE)
                # xz files may be padded with zeros.
                self._input = bytes(rest).lstrip(b"\0")
                if not self._input:
                    return b""
                self._stream = self._make()
            if self._stream.needs_input and not self._input:
                self._input = self._source.read(CHUNK_SIZE)
                if not self._input:
                    raise UnpackError("its compressed stream is cut off")
            try:
                data: bytes = self._stream.decompress(self._input, size)
            except (lzma.LZMAError, OSError, ValueError) as error:
                raise UnpackError(str(error)) from error
            self._input = b""
            if data:
                return data
