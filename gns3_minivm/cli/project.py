"""The commands project export and project import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.base.sizes import size
from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session

if TYPE_CHECKING:
    from gns3_minivm.ops.project import ProjectExport, ProjectImport


@click.group()
def project() -> None:
    """Portable projects with everything needed to open them elsewhere."""


@project.command("export")
@click.argument("name")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE",
              help="The .gns3project file to write.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@options.server
@options.dry_run
@options.common
@pass_session
def project_export(session: Session, /, name: str, output: Path, force: bool, servers: options.ServerChoice) -> None:
    """Write a project with all its images to a file.

    NAME is the project's name or id. GNS3's own export leaves out initial RAM disks; this one does not. The project's
    nodes must be stopped.
    """
    from gns3_minivm.ops.project import export_project, only_server

    address = only_server(servers.addresses())
    result = session.perform(lambda context: export_project(address, name, output, context, force=force))
    session.show(result.as_dict(), exported(result))


@project.command("import")
@click.argument("file", type=options.FILE)
@click.option("--name", default="", metavar="NAME", help="Name of the new project (default: the one in FILE).")
@click.option("--open", "open_it", is_flag=True, help="Open it at once.")
@options.server
@options.dry_run
@options.common
@pass_session
def project_import(session: Session, /, file: Path, name: str, open_it: bool, servers: options.ServerChoice) -> None:
    """Create a project from a portable file, and upload the images that it lacks.

    FILE may come from `project export` or from GNS3 itself. The server gives it another name if the name is taken.
    """
    from gns3_minivm.ops.project import import_project, only_server

    address = only_server(servers.addresses())
    result = session.perform(lambda context: import_project(address, file, context, name=name, open_it=open_it))
    session.show(result.as_dict(), _imported(result))


def exported(result: ProjectExport) -> str:
    images = ", ".join(result.images) or "no images"
    if result.dry_run:
        return f"would write {result.project} to {result.output}, with {images}\ndry run: nothing was written"
    lines = [f"{result.output}: {size(result.size_bytes)}, project {result.project} with {images}"]
    lines += [f"  added      {filename}" for filename in result.added]
    return "\n".join(lines)


def _imported(result: ProjectImport) -> str:
    verb = "upload" if result.dry_run else "uploaded"
    lines = [f"  {verb:10} {filename}" for filename in result.uploaded]
    if result.dry_run:
        return "\n".join([f"would import {result.project} to {result.url}", *lines, "dry run: nothing was changed"])
    opened = ", open" if result.opened else ""
    return "\n".join([f"{result.project} on {result.url} (id {result.project_id}){opened}", *lines])
