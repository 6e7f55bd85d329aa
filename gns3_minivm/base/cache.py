"""The cache folder: finished disks and kernels, each made once and never changed.

::

    disks/<recipe id>/    finished entries: files and a manifest.json
    kernels/<recipe id>/
    work/                 what is being made; renamed into place when it is complete
    locks/                one lock per recipe, held (flock) while it is being made
    apt/                  apt's lists, as the bundle keeps them for itself

A process that wants what another one is making waits for it and gets its result.  The kernel drops a lock when its
owner dies, however it dies, so whatever lies in ``work`` and is not locked is a dead process's and is removed.

Entries that were not used for the longest time are removed when there is more than ``limit_bytes`` of them.  A process
that uses an entry holds a shared lock on its folder until it ends; such an entry is not removed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from gns3_minivm.base.cancel import checkpoint
from gns3_minivm.base.errors import BugError, DiskFullError, HostError
from gns3_minivm.base.events import Events
from gns3_minivm.base.locks import UnlockableError, alone, give, hold, take
from gns3_minivm.base.plurals import counted
from gns3_minivm.base.sizes import binary_size

Kind = Literal["disks", "kernels"]

MANIFEST = "manifest.json"
_LOCK_POLL_S = 0.05
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NOT_A_FOLDER = (errno.ENOTDIR, errno.EEXIST)
_OWN_FOLDERS = ("work", "locks", *get_args(Kind))
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An entry on disk.  ``used_at`` is in seconds since 1970; ``is_whole``: it has a manifest."""

    kind: Kind
    recipe: str
    folder: Path
    size_bytes: int
    used_at: float
    is_whole: bool


@dataclass(frozen=True)
class Pruned:
    """What was removed (or would be), and what should have been removed but is in use."""

    removed: tuple[Stored, ...]
    in_use: tuple[Stored, ...]
    left_bytes: int

    @property
    def removed_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.removed)


class Work:
    """An entry that is being made.

    If ``ready``, another process has finished it meanwhile and there is nothing to do.  Otherwise write the files into
    ``folder`` and set ``manifest``; both become the entry when the block ends.  ``entry`` is where it lies then.
    """

    def __init__(self, entry: Path, folder: Path, *, ready: bool) -> None:
        self.entry = entry
        self.folder = folder
        self.ready = ready
        self.manifest: Mapping[str, Any] | None = None


