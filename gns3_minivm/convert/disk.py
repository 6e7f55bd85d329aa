"""Layers to the qcow2 file: merge, plan the file system, write each file once."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gns3_minivm.base.errors import DiskFullError
from gns3_minivm.base.events import Events
from gns3_minivm.convert.recipe import DiskRecipe
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.tar import read_layers
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import CONFIG_PATH
from gns3_minivm.images.model import Layer

_WARNINGS_SHOWN = 10
_THREADS_MAX = 8
_KINDS = {stat.S_IFREG: "files", stat.S_IFDIR: "directories", stat.S_IFLNK: "symlinks"}


def write_disk(layers: Sequence[Layer], recipe: DiskRecipe, path: Path, events: Events) -> dict[str, Any]:
    """Write the disk of an image's layers to ``path``; returns what its manifest says of how it was made.

    Raises DamagedImageError, DiskTooSmallError, DiskFullError.
    """
    with events.step("Reading the layers", total=sum(layer.size for layer in layers), unit="bytes") as step:
        tree = read_layers(layers, step.advance)
    _add_config(tree, recipe)
    plan = ext4.plan(tree, ext4.Ext4Options(recipe.options.size_bytes, recipe.uuid, recipe.hash_seed))
    _warn(plan.warnings, events)
    try:
        with (
            events.step("Writing the disk", total=plan.content_bytes, unit="bytes") as step,
            qcow2.Qcow2Writer(path, recipe.options.size_bytes, recipe.options.compression, _threads()) as disk,
        ):
            ext4.write(plan, disk, step.advance)
    except DiskFullError as error:
        # The writer does not know that its file is in the cache.
        raise DiskFullError(
            error.message, hint="Free some space, or choose another folder with --cache DIR."
        ) from error
    nodes = [node for node in plan.nodes if node is not None]
    counts = Counter(_KINDS.get(stat.S_IFMT(node.mode), "others") for node in nodes)
    return {
        "counts": {**counts, "content_bytes": plan.content_bytes},
        "warnings": plan.warnings,
        "codecs": qcow2.made_with(),
    }


def _threads() -> int:
    """One more than there are processors: while one of them waits to be given the interpreter, the others work on."""
    return min(len(os.sched_getaffinity(0)) + 1, _THREADS_MAX)


def _add_config(tree: FileTree, recipe: DiskRecipe) -> None:
    """Put the guest's configuration into the tree, over anything that the image has under that name."""
    folder = CONFIG_PATH.partition(b"/")[0]
    tree.remove(folder)
    tree.add_directory(folder, 0o755)
    tree.add_file(CONFIG_PATH, recipe.info.config.encode(recipe.info.diff_ids), 0o644)


def _warn(warnings: list[str], events: Events) -> None:
    for warning in warnings[:_WARNINGS_SHOWN]:
        events.warn(warning)
    if len(warnings) > _WARNINGS_SHOWN:
        events.warn(f"... and {len(warnings) - _WARNINGS_SHOWN} more of this kind")
