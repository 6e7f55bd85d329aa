"""``cache list`` and ``cache prune``: list what is kept on this machine, verify it, and remove some of it."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.artifacts import Artifact, measure
from gns3_minivm.base.cache import MANIFEST, Cache, Pruned, Stored, tree_size
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import UsageError
from gns3_minivm.base.events import Events, Step
from gns3_minivm.bundle.build import list_bundles
from gns3_minivm.convert.pipeline import list_disks
from gns3_minivm.ops.context import RunContext
from gns3_minivm.settings import parse_cache_size

_AGE_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class CacheItem:
    """An entry; ``name`` is the image's or the kernel's, empty if the entry is not whole.

    ``is_intact`` tells whether all its bytes are those that were made, None if they were not read.
    """

    stored: Stored
    name: str
    in_use: bool = False
    is_intact: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        stored = self.stored
        return {
            "kind": stored.kind,
            "id": stored.recipe,
            "name": self.name or None,
            "size_bytes": stored.size_bytes,
            "used_at": round(stored.used_at, 3),
            "in_use": self.in_use,
            "intact": self.is_intact,
            "folder": str(stored.folder),
        }


@dataclass(frozen=True)
class CacheList:
    """``others`` are folders that are no entries (apt's lists), which the limit does not count."""

    root: Path
    limit_bytes: int | None
    items: tuple[CacheItem, ...]
    others: tuple[tuple[Path, int], ...]

    @property
    def size_bytes(self) -> int:
        return sum(item.stored.size_bytes for item in self.items)

    @property
    def exit_status(self) -> int:
        """1 if an entry was found to be damaged, else 0."""
        return int(any(item.is_intact is False for item in self.items))

    def as_dict(self) -> dict[str, Any]:
        return {
            "root": str(self.root),
            "limit_bytes": self.limit_bytes,
            "size_bytes": self.size_bytes,
            "entries": [item.as_dict() for item in self.items],
            "others": [{"folder": str(path), "size_bytes": size_bytes} for path, size_bytes in self.others],
        }


@dataclass(frozen=True, kw_only=True)
class PruneRequest:
    """What to remove; with nothing set, what is above the cache's limit.

    ``to`` is a size ("5G"), ``older_than`` an age ("30d") since the last use; ``everything`` also means ``others``;
    ``damaged`` means entries whose bytes have changed since they were made.
    """

    to: str | None = None
    older_than: str | None = None
    everything: bool = False
    damaged: bool = False


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    removed: tuple[CacheItem, ...]
    in_use: tuple[CacheItem, ...]
    others: tuple[tuple[Path, int], ...]
    left_bytes: int
    dry_run: bool

    @property
    def removed_bytes(self) -> int:
        return sum(item.stored.size_bytes for item in self.removed) + sum(size for _, size in self.others)

    def as_dict(self) -> dict[str, Any]:
        return {
            "removed": [item.as_dict() for item in self.removed],
            "in_use": [item.as_dict() for item in self.in_use],
            "others": [{"folder": str(path), "size_bytes": size_bytes} for path, size_bytes in self.others],
            "removed_bytes": self.removed_bytes,
            "left_bytes": self.left_bytes,
            "dry_run": self.dry_run,
        }


async def cache_list(context: RunContext, *, verify: bool = False) -> CacheList:
    """What the cache holds, used last first; ``verify`` reads everything.

    Raises ConfigError for a malformed limit.
    """

    def listed() -> CacheList:
        cache = context.settings.open_cache()
        names = _names(cache)
        verdicts = _verified(cache, context.events) if verify else {}

        def item(entry: Stored) -> CacheItem:
            intact = verdicts.get(entry.folder, False) if verify else None
            return CacheItem(entry, names.get(entry.folder, ""), cache.is_in_use(entry), intact)

        others = tuple((path, tree_size(path)) for path in cache.others())
        return CacheList(cache.root, cache.limit_bytes, tuple(map(item, cache.stored())), others)

    return await run_blocking(listed)


def _verified(cache: Cache, events: Events) -> dict[Path, bool]:
    """Whether the files of each whole entry have the digests that its manifest says."""
    files: dict[Path, tuple[Artifact, ...]] = {disk.path.parent: (disk,) for disk in list_disks(cache)}
    files |= {bundle.folder: bundle.artifacts for bundle in list_bundles(cache)}
    total = sum(file.size_bytes for parts in files.values() for file in parts)
    with events.step("Verify the cache", total=total, unit="bytes") as step:
        return {folder: all(_is_intact(file, step) for file in parts) for folder, parts in files.items()}


def _is_intact(file: Artifact, step: Step) -> bool:
    try:
        found = measure(file.kind, file.path, file.filename)
    except OSError:
        return False  # it cannot be read, or was removed meanwhile
    step.advance(file.size_bytes)
    return found == file


async def cache_prune(request: PruneRequest, context: RunContext) -> PruneResult:
    """Remove what the request says, but nothing that a running program uses.

    Raises UsageError or ConfigError for malformed sizes and ages, DiskFullError if files cannot be removed.
    """
    cache = context.settings.open_cache()
    limit_bytes, older_than_s = _limits(request, cache.limit_bytes)

    def prune() -> PruneResult:
        names = _names(cache)

        def items(entries: tuple[Stored, ...]) -> tuple[CacheItem, ...]:
            return tuple(CacheItem(entry, names.get(entry.folder, "")) for entry in entries)

        with context.events.step("Prune the cache"):
            verdicts = _verified(cache, context.events) if request.damaged else {}
            damaged = [folder for folder, intact in verdicts.items() if not intact]
            found: Pruned = cache.prune(
                limit_bytes=limit_bytes, older_than_s=older_than_s, damaged=damaged, dry_run=context.dry_run
            )
            others = []
            for path in cache.others() if request.everything else ():
                size_bytes = tree_size(path)
                if context.dry_run or cache.remove_other(path):
                    others.append((path, size_bytes))
        return PruneResult(
            removed=items(found.removed),
            in_use=items(found.in_use),
            others=tuple(others),
            left_bytes=found.left_bytes,
            dry_run=context.dry_run,
        )

    return await run_blocking(prune)


def _limits(request: PruneRequest, default: int | None) -> tuple[int | None, float | None]:
    if sum((request.to is not None, request.everything)) > 1:
        raise UsageError("--all and --to contradict each other", hint="Use only one of them.")
    older_than_s = None if request.older_than is None else parse_age(request.older_than)
    if request.everything:
        return (0 if older_than_s is None else None), older_than_s
    if request.to is not None:
        return parse_cache_size(request.to), older_than_s
    return (default if older_than_s is None and not request.damaged else None), older_than_s


def parse_age(text: str) -> int:
    """Seconds of an age such as ``30d``, ``12h``, ``2w``, ``90m``.  Raises UsageError."""
    match = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip(), re.ASCII)
    if not match:
        raise UsageError(f"the age {text!r} is malformed", hint="Write a number and m, h, d or w, as in 30d.")
    return int(match[1]) * _AGE_UNITS[match[2]]


def _names(cache: Cache) -> dict[Path, str]:
    """What the whole entries are, by their folders."""
    names = {bundle.folder: f"{bundle.flavour} {bundle.kernel_version}" for bundle in list_bundles(cache)}
    for disk in list_disks(cache):
        with suppress(FileNotFoundError):  # removed meanwhile
            manifest = json.loads((disk.path.parent / MANIFEST).read_text(encoding="utf-8"))
            names[disk.path.parent] = str(manifest.get("reference") or "unknown")
    return names
