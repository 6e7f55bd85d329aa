"""Commands about the kernel bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gns3_minivm.cli import options, show
from gns3_minivm.cli.options import pass_session
from gns3_minivm.cli.session import Session

if TYPE_CHECKING:
    from gns3_minivm.ops.kernel import KernelOrigin


@click.group()
def kernel() -> None:
    """The kernel bundle: kernel image, initramfs and module disk."""


@kernel.command("build")
@options.kernel_origin
@click.option("--rebuild", is_flag=True, help="Ask for newer packages even if a bundle is there.")
@options.dry_run
@options.common
@pass_session
def kernel_build(session: Session, origin: KernelOrigin, rebuild: bool, dry_run: bool) -> None:
    """Make the kernel bundle from the distribution's packages, once for all images.

    With --from-host or --vmlinuz, of another kernel; name that with --kernel where it shall be used. The packages that
    --deb names are busybox-static and e2fsck-static alone then.
    """
    from gns3_minivm.ops.kernel import kernel_build as perform

    result = session.perform(lambda events: perform(session.settings, events, origin, rebuild=rebuild, dry_run=dry_run))
    session.show(result.as_dict(), show.bundle_built(result))


@kernel.command("list")
@options.common
@pass_session
def kernel_list(session: Session) -> None:
    """List the kernel bundles in the cache, newest first."""
    from gns3_minivm.ops.kernel import bundle_dict
    from gns3_minivm.ops.kernel import kernel_list as perform

    bundles = perform(session.settings)
    session.show({"bundles": [bundle_dict(bundle) for bundle in bundles]}, show.bundles(bundles))
