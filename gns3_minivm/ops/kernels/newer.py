"""Whether the distribution has a newer kernel than the bundles at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import PackageError
from gns3_minivm.bundle.build import FLAVOUR
from gns3_minivm.bundle.model import Bundle, PackageRecord
from gns3_minivm.bundle.packages.apt import HostApt, choose_kernel, has_apt
from gns3_minivm.bundle.packages.package_set import KernelPart
from gns3_minivm.bundle.packages.versions import version_key
from gns3_minivm.bundle.source.monolithic import FLAVOUR as MONOLITHIC
from gns3_minivm.bundle.wheel import kernel_package
from gns3_minivm.ops.context import RunContext

_PARTS = {FLAVOUR: KernelPart.IMAGE, MONOLITHIC: KernelPart.SOURCE}


@dataclass(frozen=True)
class Newer:
    """A kernel that apt offers, and the newest bundle of its flavour is made of an older one."""

    flavour: str
    packages: tuple[PackageRecord, ...]

    @property
    def text(self) -> str:
        return ", ".join(f"{package.name} {package.version}" for package in self.packages)

    def as_dict(self) -> dict[str, Any]:
        return {
            "flavour": self.flavour,
            "packages": [{"name": package.name, "version": package.version} for package in self.packages],
        }


async def newer_kernels(bundles: Sequence[Bundle], context: RunContext) -> list[Newer]:
    """Ask this machine's apt about the flavours that ``bundles`` (newest first) are of; nothing without an apt.

    Anything that cannot be found out becomes a warning.
    """
    newest: dict[str, Bundle] = {}
    for bundle in bundles:
        if bundle.flavour in _PARTS:
            newest.setdefault(bundle.flavour, bundle)
    if not newest or not has_apt():
        return []
    return await run_blocking(_ask, newest, context)


def _ask(newest: Mapping[str, Bundle], context: RunContext) -> list[Newer]:
    found = []
    with context.settings.open_cache().hold("apt") as folder:
        apt = HostApt(folder)
        with context.events.step("Asking apt for newer kernels", total=100) as step:
            complaint = apt.update(step)
            for flavour, bundle in newest.items():
                try:
                    offered = choose_kernel(apt, complaint, _PARTS[flavour])
                except PackageError as error:
                    context.events.warn(error.message)
                    continue
                # A source that lags behind, or another distribution's, offers what is older than the bundle.
                has = version_key(kernel_package(bundle).version)
                new = tuple(record for record in offered if version_key(record.version) > has)
                found += [Newer(flavour, new)] if new else []
        failed = [line for line in complaint.splitlines() if "unsandboxed" not in line]
        if failed:
            context.events.warn("\n".join(["apt could not bring all its lists up to date:", *failed]))
    return found
