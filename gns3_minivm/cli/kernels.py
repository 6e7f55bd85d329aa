"""Commands about the kernel bundle."""

from __future__ import annotations

from pathlib import Path

import click

from gns3_minivm.cli import options, show
from gns3_minivm.cli.options import pass_session
from gns3_minivm.cli.session import Session


@click.group()
def kernel() -> None:
    """The kernel bundle: kernel image, initramfs and module disk."""


@kernel.command("build")
@options.kernel
@click.option("--rebuild", is_flag=True, help="Ask for newer packages even if a bundle is there.")
@options.dry_run
@options.common
@pass_session
def kernel_build(session: Session, debs: tuple[Path, ...], rebuild: bool, dry_run: bool) -> None:
    """Make the kernel bundle from the distribution's packages, once for all images."""
    from gns3_minivm.ops.kernel import kernel_build as perform

    result = session.perform(
        lambda events: perform(session.settings, events, debs=debs, rebuild=rebuild, dry_run=dry_run)
    )
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
