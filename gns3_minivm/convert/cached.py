"""Finds the cache entry of a disk, even after a guest has written to the disk."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from gns3_minivm.base.cache import MANIFEST, Cache
from gns3_minivm.convert.recipe import filesystem_uuid
from gns3_minivm.convert.report import DiskReport


@dataclass(frozen=True)
class CachedDisk:
    """What the cache's manifest says of a disk as it was converted; ``reference`` is the image's name."""

    recipe: str
    reference: str
    size_bytes: int
    sha256: str


def find_cached_disk(cache: Cache, report: DiskReport) -> CachedDisk | None:
    """The cache entry whose recipe yields the UUID of the disk's file system."""
    if report.filesystem is None:
        return None
    wanted = uuid.UUID(report.filesystem.uuid).bytes
    recipe = report.recipe.id if report.recipe else next(_with_uuid(cache, wanted), "")
    entry = cache.find("disks", recipe) if recipe else None
    if entry is None:
        return None
    try:
        manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        disk = manifest["disk"]
        return CachedDisk(recipe, str(manifest["reference"]), int(disk["size_bytes"]), str(disk["sha256"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None  # a damaged entry tells nothing; the next conversion replaces it


def _with_uuid(cache: Cache, wanted: bytes) -> Iterator[str]:
    return (entry.name for entry in cache.entries("disks") if filesystem_uuid(entry.name) == wanted)
