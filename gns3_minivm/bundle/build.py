"""Makes a kernel bundle from packages, once; finds those that are there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.artifacts import Artifact, Kind, measure, recipe_id, server_filename
from gns3_minivm.bundle import initramfs, module_disk
from gns3_minivm.bundle.depmod import ModuleIndex
from gns3_minivm.bundle.init_binary import init_binary, source_digest
from gns3_minivm.bundle.model import INITRD_FILE, KERNEL_FILE, MODULES_FILE, Bundle, load
from gns3_minivm.bundle.module_list import ModuleList, load_orders, read_module_list
from gns3_minivm.bundle.packages import ARCHITECTURE, BUSYBOX, E2FSCK, PackageSet, PackageSource, ResolvedPackages
from gns3_minivm.bundle.unpack import Unpacked, unpack
from gns3_minivm.cache import Cache
from gns3_minivm.errors import DamagedImageError
from gns3_minivm.events import Events
from gns3_minivm.formats.qcow2 import made_with

FLAVOUR = "debian"
"""Made of a distribution's ready kernel (Debian's or Ubuntu's)."""

# A number goes up when the same packages give other bytes than before: names of files stand for their bytes.
INITRD_FORMAT = 2
MODULES_FORMAT = 1


@dataclass(frozen=True)
class Recipe:
    """What decides the bytes of each artifact; known before anything is loaded."""

    kernel: str
    initrd: str
    modules: str

    @property
    def bundle(self) -> str:
        return recipe_id({"flavour": FLAVOUR, "parts": [self.kernel, self.initrd, self.modules]})


def find(cache: Cache, flavour: str = FLAVOUR) -> Bundle | None:
    """The bundle that was built (or asked for) last, if this release of the program would build it the same way.

    Looks at the cache only: no apt, no compiler.
    """
    made_by = _made_by(read_module_list())
    for bundle in list_bundles(cache):
        if bundle.flavour == flavour and bundle.made_by == made_by and cache.use("kernels", bundle.folder.name):
            return bundle
    return None


def list_bundles(cache: Cache) -> list[Bundle]:
    """All whole bundles in the cache, the newest first."""
    found = []
    for folder in cache.entries("kernels"):
        try:
            found.append(load(folder))
        except DamagedImageError:
            continue  # build() replaces it
    return found


def build(source: PackageSource, cache: Cache, events: Events) -> Bundle:
    """Make the bundle of what ``source`` offers, or return it if it is there (blocking).

    Raises PackageError, ToolError (no compiler for the init), DiskFullError.
    """
    wanted = read_module_list()
    init = init_binary(cache)
    with source.resolve(events) as resolved:
        recipe = make_recipe(resolved.packages, init, wanted)
        with cache.make("kernels", recipe.bundle, _is_whole) as work:
            if not work.ready:
                with cache.scratch() as scratch, events.step("Building the kernel bundle") as step:
                    bundle = _make(work.folder, scratch, recipe, resolved, init, wanted, events)
                    work.manifest = {**bundle.as_dict(), "codecs": made_with()}
                    step.detail = bundle.kernel_version
    cache.trim(events)
    return load(work.entry)


def make_recipe(packages: PackageSet, init: bytes, wanted: ModuleList) -> Recipe:
    kernel = {"kind": "kernel", "packages": sorted(package.sha256 for package in packages.kernel)}
    return Recipe(
        kernel=recipe_id(kernel),
        initrd=recipe_id(
            {
                "kind": "initrd",
                "format": INITRD_FORMAT,
                "packages": sorted(package.sha256 for package in packages.all),
                "init": hashlib.sha256(init).hexdigest(),
                "modules": {"boot": wanted.boot, "late": wanted.late},
            }
        ),
        modules=recipe_id({**kernel, "kind": "modules", "format": MODULES_FORMAT}),
    )


def _make(
    folder: Path,
    scratch: Path,
    recipe: Recipe,
    resolved: ResolvedPackages,
    init: bytes,
    wanted: ModuleList,
    events: Events,
) -> Bundle:
    paths = resolved.fetch(scratch, events)
    unpacked = unpack(resolved.packages, paths, folder, scratch / "modules", events)
    index = ModuleIndex(
        unpacked.modules,
        order=unpacked.lists.get("modules.order", b"").decode(),
        builtin=unpacked.lists.get("modules.builtin", b"").decode(),
        builtin_modinfo=unpacked.lists.get("modules.builtin.modinfo", b""),
    )
    _write_initrd(folder / INITRD_FILE, unpacked, index, init, wanted, events)
    module_disk.write_module_disk(folder / MODULES_FILE, unpacked, index, recipe.modules, events)
    version = unpacked.kernel_version

    def artifact(kind: Kind, file: str, stem: str, part: str, suffix: str = "") -> Artifact:
        return measure(kind, folder / file, server_filename(stem, version, part, suffix))

    return Bundle(
        id=recipe.bundle,
        flavour=FLAVOUR,
        kernel_version=version,
        architecture=ARCHITECTURE,
        kernel=artifact(Kind.KERNEL, KERNEL_FILE, "vmlinuz", recipe.kernel),
        initrd=artifact(Kind.INITRD, INITRD_FILE, "initrd", recipe.initrd),
        modules=artifact(Kind.MODULES, MODULES_FILE, "modules", recipe.modules, ".qcow2"),
        packages=tuple(unpacked.packages),
        made_by=_made_by(wanted),
        folder=folder,
    )


def _write_initrd(
    target: Path, unpacked: Unpacked, index: ModuleIndex, init: bytes, wanted: ModuleList, events: Events
) -> None:
    boot, late = load_orders(wanted, index)
    with events.step("Writing the initramfs") as step:
        data = initramfs.make_initramfs(
            init=init, busybox=unpacked.programs[BUSYBOX], e2fsck=unpacked.programs[E2FSCK],
            kernel_version=unpacked.kernel_version, boot=boot, late=late, contents=unpacked.contents,
        )  # fmt: skip
        target.write_bytes(data)
        step.detail = f"{len(boot) + len(late)} modules"


def _made_by(wanted: ModuleList) -> Mapping[str, Any]:
    return {
        "guest_sources": source_digest(),
        "modules": {"boot": list(wanted.boot), "late": list(wanted.late)},
        "initrd_format": INITRD_FORMAT,
        "modules_format": MODULES_FORMAT,
    }


def _is_whole(folder: Path) -> bool:
    try:
        load(folder)
    except DamagedImageError:
        return False
    return True
