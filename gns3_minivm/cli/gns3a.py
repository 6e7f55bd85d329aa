"""The commands export and import: appliances as .gns3a files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.cli import options, show
from gns3_minivm.cli.options import pass_session
from gns3_minivm.cli.progress import size
from gns3_minivm.cli.session import Session

if TYPE_CHECKING:
    from gns3_minivm.ops.gns3a_export import ExportedAppliance, ExportResult
    from gns3_minivm.ops.kernel_choice import KernelChoice
    from gns3_minivm.ops.sources import ImageSettings
    from gns3_minivm.ops.template import TemplateSettings


@click.command("export")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--output", "-o", "folder", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The folder for the .gns3a files and the images.")  # fmt: skip
@click.option("--portable", is_flag=True, help="Leave out images that everybody can make again: from a registry's image, "
              "named by digest, and a released kernel package.")  # fmt: skip
@click.option("--as", "template_name", metavar="NAME", help="Name of the template (default: the image's).")
@click.option("--version", metavar="TEXT", help="Name of the version (default: the appliance's, or the image's tag).")
@click.option("--add", is_flag=True, help="Keep the versions that a .gns3a of this name in DIR has already.")
@click.option("--force", is_flag=True, help="Replace files in DIR.")
@options.template
@options.image
@options.kernel
@options.dry_run
@options.common
@pass_session
def export_appliances(
    session: Session,
    /,
    names: tuple[str, ...],
    folder: Path,
    portable: bool,
    template_name: str | None,
    version: str | None,
    add: bool,
    force: bool,
    kernel: KernelChoice,
    dry_run: bool,
    template_settings: TemplateSettings,
    image_settings: ImageSettings,
) -> None:
    """Write appliances or images as .gns3a files for GNS3's own import, with their images beside them.

    Images that have the same template name become versions in one file.
    """
    from gns3_minivm.ops.gns3a_export import ExportRequest
    from gns3_minivm.ops.gns3a_export import export_appliances as perform

    request = ExportRequest(
        names=names,
        folder=folder,
        template_name=template_name,
        version=version,
        template=template_settings,
        image=image_settings,
        kernel=kernel,
        portable=portable,
        add=add,
        force=force,
        dry_run=dry_run,
    )
    result = session.perform(lambda events: perform(request, session.settings, events))
    session.show(result.as_dict(), _exported(result))


def _exported(result: ExportResult) -> str:
    lines = [line for appliance in result.appliances for line in _appliance_lines(appliance, dry_run=result.dry_run)]
    lines += show.pending_lines(result.pending)
    return "\n".join([*lines, "dry run: nothing was written"] if result.dry_run else lines)


def _appliance_lines(appliance: ExportedAppliance, *, dry_run: bool) -> list[str]:
    would = "would write " if dry_run else ""
    alone = ", all that has to be shared" if appliance.is_portable else ""
    versions = f"version{'s' if len(appliance.versions) > 1 else ''} {', '.join(appliance.versions)}"
    lines = [f"{would}{appliance.path}: {size(appliance.size_bytes)}, {versions}{alone}"]
    for version, origin in appliance.origins.items():
        lines.append(f"  {version:10} from {origin}")
    for file in appliance.files:
        reason = f": {file.reason}" if file.reason else ""
        lines.append(f"  {file.state:10} {file.filename} ({size(file.size_bytes)}, md5 {file.md5}){reason}")
    return lines
