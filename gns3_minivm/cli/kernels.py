"""Commands about the kernel bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session
from gns3_minivm.cli.show import results as show

if TYPE_CHECKING:
    from gns3_minivm.ops.kernels.bundles import KernelOrigin


@click.group()
def kernel() -> None:
    """The kernel bundle: kernel image, initramfs and module disk."""


@kernel.command("build")
@options.kernel_origin
@click.option("--rebuild", is_flag=True, help="Ask for newer packages even if a bundle exists.")
@options.dry_run
@options.common
@pass_session
def kernel_build(session: Session, origin: KernelOrigin, rebuild: bool) -> None:
    """Make the kernel bundle from the distribution's packages, once for all images.

    With --flavour monolithic, a kernel is compiled that needs neither an initial RAM disk nor a module disk.

    With --from-host or --vmlinuz, it is made of another kernel; name that with --kernel to use it. --deb then names
    busybox-static and e2fsck-static only.
    """
    from gns3_minivm.ops.kernels.bundles import kernel_build as perform

    result = session.perform(lambda context: perform(origin, context, rebuild=rebuild))
    session.show(result.as_dict(), show.bundle_built(result))


@kernel.command("list")
@click.option("--offline", is_flag=True, help="Do not ask apt for newer kernels.")
@options.common
@pass_session
def kernel_list(session: Session, offline: bool) -> None:
    """List the kernel bundles at hand, newest first, and show where the distribution has a newer kernel."""
    from gns3_minivm.ops.kernels.bundles import bundle_dict
    from gns3_minivm.ops.kernels.bundles import kernel_list as perform
    from gns3_minivm.ops.kernels.newer import newer_kernels

    bundles = perform(session.settings)
    newer = [] if offline else session.perform(lambda context: newer_kernels(bundles, context))
    described = {"bundles": [bundle_dict(bundle) for bundle in bundles], "newer": [one.as_dict() for one in newer]}
    session.show(described, show.bundles(bundles, newer))


@kernel.command("pack")
@click.argument("name", default="monolithic")
@click.option("--output", "-o", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("."),
              metavar="DIR", help="Folder for the wheel (default: this one).")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing wheel.")
@options.dry_run
@options.common
@pass_session
def kernel_pack(session: Session, name: str, folder: Path, force: bool) -> None:
    """Make a wheel of the kernel bundle NAME (default: monolithic), named as for --kernel.

    With the wheel installed beside gns3-minivm, templates get this kernel, without apt, Docker or a compiler.
    """
    from gns3_minivm.ops.kernels.pack import kernel_pack as perform

    result = session.perform(lambda context: perform(name, folder, context, force=force))
    session.show(result.as_dict(), show.packed(result))
