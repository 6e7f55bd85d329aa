"""Commands about images on this machine: convert, boot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session
from gns3_minivm.cli.show import results as show

if TYPE_CHECKING:
    from gns3_minivm.template_settings.table import TemplateSettings


@click.command()
@click.argument("image")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE",
              help="The qcow2 file to write.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@options.image
@options.kernel
@options.dry_run
@options.common
@pass_session
def convert(
    session: Session,
    /,
    image: str,
    output: Path,
    force: bool,
) -> None:
    """Write the disk of an image or appliance to a qcow2 file."""
    from gns3_minivm.ops.disk import convert_image

    result = session.perform(lambda context: convert_image(image, output, context, force=force))
    session.show(result.as_dict(), show.converted(result))


@click.command()
@click.argument("image", required=False)
@click.option("--template", metavar="NAME", help="Boot this template of a GNS3 server instead of an image.")
@options.server
@click.option("--run", "command", metavar="COMMAND",
              help="Run this line in the guest, print its output, power off, and exit with its status.")  # fmt: skip
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep the guest's changes in this overlay file (default: discard them).")  # fmt: skip
@click.option("--settings", "node_settings", type=options.FILE, metavar="FILE",
              help="The node's own settings, files and commands (YAML; docs/use/settings.md).")  # fmt: skip
@options.template
@options.image
@options.kernel
@options.dry_run
@options.common
@pass_session
def boot(
    session: Session,
    /,
    image: str | None,
    template: str | None,
    servers: options.ServerChoice,
    command: str | None,
    keep: Path | None,
    node_settings: Path | None,
    template_settings: TemplateSettings,
) -> int:
    """Run the guest of an image under the local QEMU, as GNS3 would.

    The console is on this terminal; Ctrl-] leaves. The first adapter gets QEMU's own NAT network. Acceleration is used
    only if a short probe shows that it works.
    """
    from gns3_minivm.ops.boot import BootRequest
    from gns3_minivm.ops.boot import boot as perform

    request = BootRequest(
        image=image,
        template=template,
        servers=servers.addresses() if template else (),
        command=command,
        keep=keep,
        node_settings=node_settings,
        settings=template_settings,
    )
    result = session.perform(lambda context: perform(request, context))
    session.show(result.as_dict(), show.booted(result))
    return result.exit_status
