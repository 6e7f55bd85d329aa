"""Bytes that come in pieces are read, and saved, as a whole."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gns3_minivm.base.streams import read_at, save_stream


class Source:
    """Three pieces, or an error after the second one."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.closed = False

    async def stream(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"one "
            yield b"two "
            if self.broken:
                raise ConnectionError("gone")
            yield b"three"
        finally:
            self.closed = True


class Sluggish(io.BytesIO):
    """Gives at most three bytes at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size if size is not None and size >= 0 else 3, 3))


@pytest.mark.parametrize(
    ("offset", "size", "found"), [(0, 10, b"0123456789"), (4, 4, b"4567"), (8, 5, b"89"), (12, 1, b"")]
)
def test_a_file_that_gives_parts_is_read_until_all_are_there(offset: int, size: int, found: bytes) -> None:
    assert read_at(Sluggish(b"0123456789"), offset, size) == found


async def test_all_that_comes_is_in_the_file_and_told(tmp_path: Path) -> None:
    source, told = Source(), list[int]()
    await save_stream(source.stream(), tmp_path / "file", told.append)
    assert (tmp_path / "file").read_bytes() == b"one two three"
    assert told == [4, 4, 5] and source.closed


async def test_a_stream_that_breaks_is_raised_as_it_broke(tmp_path: Path) -> None:
    source = Source(broken=True)
    with pytest.raises(ConnectionError, match="gone"):
        await save_stream(source.stream(), tmp_path / "file")
    assert source.closed


async def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        await save_stream(Source().stream(), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


async def test_a_stream_is_closed_when_its_reader_is_cancelled(tmp_path: Path) -> None:
    closed, waiting = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            waiting.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    task = asyncio.create_task(save_stream(endless(), tmp_path / "file"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set() and (tmp_path / "file").read_bytes() == b"one"
