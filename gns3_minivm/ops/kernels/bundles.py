"""``kernel build`` and ``kernel list``, and the kernel bundle that other operations take."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import PackageError, UsageError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.build import (
    CUSTOM_FLAVOUR,
    FLAVOUR,
    HOST_FLAVOUR,
    build,
    find,
    find_first,
    find_installed,
    list_bundles,
    usable_bundles,
)
from gns3_minivm.bundle.installed import installed_folders
from gns3_minivm.bundle.local import LocalKernel
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.packages.apt import AptSource
from gns3_minivm.bundle.packages.package_set import DebFiles, KernelPart, PackageSource
from gns3_minivm.bundle.source.monolithic import FLAVOUR as MONOLITHIC
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.kernels.monolithic import build_monolithic
from gns3_minivm.settings import Settings

_ID_LENGTH_MIN = 6


@dataclass(frozen=True, kw_only=True)
class KernelOrigin:
    """The sources of a bundle: the distribution's kernel, from apt or from ``debs``, unless another one is named.

    With ``from_host`` or ``vmlinuz``, the ``debs`` are busybox and e2fsck alone.  With ``monolithic`` the kernel is
    compiled from the distribution's source, in a container of the image ``container`` if that is given.
    """

    debs: tuple[Path, ...] = ()
    from_host: bool = False
    vmlinuz: Path | None = None
    modules: Path | None = None
    monolithic: bool = False
    container: str | None = None

    @property
    def flavour(self) -> str:
        named = MONOLITHIC if self.monolithic else FLAVOUR
        return HOST_FLAVOUR if self.from_host else CUSTOM_FLAVOUR if self.vmlinuz else named

    @property
    def is_named(self) -> bool:
        """Whether the user has named files, so that the bundles in the cache do not count."""
        return bool(self.debs) or self.flavour not in (FLAVOUR, MONOLITHIC)

    def build(self, cache: Cache, events: Events) -> Bundle:
        """Make the bundle, or return it if it is there (blocking).

        Raises UsageError for options that contradict each other, and what making one raises.
        """
        self.check()
        if self.monolithic:
            return build_monolithic(cache, events, debs=self.debs, container=self.container)
        return build(self._source(cache), cache, events, self.flavour)

    def check(self) -> None:
        """Raises UsageError for options that contradict each other."""
        if self.monolithic and (self.from_host or self.vmlinuz or self.modules):
            raise UsageError(
                "--flavour monolithic compiles a kernel, but --from-host, --vmlinuz or --modules names another one",
                hint="Use only one of them.",
            )
        if self.container and not self.monolithic:
            raise UsageError(
                f"--container {self.container} says where to compile a kernel, but no kernel is compiled",
                hint="Add --flavour monolithic, or leave --container out.",
            )
        if self.from_host and (self.vmlinuz or self.modules):
            raise UsageError(
                "--from-host takes this machine's kernel and modules, but --vmlinuz or --modules names others",
                hint="Use either --from-host, or --vmlinuz FILE with --modules DIR.",
            )
        if self.modules and not self.vmlinuz:
            raise UsageError(
                f"--modules {self.modules} names modules without a kernel", hint="Add --vmlinuz FILE: the kernel image."
            )

    def _source(self, cache: Cache) -> PackageSource:
        part = KernelPart.IMAGE if self.flavour == FLAVOUR else KernelPart.NONE
        programs = DebFiles(self.debs, kernel=part) if self.debs else AptSource(cache, kernel=part)
        if self.from_host:
            return LocalKernel(*host_kernel(), programs)
        return LocalKernel(self.vmlinuz, self.modules, programs) if self.vmlinuz else programs


def host_kernel(root: Path = Path("/"), version: str | None = None) -> tuple[Path, Path]:
    """Kernel image and modules of the kernel that runs on this machine.  Raises PackageError if they are not there."""
    version = version or platform.release()
    modules = root / "lib/modules" / version
    images = (root / "boot" / f"vmlinuz-{version}", modules / "vmlinuz")
    image = next((path for path in images if path.exists()), None)
    missing = images[0] if image is None else modules
    if image is None or not modules.is_dir():
        raise PackageError(
            f"this machine runs the kernel {version}, but {missing} does not exist",
            hint="In a container, or if the kernel is elsewhere, name it: --vmlinuz FILE --modules DIR.",
        )
    return image, modules


@dataclass(frozen=True, kw_only=True)
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


async def kernel_build(origin: KernelOrigin, context: RunContext, *, rebuild: bool = False) -> BuildResult:
    """Make the kernel bundle unless it exists; ``rebuild`` asks for the newest packages in any case.

    Raises UsageError, PackageError, ToolError, DiskFullError.
    """
    started = time.monotonic()
    cache = context.settings.open_cache()
    origin.check()
    known = {bundle.id for bundle in list_bundles(cache)}
    found = None if origin.is_named or rebuild else find(cache, origin.flavour)
    if found is None and not context.dry_run:
        found = await run_blocking(origin.build, cache, context.events)
    built = found is not None and found.id not in known
    return BuildResult(bundle=found, built=built, elapsed_s=time.monotonic() - started)


def kernel_list(settings: Settings) -> list[Bundle]:
    """The bundles in the cache, newest first."""
    return list_bundles(settings.open_cache())


def bundle_at_hand(cache: Cache, events: Events, choice: KernelChoice) -> Bundle:
    """The kernel bundle that was chosen, built now if it does not exist and can be built (blocking)."""
    found = find_chosen(cache, choice)
    if choice == KernelChoice() and installed_folders() and not find_installed():
        events.warn(
            "the kernel that was installed with pip was made by another release of gns3-minivm, so it is not used; "
            "replace it with one of this release: pip install --force-reinstall gns3-minivm-kernel"
        )
    return found or KernelOrigin(debs=choice.debs, monolithic=choice.name == MONOLITHIC).build(cache, events)


def find_chosen(cache: Cache, choice: KernelChoice) -> Bundle | None:
    """The kernel bundle that was chosen if it is in the cache; None for one that can be built now.

    Raises UsageError for a name that no bundle has.
    """
    if choice.debs and choice.name:
        raise UsageError("--kernel names a bundle, but --deb names packages for another", hint="Use only one of them.")
    if choice.debs:
        return None
    if choice.name is None and (installed := find_installed()):
        return installed
    name = choice.name or FLAVOUR
    flavour, _, version = name.partition(":")

    def fits(bundle: Bundle) -> bool:
        if len(name) >= _ID_LENGTH_MIN and bundle.id.startswith(name):
            return True
        return bundle.flavour == flavour and version in ("", bundle.kernel_version)

    found = find_first(cache, fits)
    if found is None and name not in (FLAVOUR, MONOLITHIC):
        usable = usable_bundles(cache)
        known = ", ".join(f"{bundle.flavour}:{bundle.kernel_version} ({bundle.id[:12]})" for bundle in usable)
        raise UsageError(
            f"there is no kernel bundle {name!r}; known bundles: {known or 'none'}",
            hint="Build it: `gns3-minivm kernel build --from-host`, or with --vmlinuz FILE --modules DIR, or "
            "--flavour monolithic. Bundles of another release of gns3-minivm do not count.",
        )
    return found
