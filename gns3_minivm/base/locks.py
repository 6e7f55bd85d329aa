"""Locks on folders in use, so that nobody removes them meanwhile; the kernel drops them with the process."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.01


class UnlockableError(OSError):
    """A file system has no locks."""


_held: dict[Path, int] = {}
"""The descriptors of shared locks; they end with this process."""
_guard = threading.Lock()


def hold(folder: Path) -> None:
    """Keep others from taking a folder ``alone`` while this process lives (blocking).

    Raises FileNotFoundError if it has gone.
    """
    with _guard:
        known = _held.get(folder)
        if known is not None and same_file(known, folder):
            return
        while True:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno != errno.EWOULDBLOCK:
                    return  # a file system without such locks: nobody can have the folder alone there
                # It is looked at, or being removed: the next look tells which.
                time.sleep(_POLL_S)
                continue
            if same_file(descriptor, folder):
                break
            os.close(descriptor)
        if known is not None:
            os.close(known)
        _held[folder] = descriptor


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Take a folder alone.

    Raises BlockingIOError if a process holds it or nobody can tell, FileNotFoundError if it has gone.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BlockingIOError(errno.EWOULDBLOCK, error.strerror, str(folder)) from error
        yield
    finally:
        os.close(descriptor)


def take(path: Path) -> int:
    """Lock a file, which is made if it is missing; returned is the descriptor, with which the lock ends.

    Raises BlockingIOError if another has it, UnlockableError on a file system without locks, and other OSErrors.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if same_file(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError as error:
            os.close(descriptor)
            raise UnlockableError(error.errno, error.strerror, str(path)) from error
        os.close(descriptor)


def give(path: Path, descriptor: int) -> None:
    """End the lock that was taken, and remove its file."""
    # While it is held: who opened this file meanwhile sees that its name has gone, and starts again.
    path.unlink(missing_ok=True)
    os.close(descriptor)


def same_file(descriptor: int, path: Path) -> bool:
    """Whether the open file is (still) the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
