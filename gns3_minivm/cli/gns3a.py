"""The commands export and import: appliances as .gns3a files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.base.sizes import size
from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session
from gns3_minivm.cli.show import plans as show_plans
from gns3_minivm.cli.show import results as show

if TYPE_CHECKING:
    from gns3_minivm.ops.gns3a.export import ApplianceExport, ExportedAppliance
    from gns3_minivm.ops.gns3a.import_file import ApplianceImport
    from gns3_minivm.template_settings.table import TemplateSettings


@click.command("export")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--output", "-o", "folder", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The folder for the .gns3a files and the images.")  # fmt: skip
@click.option("--portable", is_flag=True,
              help="Leave out images that anybody can make again: from a registry's image, named by "
                   "digest, or a released kernel package.")  # fmt: skip
@click.option("--as", "template_name", metavar="NAME", help="Name of the template (default: the image's).")
@click.option("--version", metavar="TEXT", help="Name of the version (default: the appliance's, or the image's tag).")
@click.option("--add", is_flag=True, help="Keep the versions that a .gns3a of this name in DIR already has.")
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
    template_settings: TemplateSettings,
) -> None:
    """Write appliances or images as .gns3a files for GNS3's own import, with their images beside them.

    Images that have the same template name become versions in one file.
    """
    from gns3_minivm.ops.gns3a.export import ExportRequest
    from gns3_minivm.ops.gns3a.export import export_appliances as perform

    request = ExportRequest(
        names=names,
        folder=folder,
        template_name=template_name,
        version=version,
        template=template_settings,
        portable=portable,
        add=add,
        force=force,
    )
    result = session.perform(lambda context: perform(request, context))
    session.show(result.as_dict(), _exported(result))


@click.command("import")
@click.argument("file", type=options.FILE)
@click.option("--version", "versions", metavar="TEXT", multiple=True, help="Import this version as a template of its "
              "own, NAME VERSION; may be given several times (default: the file's first one, as NAME).")  # fmt: skip
@click.option("--as", "template_name", metavar="NAME", help="Name of the template (default: the one in FILE).")
@click.option("--images", "folders", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              multiple=True, help="Look for images in this folder, too; may be given several times.")  # fmt: skip
@options.server
@click.option("--compute", metavar="ID", help="The compute that runs the nodes (default: local, or vm where local "
              "has no QEMU).")  # fmt: skip
@click.option("--adopt", is_flag=True, help="Take over a template of the same name that gns3-minivm did not make.")
@options.verify
@options.sources
@options.dry_run
@options.common
@pass_session
def import_appliance(
    session: Session,
    /,
    file: Path,
    versions: tuple[str, ...],
    template_name: str | None,
    folders: tuple[Path, ...],
    servers: options.ServerChoice,
    compute: str | None,
    adopt: bool,
    verify: bool,
) -> int:
    """Make a template of a .gns3a file whose machine boots a kernel directly, on GNS3 servers.

    Images that a server lacks are looked for beside FILE and in the cache, made again from the source that FILE names,
    or downloaded from where it says; each is checked before anything is sent.
    """
    from gns3_minivm.ops.gns3a.import_file import ImportRequest
    from gns3_minivm.ops.gns3a.import_file import import_appliance as perform

    request = ImportRequest(
        path=file,
        servers=servers.addresses(),
        versions=versions,
        template_name=template_name,
        folders=folders,
        compute=compute,
        adopt=adopt,
        verify=verify,
    )
    done = session.perform(lambda context: perform(request, context))
    session.show(done.as_dict(), _imported(done))
    session.complain(show_plans.problems(done.result))
    return done.exit_status


def _imported(done: ApplianceImport) -> str:
    lines = [f"{image.filename}: {size(image.size_bytes)}, from {image.place}" for image in done.images]
    return "\n".join([*lines, show_plans.registered(done.result)])


def _exported(result: ApplianceExport) -> str:
    lines = [line for appliance in result.appliances for line in _appliance_lines(appliance, dry_run=result.dry_run)]
    lines += show.pending_lines(result.pending)
    return "\n".join([*lines, "dry run: nothing was written"] if result.dry_run else lines)


def _appliance_lines(appliance: ExportedAppliance, *, dry_run: bool) -> list[str]:
    would = "would write " if dry_run else ""
    alone = ", the only file to share" if appliance.is_portable else ""
    versions = f"version{'s' if len(appliance.versions) > 1 else ''} {', '.join(appliance.versions)}"
    lines = [f"{would}{appliance.path}: {size(appliance.size_bytes)}, {versions}{alone}"]
    for version, origin in appliance.origins.items():
        lines.append(f"  {version:10} from {origin}")
    for file in appliance.files:
        reason = f": {file.reason}" if file.reason else ""
        lines.append(f"  {file.state:10} {file.filename} ({size(file.size_bytes)}, md5 {file.md5}){reason}")
    return lines
