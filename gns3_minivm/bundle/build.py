"""Makes a kernel bundle from packages, once; finds those that exist already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.artifacts import Artifact, Kind, measure, recipe_id, server_filename
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import DamagedImageError, PackageError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle import initramfs, module_disk
from gns3_minivm.bundle.init_binary import init_binary, init_record, source_digest
from gns3_minivm.bundle.installed import installed_folders
from gns3_minivm.bundle.model import INITRD_FILE, KERNEL_FILE, MODULES_FILE, Bundle, is_whole, load
from gns3_minivm.bundle.modules.depmod import ModuleIndex
from gns3_minivm.bundle.modules.module_list import ModuleList, load_orders, read_module_list
from gns3_minivm.bundle.packages.package_set import (
    BUSYBOX,
    E2FSCK,
    PackageSet,
    PackageSource,
    ResolvedPackages,
)
from gns3_minivm.bundle.source import monolithic
from gns3_minivm.bundle.unpack import Unpacked, unpack
from gns3_minivm.formats.qcow2 import made_with

FLAVOUR = "debian"
"""Made of a distribution's ready kernel (Debian's or Ubuntu's)."""
HOST_FLAVOUR = "host"
"""Made of the kernel that runs on this machine."""
CUSTOM_FLAVOUR = "custom"
"""Made of a kernel image that the user named."""

# A number goes up when the same packages give other bytes than before: names of files stand for their bytes.
INITRD_FORMAT = 2
MODULES_FORMAT = 2

REQUIRED = ("virtio_pci", "virtio_blk", "ext4")
"""What every kernel must have, as a module or built in."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of each artifact; known before anything is downloaded."""

    kernel: str
    initrd: str
    modules: str
    flavour: str = FLAVOUR

    @property
    def bundle(self) -> str:
        return recipe_id({"flavour": self.flavour, "parts": [self.kernel, self.initrd, self.modules]})


def find(cache: Cache, flavour: str = FLAVOUR) -> Bundle | None:
    """The bundle that was built (or asked for) last, if this release of the program would build it the same way.

    Uses neither apt nor a compiler.
    """
    return find_first(cache, lambda bundle: bundle.flavour == flavour)


def find_first(cache: Cache, fits: Callable[[Bundle], bool]) -> Bundle | None:
    """The first fitting bundle of ``usable_bundles``; it stays where it is while this program runs."""
    for bundle in usable_bundles(cache):
        if fits(bundle) and keep(cache, bundle):
            return bundle
    return None


def find_installed() -> Bundle | None:
    """The bundle that came with pip, if this release of the program would build it the same way."""
    return next(iter(_usable(_loaded(installed_folders()))), None)


def keep(cache: Cache, bundle: Bundle) -> bool:
    """Hold a bundle while this program runs; returns whether it still exists."""
    is_cached = bundle.folder.parent == cache.root / "kernels"
    return not is_cached or cache.use("kernels", bundle.folder.name) is not None


def usable_bundles(cache: Cache) -> list[Bundle]:
    """All bundles that this release of the program would build the same way, the newest first."""
    return _usable(list_bundles(cache))


def list_bundles(cache: Cache) -> list[Bundle]:
    """All whole bundles: those in the cache, the newest first, then one that was installed with pip."""
    return _loaded([*cache.entries("kernels"), *installed_folders()])


def _usable(bundles: Sequence[Bundle]) -> list[Bundle]:
    if not bundles:
        return []
    of_packages, of_source = _made_by(read_module_list()), monolithic.made_by()
    return [one for one in bundles if one.made_by == (of_source if one.flavour == monolithic.FLAVOUR else of_packages)]


def _loaded(folders: Iterable[Path]) -> list[Bundle]:
    found = []
    for folder in folders:
        try:
            found.append(load(folder))
        except DamagedImageError:
            continue  # build() replaces it
    return found


def build(source: PackageSource, cache: Cache, events: Events, flavour: str = FLAVOUR) -> Bundle:
    """Make the bundle from what ``source`` offers, or return it if it exists (blocking).

    Raises PackageError, ToolError (no compiler for the init), DiskFullError.
    """
    wanted = read_module_list()
    init = init_binary(cache, events)
    with source.resolve(events) as resolved:
        recipe = make_recipe(resolved.packages, init, wanted, flavour)
        with cache.make("kernels", recipe.bundle, is_whole) as work:
            if not work.ready:
                with cache.scratch() as scratch, events.step("Building the kernel bundle") as step:
                    bundle = _make(work.folder, scratch, recipe, resolved, init, wanted, events)
                    work.manifest = {**bundle.as_dict(), "codecs": made_with(), "init": init_record(init)}
                    step.detail = bundle.kernel_version
    cache.trim(events)
    return load(work.entry)


def make_recipe(packages: PackageSet, init: bytes, wanted: ModuleList, flavour: str = FLAVOUR) -> Recipe:
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
        flavour=flavour,
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
    sources = resolved.fetch(scratch, events)
    unpacked = unpack(resolved.packages, sources, folder, scratch / "modules", events)
    index = ModuleIndex(
        unpacked.modules,
        order=unpacked.lists.get("modules.order", b"").decode(),
        builtin=unpacked.lists.get("modules.builtin", b"").decode(),
        builtin_modinfo=unpacked.lists.get("modules.builtin.modinfo", b""),
    )
    version = unpacked.kernel_version
    if unpacked.modules or unpacked.lists:
        _check_drivers(index, version)
    _write_initrd(folder / INITRD_FILE, unpacked, index, init, wanted, events)
    if unpacked.modules:
        module_disk.write_module_disk(folder / MODULES_FILE, unpacked, index, recipe.modules, events)

    def artifact(kind: Kind, file: str, stem: str, part: str, suffix: str = "") -> Artifact:
        return measure(kind, folder / file, server_filename(stem, version, part, suffix))

    return Bundle(
        id=recipe.bundle,
        flavour=recipe.flavour,
        kernel_version=version,
        architecture=X86_64.debian,
        kernel=artifact(Kind.KERNEL, KERNEL_FILE, "vmlinuz", recipe.kernel),
        initrd=artifact(Kind.INITRD, INITRD_FILE, "initrd", recipe.initrd),
        modules=artifact(Kind.MODULES, MODULES_FILE, "modules", recipe.modules, ".qcow2") if unpacked.modules else None,
        packages=tuple(unpacked.packages),
        made_by=_made_by(wanted),
        folder=folder,
    )


def _check_drivers(index: ModuleIndex, version: str) -> None:
    lacking = [name for name in REQUIRED if name not in index.by_name and name not in index.builtin]
    if lacking:
        raise PackageError(
            f"the kernel {version} has no {', '.join(lacking)}, neither as a module nor in modules.builtin",
            hint="A guest needs them to find and mount its root disk. Check that the folder of modules is complete; "
            "if it is, choose another kernel.",
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