class Cache:
    """The cache below ``root``, which is made when it is first needed; without ``limit_bytes`` it has no limit."""

    def __init__(self, root: Path, limit_bytes: int | None = None) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self._swept = False

    def find(self, kind: Kind, recipe_id: str) -> Path | None:
        """The folder of a finished entry, or None.  Raises DiskFullError if it may not be looked at."""
        entry = self._entry(kind, recipe_id)
        with self._writing():
            return entry if (entry / MANIFEST).is_file() else None

    def use(self, kind: Kind, recipe_id: str) -> Path | None:
        """As ``find``; the entry counts as used now, and no process removes it before this one has ended."""
        entry = self._entry(kind, recipe_id)
        while self.find(kind, recipe_id):
            try:
                with self._writing():
                    hold(entry)
            except FileNotFoundError:
                continue
            with suppress(OSError):  # somebody else's cache, which can only be read
                os.utime(entry)
            return entry
        return None

    def entries(self, kind: Kind) -> list[Path]:
        """The folders of all finished entries, the one made or asked for last first."""
        found = [path.parent for path in (self.root / kind).glob(f"*/{MANIFEST}")]
        return sorted(found, key=lambda path: (-path.stat().st_mtime_ns, path.name))

    def use_file(self, path: Path) -> bool:
        """``use`` the entry that a file belongs to; returns whether it is still there.

        A file from elsewhere, as of a kernel that was installed with pip, belongs to none.
        """
        kinds: tuple[Kind, ...] = get_args(Kind)
        for kind in kinds:
            if path.parent.parent == self.root / kind:
                return self.use(kind, path.parent.name) is not None
        return path.is_file()

    @contextmanager
    def make(self, kind: Kind, recipe_id: str, is_whole: Callable[[Path], bool] = lambda _: True) -> Iterator[Work]:
        """Make an entry, or wait for the process that is making it (blocking).

        One that is there and for which ``is_whole`` is False is damaged, and made again.  The entry is held as by
        ``use``.  A block that raises leaves nothing.  Raises DiskFullError where there is no room or no right to write,
        also for such an OSError of the block.
        """
        entry = self._entry(kind, recipe_id)
        name = f"{kind}-{recipe_id}"
        with self._writing(), self._lock(name, wait=True):
            self._sweep()
            if self.use(kind, recipe_id) and is_whole(entry):
                yield Work(entry, entry, ready=True)
                return
            self._take_away(entry, name)
            folder = self.root / "work" / name
            folder.mkdir(parents=True)
            try:
                work = Work(entry, folder, ready=False)
                yield work
                if work.manifest is None:
                    raise BugError(f"the cache entry {name} was left without a manifest")
                (folder / MANIFEST).write_text(json.dumps(work.manifest, indent=1, sort_keys=True) + "\n")
                _seal(folder)
                entry.parent.mkdir(parents=True, exist_ok=True)
                folder.rename(entry)
                hold(entry)
                _sync(entry.parent)
            except BaseException:
                _remove(folder)
                raise

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for the time of the block (blocking); of a killed process it is removed by the next one."""
        name = f"scratch-{os.urandom(8).hex()}"
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
        """Remove an entry, as a whole at once, also if it is in use."""
        name = f"{kind}-{recipe_id}"
        with self._writing(), self._lock(name, wait=True):
            self._take_away(self._entry(kind, recipe_id), name)

    def stored(self) -> list[Stored]:
        """All entries, whole or not, the one used last first."""
        found = []
        for kind in get_args(Kind):
            for folder in (self.root / kind).glob("*"):
                with suppress(FileNotFoundError):  # removed meanwhile
                    if folder.is_dir() and folder.name and set(folder.name) <= _HEX:
                        used_at = folder.stat().st_mtime
                        whole = (folder / MANIFEST).is_file()
                        found.append(
                            Stored(
                                kind=kind,
                                recipe=folder.name,
                                folder=folder,
                                size_bytes=tree_size(folder),
                                used_at=used_at,
                                is_whole=whole,
                            )
                        )
        return sorted(found, key=lambda entry: (-entry.used_at, entry.recipe))

    def others(self) -> list[Path]:
        """The lasting folders that are no entries (``hold``)."""
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and path.name not in _OWN_FOLDERS)

    def is_in_use(self, entry: Stored) -> bool:
        """Whether a living process holds an entry, or makes it."""
        try:
            with alone(entry.folder):
                return False
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True

    def prune(
        self,
        *,
        limit_bytes: int | None = None,
        older_than_s: float | None = None,
        damaged: Collection[Path] = (),
        dry_run: bool = False,
    ) -> Pruned:
        """Remove entries not used for ``older_than_s``, then the least recently used until ``limit_bytes`` are left.

        Those with their folders in ``damaged``, and those that are not whole, are removed too.

        Entries in use stay, and count.  Raises DiskFullError where they cannot be removed.
        """
        entries = self.stored()
        left = sum(entry.size_bytes for entry in entries)
        oldest = None if older_than_s is None else time.time() - older_than_s
        removed, in_use = [], []
        for entry in reversed(entries):
            too_old = oldest is not None and entry.used_at < oldest
            too_much = limit_bytes is not None and left > limit_bytes
            if not (too_old or too_much or not entry.is_whole or entry.folder in damaged):
                continue
            if self.is_in_use(entry) if dry_run else not self._removed(entry):
                in_use.append(entry)
            else:
                removed.append(entry)
                left -= entry.size_bytes
        return Pruned(tuple(removed), tuple(in_use), left)

    def remove_other(self, folder: Path) -> bool:
        """Remove one of ``others`` unless a process has it; returns whether it is gone."""
        try:
            with self._writing(), self._lock(folder.name, wait=False):
                self._take_away(folder, folder.name)
            return True
        except BlockingIOError:
            return False

    def trim(self, events: Events) -> None:
        """Keep the cache's limit, after something was made."""
        if self.limit_bytes is None:
            return
        try:
            pruned = self.prune(limit_bytes=self.limit_bytes)
        except DiskFullError as error:
            return events.warn(f"the cache is larger than its limit: {error.message}")  # what was made is still good
        if pruned.removed:
            events.info(
                f"the cache is limited to {binary_size(self.limit_bytes)}: removed the least recently used "
                f"({counted(len(pruned.removed), 'entry', 'entries')}, {binary_size(pruned.removed_bytes)})"
            )

    def _removed(self, entry: Stored) -> bool:
        """Remove an entry unless it is in use; returns whether it is gone."""
        name = f"{entry.kind}-{entry.recipe}"
        try:
            with self._writing(), self._lock(name, wait=False), alone(entry.folder):
                self._take_away(entry.folder, name)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    def _take_away(self, folder: Path, name: str) -> None:
        """Remove a folder, as a whole at once, through ``work``; the lock of the name is held."""
        away = self.root / "work" / name
        away.parent.mkdir(parents=True, exist_ok=True)
        _remove(away)
        with suppress(FileNotFoundError):
            folder.rename(away)
        _remove(away)

    def _entry(self, kind: Kind, recipe_id: str) -> Path:
        if kind not in get_args(Kind) or not recipe_id or not set(recipe_id) <= _HEX:
            raise BugError(f"{kind}/{recipe_id} is not the name of a cache entry")
        return self.root / kind / recipe_id

    def _sweep(self) -> None:
        """Remove what dead processes left in ``work`` and ``locks``."""
        if self._swept:
            return
        self._swept = True
        left = {path.name for folder in ("work", "locks") for path in (self.root / folder).glob("*")}
        for name in sorted(left):
            try:
                with self._lock(name, wait=False):
                    _remove(self.root / "work" / name)
            except BlockingIOError:
                pass  # its owner lives (it may be this thread)

    @contextmanager
    def _lock(self, name: str, *, wait: bool) -> Iterator[None]:
        path = self.root / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = self._take(path, wait=wait)
        try:
            yield
        finally:
            give(path, descriptor)

    def _take(self, path: Path, *, wait: bool) -> int:
        while True:
            try:
                return take(path)
            except BlockingIOError:
                if not wait:
                    raise
            except UnlockableError as error:
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


def disk_error(error: OSError, folder: Path, option: str = " with --cache DIR") -> DiskFullError | None:
    """The error to raise for an OSError that came up while writing below ``folder``; None if it means another thing.

    ``option`` says how the user chooses the folder.
    """
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else None
    ours = path is None or path.is_relative_to(folder) or folder.is_relative_to(path)
    if error.errno in _NO_ROOM:
        hint = f"Free some space, or choose another folder{option}."
    elif ours and error.errno in _NOT_ALLOWED:
        hint = f"Choose a folder that you can write to{option}."
    elif ours and error.errno in _NOT_A_FOLDER:
        hint = f"Choose a folder{option}."
    else:
        return None
    return DiskFullError(f"cannot write {path or folder}: {error.strerror}", hint=hint)


def tree_size(folder: Path) -> int:
    """The bytes of all files below a folder; what is removed meanwhile does not count."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


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
