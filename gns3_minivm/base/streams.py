"""Bytes that come in pieces: read from a file until all are there, written to one as they arrive."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.events import Progress, no_progress


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Read ``size`` bytes of a file from ``offset`` on, fewer only at its end.  Raises OSError."""
    file.seek(offset)
    data = b""
    # A file without a buffer may give a part.
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


async def save_stream(stream: AsyncGenerator[bytes, None], target: Path, progress: Progress = no_progress) -> None:
    """Write all that comes to a new file, and close the stream.

    ``progress`` is called with the bytes that were written since the last call.  Raises OSError.
    """
    async with aclosing(stream) as chunks:
        with await run_blocking(target.open, "xb") as file:
            async for chunk in chunks:
                # A write is waited for also where the caller is cancelled: the file is closed next.
                await run_blocking(file.write, chunk)
                progress(len(chunk))
