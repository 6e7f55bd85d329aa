"""Image to disk in one pass: fetch the layers, merge them, plan the file system, write each file once.

No root rights, no mount, no raw image and no tree on disk: the layers are spooled as they come, and the qcow2 file takes
the file system's blocks in the order in which they are made.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from gns3_minivm import __version__
from gns3_minivm.artifacts import Artifact, Kind, measure
from gns3_minivm.cache import MANIFEST, Cache
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.recipe import DiskRecipe
from gns3_minivm.errors import BugError
from gns3_minivm.events import Events
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.tar import read_layers
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest import CONFIG_PATH
from gns3_minivm.images.model import Image

DISK = "disk.qcow2"
_WARNINGS_SHOWN = 10
_KINDS = {stat.S_IFREG: "files", stat.S_IFDIR: "directories", stat.S_IFLNK: "symlinks"}


def find_disk(recipe: DiskRecipe, cache: Cache) -> Artifact | None:
    """The finished disk of a recipe, or None; an entry of the cache that was tampered with is not believed."""
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
        if path.stat().st_size != size_bytes:
            return None
        return Artifact(Kind.DISK, path, filename, size_bytes, str(manifest["md5"]), str(manifest["sha256"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def convert(image: Image, options: DiskOptions, cache: Cache, events: Events) -> Artifact:
    """Make an image's disk, or find it in the cache (blocking).

    An interruption or an error leaves nothing behind.  Raises DamagedImageError, DiskTooSmallError, DiskFullError, and
    what the image's ``fetch`` raises.
    """
    recipe = DiskRecipe(image.info, options)
    found = find_disk(recipe, cache)
    if found:
        return found
    with events.step(f"Converting {image.info.name}") as step:
        # One that another process has made meanwhile is not made again, and a damaged one is.
        with cache.make("disks", recipe.id, lambda entry: _load(entry, recipe.filename) is not None) as work:
            if not work.ready:
                path = work.folder / DISK
                # Beside the cache's work folder: what lies in that becomes the entry.
                with cache.scratch() as spool:
                    plan = _write_disk(image, recipe, spool, path, events)
                work.manifest = _manifest(recipe, plan, measure(Kind.DISK, path, recipe.filename))
        cache.trim(events)
        found = find_disk(recipe, cache)
        if found is None:
            raise BugError(f"the disk {recipe.id} is not in the cache right after it was made")
        step.detail = f"{found.size_bytes / 1e6:.1f} MB"
    return found


def _write_disk(image: Image, recipe: DiskRecipe, spool: Path, path: Path, events: Events) -> ext4.Plan:
    info = image.info
    with events.step("Fetching the layers", total=info.size_bytes, unit="bytes") as step:
        layers = image.fetch(spool, step.advance)
    with events.step("Reading the layers", total=sum(layer.size for layer in layers), unit="bytes") as step:
        tree = read_layers(layers, step.advance)
    add_config(tree, recipe)
    plan = ext4.plan(tree, ext4.Ext4Options(recipe.options.size_bytes, recipe.uuid, recipe.hash_seed))
    _warn(plan.warnings, events)
    with (
        events.step("Writing the disk", total=plan.content_bytes, unit="bytes") as step,
        qcow2.Qcow2Writer(path, recipe.options.size_bytes, recipe.options.compression) as disk,
    ):
        ext4.write(plan, disk, step.advance)
    return plan


def add_config(tree: FileTree, recipe: DiskRecipe) -> None:
    """Put the guest's configuration into the tree, whatever the image has under that name."""
    folder = CONFIG_PATH.partition(b"/")[0]
    tree.remove(folder)
    tree.add_directory(folder, 0o755)
    tree.add_file(CONFIG_PATH, recipe.info.config.encode(recipe.info.diff_ids), 0o644)


def _warn(warnings: list[str], events: Events) -> None:
    for warning in warnings[:_WARNINGS_SHOWN]:
        events.warn(warning)
    if len(warnings) > _WARNINGS_SHOWN:
        events.warn(f"... and {len(warnings) - _WARNINGS_SHOWN} more of the kind")


def _manifest(recipe: DiskRecipe, plan: ext4.Plan, disk: Artifact) -> dict[str, Any]:
    nodes = [node for node in plan.nodes if node is not None]
    counts = Counter(_KINDS.get(stat.S_IFMT(node.mode), "others") for node in nodes)
    return {
        "recipe": recipe.as_dict(),
        "reference": recipe.info.reference,
        "disk": {"size_bytes": disk.size_bytes, "md5": disk.md5, "sha256": disk.sha256},
        "counts": {**counts, "content_bytes": plan.content_bytes},
        "warnings": plan.warnings,
        "made_by": {"gns3-minivm": __version__, "codecs": qcow2.made_with()},
    }
