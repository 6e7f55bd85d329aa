"""Lets the system write a file to its drive while it grows, so that less is left to write at the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_INTERVAL_S = 0.1
_STEP_SIZE = 4 << 20


@contextmanager
def written_out_early(path: Path) -> Iterator[None]:
    """Begin to write out what is appended to ``path`` during the block; without promises, and without failing."""
    ended = threading.Event()
    follower = threading.Thread(target=_follow, args=(path, ended), name="write-out", daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()


def _follow(path: Path, ended: threading.Event) -> None:
    done = 0
    with suppress(OSError):
        while not path.exists():
            if ended.wait(_INTERVAL_S):
                return
        with path.open("rb") as file:
            while not ended.wait(_INTERVAL_S):
                size = os.fstat(file.fileno()).st_size
                if size - done >= _STEP_SIZE:
                    # Linux begins to write out what has been changed, and keeps it in memory until that is done.
                    os.posix_fadvise(file.fileno(), done, size - done, os.POSIX_FADV_DONTNEED)
                    done = size
