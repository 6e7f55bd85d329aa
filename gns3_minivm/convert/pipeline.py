"""Image to disk in one pass: fetch the layers, then write the disk, once for each image and set of options.

No root rights, no mount, no raw image and no tree on disk: the layers are spooled as they come, and the qcow2 file
takes the file system's blocks in the order in which they are made.
"""

from __future__ import annotations

import contextvars
import importlib
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gns3_minivm import __version__
from gns3_minivm.base.artifacts import Artifact, Kind, measure
from gns3_minivm.base.cache import MANIFEST, Cache
from gns3_minivm.base.errors import BugError
from gns3_minivm.base.events import Events
from gns3_minivm.base.sizes import size
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.recipe import DiskRecipe
from gns3_minivm.convert.writeback import written_out_early
from gns3_minivm.images.model import Image

DISK = "disk.qcow2"
_WRITER = "gns3_minivm.convert.disk"


def find_disk(recipe: DiskRecipe, cache: Cache) -> Artifact | None:
    """The finished disk of a recipe, or None; an entry that has been cut off or written to since does not count."""
    entry = cache.use("disks", recipe.id)
    return _load(entry, recipe.filename) if entry else None


def list_disks(cache: Cache) -> list[Artifact]:
    """All whole disks in the cache, the newest first; they are named by their recipes' IDs."""
    found = (_load(entry, f"{entry.name}.qcow2") for entry in cache.entries("disks"))
    return [disk for disk in found if disk is not None]


def _load(entry: Path, filename: str) -> Artifact | None:
    try:
        manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))["disk"]
        path, size_bytes = entry / DISK, int(manifest["size_bytes"])
        status = path.stat()
        disk = Artifact(
            kind=Kind.DISK,
            path=path,
            filename=filename,
            size_bytes=size_bytes,
            md5=str(manifest["md5"]),
            sha256=str(manifest["sha256"]),
        )
        if status.st_size != size_bytes:
            return None
        # Somebody has written to it, or copied the cache: the bytes tell which.
        if (
            status.st_mtime_ns != manifest.get("mtime_ns", status.st_mtime_ns)
            and measure(Kind.DISK, path, filename) != disk
        ):
            return None
        return disk
    except (OSError, ValueError, LookupError, TypeError):
        return None


def convert(
    image: Image,
    options: DiskOptions,
    cache: Cache,
    events: Events,
    beside: Callable[[Path], object] = lambda _: None,
) -> Artifact:
    """Make an image's disk, or find it in the cache (blocking).

    ``beside`` is called with a disk that was made now, in another thread, while its digests are taken.  An interruption
    or an error leaves nothing behind.  Raises DamagedImageError, DiskTooSmallError, DiskFullError, and what the image's
    ``fetch`` raises.
    """
    recipe = DiskRecipe(image.info, options)
    found = find_disk(recipe, cache)
    if found:
        return found
    with events.step(f"Converting {image.info.name}") as step:
        # One that another process has made meanwhile is not made again, and a damaged one is.
        with cache.make("disks", recipe.id, lambda entry: _load(entry, recipe.filename) is not None) as work:
            if not work.ready:
                work.manifest = _make(image, recipe, work.folder / DISK, cache, events, beside)
        cache.trim(events)
        found = find_disk(recipe, cache)
        if found is None:
            raise BugError(f"the disk {recipe.id} is missing from the cache right after it was made")
        step.detail = size(found.size_bytes)
    return found


def _make(
    image: Image, recipe: DiskRecipe, path: Path, cache: Cache, events: Events, beside: Callable[[Path], object]
) -> dict[str, Any]:
    """Write the disk to ``path``; returns its manifest."""
    # An engine takes its time before the first byte; the modules that come after that are loaded meanwhile.
    threading.Thread(target=importlib.import_module, args=(_WRITER,), daemon=True).start()
    with ThreadPoolExecutor(2) as other:
        # Beside the cache's work folder: what lies in that becomes the entry.
        with cache.scratch() as spool:
            with events.step("Fetching the layers", total=image.info.size_bytes, unit="bytes") as step:
                layers = image.fetch(spool, step.advance)
            from gns3_minivm.convert.disk import write_disk

            with written_out_early(path):
                made = write_disk(layers, recipe, path, events)
            image.confirm()
            # While the spool is being removed, and the disk written out (the cache would have to wait for that anyway).
            measuring = other.submit(measure, Kind.DISK, path, recipe.filename)
            copying = other.submit(contextvars.copy_context().run, beside, path)
        with path.open("rb") as written:
            os.fsync(written.fileno())
            mtime_ns = os.fstat(written.fileno()).st_mtime_ns
        disk = measuring.result()
        copying.result()
    return {
        "recipe": recipe.as_dict(),
        "reference": image.info.reference,
        "disk": {"size_bytes": disk.size_bytes, "mtime_ns": mtime_ns, "md5": disk.md5, "sha256": disk.sha256},
        "counts": made["counts"],
        "warnings": made["warnings"],
        "made_by": {"gns3-minivm": __version__, "codecs": made["codecs"]},
    }
