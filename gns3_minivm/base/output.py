"""Gives the user a copy of a disk: shared blocks where the file system can, never half a file, never one overwritten.

A hard link would be cheaper where blocks cannot be shared, but then a guest that runs on the copy would write into the
cache.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.cancel import checkpoint
from gns3_minivm.base.errors import DiskFullError, UsageError
from gns3_minivm.base.events import Step

_FICLONE = 0x40049409
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CHUNK_SIZE = 8 << 20
_NAME_A_FILE = "Name a file, such as disk.qcow2."


def check_output(path: Path, *, replace: bool) -> None:
    """Raise UsageError if ``path`` cannot be written, before anything is done for it."""
    try:
        os.lstat(path)
        is_there = True
    except FileNotFoundError:
        is_there = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or str(error)
        raise UsageError(f"{str(path)!r} cannot be written: {reason}", hint=_NAME_A_FILE) from error
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder", hint=_NAME_A_FILE)
    if is_there and not replace:
        raise _exists(path)
    # A device or pipe would be gone, and a file of its name in its place.
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"{path} is not a regular file and will not be replaced", hint=_NAME_A_FILE)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder {path.absolute().parent} does not exist", hint="Create it, or name another.")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(f"the folder {path.absolute().parent} is not writable", hint="Name a file in another folder.")


def copy_output(source: Path, path: Path, *, replace: bool, step: Step | None = None) -> None:
    """Copy a finished file to ``path``, which gets its name when it is whole (blocking).

    It is not waited for until it is on the disk: the cache has what it is a copy of.
    Raises UsageError if ``path`` exists and is not to be replaced, DiskFullError.
    """
    with OutputCopy(path, replace=replace) as copy:
        copy.fill(source, step)
        copy.name()


class OutputCopy:
    """A copy on its way to ``path``: filled, then named; without a name, nothing of it is left after the block.

    All methods block and raise as ``copy_output`` does.
    """

    def __init__(self, path: Path, *, replace: bool) -> None:
        check_output(path, replace=replace)
        self._path = path
        self._replace = replace
        self._folder = path.absolute().parent
        self._temporary = temporary_beside(path)
        self._file: BinaryIO | None = None
        self._nameless = False
        self.is_filled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._drop()

    def fill(self, source: Path, step: Step | None = None) -> None:
        """Copy a finished file; what fails leaves nothing and may be tried again."""
        try:
            with self._told():
                descriptor = _open_nameless(self._folder)
                self._nameless = descriptor is not None
                if descriptor is None:
                    descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                self._file = os.fdopen(descriptor, "wb")
                with source.open("rb") as origin:
                    _copy(origin.fileno(), descriptor, step)
        except BaseException:
            self._drop()
            raise
        self.is_filled = True

    def name(self) -> None:
        """Give the copy its name."""
        assert self._file is not None
        with self._told():
            if self._nameless:
                number = self._file.fileno()
                # Any folder's descriptor makes it linkat(2), which follows the link that stands for the file.
                os.link(f"/proc/self/fd/{number}", self._temporary, src_dir_fd=number)
            name_output(self._temporary, self._path, replace=self._replace)

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise (_output_error(error, self._folder) or error) from error


def write_output(path: Path, data: bytes, *, replace: bool) -> None:
    """Write a small file that gets its name when it is whole (blocking).

    Raises UsageError if ``path`` exists and is not to be replaced, DiskFullError.
    """
    check_output(path, replace=replace)
    folder = path.absolute().parent
    temporary = temporary_beside(path)
    try:
        try:
            with temporary.open("xb") as target:
                target.write(data)
                target.flush()
                os.fsync(target.fileno())
            name_output(temporary, path, replace=replace)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise (_output_error(error, folder) or error) from error


def _output_error(error: OSError, folder: Path) -> DiskFullError | None:
    """As ``disk_error``, for a folder that the user has named himself."""
    name = error.filename
    if isinstance(error, FileNotFoundError) and isinstance(name, str) and Path(name).parent == folder:
        return DiskFullError(f"cannot write {name}: {error.strerror}", hint="Choose another folder.")
    return disk_error(error, folder, "")


def temporary_beside(path: Path) -> Path:
    """A new name in the same folder for what becomes ``path``; no longer than a name may be."""
    start = os.fsdecode(os.fsencode(path.name)[:80])
    return path.absolute().parent / f".{start}.{os.urandom(8).hex()}.tmp"


def _open_nameless(folder: Path) -> int | None:
    """A new file without a name, so that nothing is left of it whatever happens; None where there is no such thing."""
    try:
        descriptor = os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            return None  # the file system's or the kernel's affair; what else is wrong shows when a name is made
        raise
    if os.path.exists(f"/proc/self/fd/{descriptor}"):
        return descriptor
    os.close(descriptor)
    return None  # without /proc it could not be given a name


def _copy(source: int, target: int, step: Step | None) -> None:
    size = os.fstat(source).st_size
    try:
        fcntl.ioctl(target, _FICLONE, source)
        if step:
            step.advance(size)
        return
    except OSError:
        pass  # another file system, or one that cannot share blocks
    done = 0
    while done < size:
        checkpoint()
        try:
            amount = os.copy_file_range(source, target, _CHUNK_SIZE, done, done)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or done:
                raise
            with os.fdopen(os.dup(source), "rb") as reader, os.fdopen(os.dup(target), "wb") as writer:
                shutil.copyfileobj(reader, writer, _CHUNK_SIZE)
            amount = size
        if not amount:
            raise OSError(errno.EIO, "the source became shorter while it was being copied")
        done += amount
        if step:
            step.advance(amount)


def name_output(temporary: Path, path: Path, *, replace: bool) -> None:
    """Give a finished file beside ``path`` that name.  Raises UsageError if it is taken and not to be replaced."""
    if replace:
        if _exchange(temporary, path):
            temporary.unlink()
        else:
            os.replace(temporary, path)
        return
    try:
        # Unlike a rename, this fails if somebody made the file meanwhile.
        os.link(temporary, path)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError:
        if os.path.lexists(path):
            raise _exists(path) from None
        os.rename(temporary, path)  # a file system without hard links


def _exchange(one: Path, other: Path) -> bool:
    """Let two files swap their names in one step; False where one is missing, or the system cannot.

    A rename that replaces a file makes ext4 (``auto_da_alloc``) write out the new one at once, and the caller
    wait for it.
    """
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return not rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists", hint="Name another file, or replace it with --force.")
