"""``kernel build`` and ``kernel list``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.bundle.apt import AptSource
from gns3_minivm.bundle.build import build, find, list_bundles
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.packages import DebFiles, PackageSource
from gns3_minivm.cache import Cache
from gns3_minivm.cancel import run_blocking
from gns3_minivm.config import Settings
from gns3_minivm.events import Events


@dataclass(frozen=True)
class BuildResult:
    """``bundle`` is None for a dry run that would build one; ``built`` tells whether this run made it."""

    bundle: Bundle | None
    built: bool
    elapsed_s: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "bundle": bundle_dict(self.bundle) if self.bundle else None,
            "built": self.built,
            "elapsed_s": round(self.elapsed_s, 3),
        }


def bundle_dict(bundle: Bundle) -> dict[str, Any]:
    """A bundle as JSON shows it: its manifest and where it lies."""
    return {**bundle.as_dict(), "folder": str(bundle.folder)}


async def kernel_build(
    settings: Settings, events: Events, *, debs: Sequence[Path] = (), rebuild: bool = False, dry_run: bool = False
) -> BuildResult:
    """Make the kernel bundle unless there is one; ``rebuild`` asks for the newest packages in any case.

    Raises PackageError, ToolError, DiskFullError.
    """
    started = time.monotonic()
    cache = settings.open_cache()
    known = {bundle.id for bundle in list_bundles(cache)}
    found = None if debs or rebuild else find(cache)
    if found is None and not dry_run:
        found = await run_blocking(build, _packages(cache, debs), cache, events)
    built = found is not None and found.id not in known
    return BuildResult(found, built, time.monotonic() - started)


def kernel_list(settings: Settings) -> list[Bundle]:
    """The bundles in the cache, newest first."""
    return list_bundles(settings.open_cache())


def bundle_at_hand(cache: Cache, events: Events, debs: Sequence[Path] = ()) -> Bundle:
    """The kernel bundle to use: from ``debs`` if any are named, else the newest in the cache, else built now."""
    found = None if debs else find(cache)
    return found or build(_packages(cache, debs), cache, events)


def _packages(cache: Cache, debs: Sequence[Path]) -> PackageSource:
    return DebFiles(debs) if debs else AptSource(cache)
