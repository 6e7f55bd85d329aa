"""The cache folder: finished disks and kernels, each made once and never changed.

::

    disks/<recipe id>/    finished entries: files and a manifest.json
    kernels/<recipe id>/
    work/                 what is being made; renamed into place when it is complete
    locks/                one lock per recipe, held (flock) while it is being made
    apt/                  apt's lists, as the bundle keeps them for itself

A process that wants what another one is making waits for it and gets its result.  The kernel drops a lock when its
owner dies, however it dies, so whatever lies in ``work`` and is not locked is a dead process's and is removed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from gns3_minivm.cancel import checkpoint
from gns3_minivm.errors import BugError, DiskFullError, HostError

Kind = Literal["disks", "kernels"]

MANIFEST = "manifest.json"
_LOCK_POLL_S = 0.05
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NOT_A_FOLDER = (errno.ENOTDIR, errno.EEXIST)


class Work:
    """An entry on its way.

    If ``ready``, another process has finished it meanwhile and there is nothing to do.  Otherwise write the files into
    ``folder`` and set ``manifest``; both become the entry when the block ends.  ``entry`` is where it lies then.
    """

    def __init__(self, entry: Path, folder: Path, *, ready: bool) -> None:
        self.entry = entry
        self.folder = folder
        self.ready = ready
        self.manifest: Mapping[str, Any] | None = None


class Cache:
    """The cache below ``root``, which is made when it is first needed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept = False

    def find(self, kind: Kind, recipe_id: str) -> Path | None:
        """The folder of a finished entry, or None."""
        entry = self._entry(kind, recipe_id)
        return entry if (entry / MANIFEST).is_file() else None

    def entries(self, kind: Kind) -> list[Path]:
        """The folders of all finished entries, the one made or asked for last first."""
        found = [path.parent for path in (self.root / kind).glob(f"*/{MANIFEST}")]
        return sorted(found, key=lambda path: (-path.stat().st_mtime_ns, path.name))

    @contextmanager
    def make(self, kind: Kind, recipe_id: str) -> Iterator[Work]:
        """Make an entry, or wait for the process that is making it (blocking).

        A block that raises leaves nothing.  Raises DiskFullError where there is no room or no right to write, also for
        such an OSError of the block.
        """
        entry = self._entry(kind, recipe_id)
        name = f"{kind}-{recipe_id}"
        with self._writing(), self._lock(name, wait=True):
            self._sweep()
            if self.find(kind, recipe_id):
                # Newest first is by the last use, not by the first.
                os.utime(entry)
                yield Work(entry, entry, ready=True)
                return
            folder = self.root / "work" / name
            _remove(folder)
            folder.mkdir(parents=True)
            try:
                work = Work(entry, folder, ready=False)
                yield work
                if work.manifest is None:
                    raise BugError(f"the cache entry {name} was left without a manifest")
                (folder / MANIFEST).write_text(json.dumps(work.manifest, indent=1, sort_keys=True) + "\n")
                _seal(folder)
                entry.parent.mkdir(parents=True, exist_ok=True)
                _remove(entry)  # without a manifest it is not an entry
                folder.rename(entry)
                _sync(entry.parent)
            except BaseException:
                _remove(folder)
                raise

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for the time of the block (blocking); of a killed process it is removed by the next one."""
        name = f"scratch-{secrets.token_hex(8)}"
        folder = self.root / "work" / name
        with self._writing(), self._lock(name, wait=True):
            self._sweep()
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                _remove(folder)

    @contextmanager
    def hold(self, name: str) -> Iterator[Path]:
        """A lasting folder of its own for ``name``, for one process at a time (blocking)."""
        folder = self.root / name
        with self._writing(), self._lock(name, wait=True):
            folder.mkdir(parents=True, exist_ok=True)
            yield folder

    def remove(self, kind: Kind, recipe_id: str) -> None:
        """Remove an entry, as a whole at once."""
        name = f"{kind}-{recipe_id}"
        with self._writing(), self._lock(name, wait=True):
            folder = self.root / "work" / name
            folder.parent.mkdir(parents=True, exist_ok=True)
            _remove(folder)
            if self._entry(kind, recipe_id).is_dir():
                self._entry(kind, recipe_id).rename(folder)
                _remove(folder)

    def _entry(self, kind: Kind, recipe_id: str) -> Path:
        if kind not in get_args(Kind) or not recipe_id or not set(recipe_id) <= set("0123456789abcdef"):
            raise BugError(f"{kind}/{recipe_id} is no name of a cache entry")
        return self.root / kind / recipe_id

    def _sweep(self) -> None:
        """Remove what dead processes left in ``work``."""
        if self._swept:
            return
        self._swept = True
        try:
            left = sorted(path.name for path in (self.root / "work").iterdir())
        except FileNotFoundError:
            return
        for name in left:
            try:
                with self._lock(name, wait=False):
                    _remove(self.root / "work" / name)
            except BlockingIOError:
                pass  # its owner lives (it may be this thread)

    @contextmanager
    def _lock(self, name: str, *, wait: bool) -> Iterator[None]:
        path = self.root / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = self._locked(path, wait=wait)
        try:
            yield
        finally:
            # While it is held: who opened this file meanwhile sees that its name has gone, and starts again.
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _locked(self, path: Path, *, wait: bool) -> int:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._flock(descriptor, path, wait=wait)
                if _same_file(descriptor, path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _flock(self, descriptor: int, path: Path, *, wait: bool) -> None:
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
            except OSError as error:
                raise HostError(
                    f"cannot lock {path}: {error.strerror}",
                    hint="Choose a folder on a local file system with --cache DIR.",
                ) from error
            checkpoint()
            time.sleep(_LOCK_POLL_S)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise (disk_error(error, self.root) or error) from error


def disk_error(error: OSError, folder: Path) -> DiskFullError | None:
    """The error to raise for an OSError that came up while writing below ``folder``; None if it means another thing."""
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else None
    ours = path is None or path.is_relative_to(folder) or folder.is_relative_to(path)
    if error.errno in _NO_ROOM:
        hint = "Make room, or choose another folder with --cache DIR."
    elif ours and error.errno in _NOT_ALLOWED:
        hint = "Choose a folder that you may write to with --cache DIR."
    elif ours and error.errno in _NOT_A_FOLDER:
        hint = "Choose a folder with --cache DIR."
    else:
        return None
    return DiskFullError(f"cannot write {path or folder}: {error.strerror}", hint=hint)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _seal(folder: Path) -> None:
    """Make everything below ``folder`` read-only and durable."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            path.chmod(0o444)
        _sync(path)
    folder.chmod(0o755)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
