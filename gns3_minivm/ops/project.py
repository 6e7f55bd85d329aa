"""``project export`` and ``project import``: GNS3's portable projects, made complete.

GNS3's own export leaves initial RAM disks out, so that what was imported from it cannot be opened.  What an archive
lacks comes from the server, else from this machine's cache.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.cache import Cache, disk_error
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import (
    ConflictError,
    NotFoundError,
    ServerError,
    UnsupportedServerError,
    UsageError,
)
from gns3_minivm.base.events import Events, Step
from gns3_minivm.base.output import check_output, name_output, temporary_beside
from gns3_minivm.base.streams import save_stream
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import ALWAYS_ON, LOCAL_COMPUTE, Node, Project
from gns3_minivm.gns3.project_archive import ProjectArchive, add_image, image_md5, read_archive, take_image
from gns3_minivm.gns3.server import Server
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.templates.cached_files import artifact_finder
from gns3_minivm.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ProjectExport:
    """``added`` are the images that GNS3's own export had left out."""

    project: str
    output: Path
    size_bytes: int
    images: tuple[str, ...]
    added: tuple[str, ...]
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "output": str(self.output),
            "size_bytes": self.size_bytes,
            "images": list(self.images),
            "added": list(self.added),
            "dry_run": self.dry_run,
        }


@dataclass(frozen=True, kw_only=True)
class ProjectImport:
    """``uploaded`` are the images that the archive lacked and this machine had; ``project_id`` is "" in a dry run."""

    project: str
    project_id: str
    url: str
    uploaded: tuple[str, ...]
    opened: bool
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "project_id": self.project_id,
            "url": self.url,
            "uploaded": list(self.uploaded),
            "opened": self.opened,
            "dry_run": self.dry_run,
        }


def only_server(addresses: Sequence[Address]) -> Address:
    """The one server that is meant.  Raises UsageError."""
    if len(addresses) == 1:
        return addresses[0]
    named = ", ".join(address.url for address in addresses) or "none"
    raise UsageError(f"exactly one GNS3 server is needed, found {named}", hint="Name it with --server URL.")


async def export_project(
    address: Address, name: str, output: Path, context: RunContext, *, force: bool
) -> ProjectExport:
    """Write the project of this name or id to ``output`` with all images that its nodes need.

    Nothing is left if it fails.  Raises UsageError, NotFoundError, ConflictError (a node runs), ServerError, HostError.
    """
    check_output(output, replace=force)
    async with await connect(address) as server:
        project = await _find(server, name)
        nodes = await server.nodes(project.project_id)
        _check_stopped(server, project, nodes)
        if context.dry_run:
            return ProjectExport(
                project=project.name,
                output=output,
                size_bytes=0,
                images=tuple(_computes_of_images(nodes)),
                added=(),
                dry_run=True,
            )
        folder = output.absolute().parent
        temporary = temporary_beside(output)
        try:
            with context.events.step(f"Export {project.name}", unit="bytes") as step:
                stream = server.export_project(project.project_id, with_images=True)
                await save_stream(stream, temporary, step.advance)
            archive, added = await _complete(
                server, temporary, _computes_of_images(nodes), context.settings, context.events
            )
            size_bytes = temporary.stat().st_size
            await run_blocking(_finish, temporary, output, force)
        except OSError as error:
            raise (disk_error(error, folder, "") or error) from error
        finally:
            temporary.unlink(missing_ok=True)
    return ProjectExport(
        project=project.name,
        output=output,
        size_bytes=size_bytes,
        images=tuple(archive.images),
        added=added,
        dry_run=False,
    )


async def import_project(
    address: Address,
    path: Path,
    context: RunContext,
    *,
    name: str = "",
    open_it: bool = False,
) -> ProjectImport:
    """Make a project of a portable archive on a server that then has every image its nodes need.

    Nothing is left if it fails, but for images that were uploaded.  Raises UserError, ConflictError (the server has
    another file under the name of an image), NotFoundError (an image is nowhere), ServerError.
    """
    archive = await run_blocking(read_archive, path)
    async with await connect(address) as server:
        _check_revision(server, archive)
        lacking = await _compare_images(server, archive, context.events)
        find = (
            (await run_blocking(artifact_finder, Cache(context.settings.cache_root))) if lacking else (lambda _: None)
        )
        sources = {filename: find(filename) for filename in lacking}
        if nowhere := [filename for filename, source in sources.items() if source is None]:
            raise NotFoundError(
                f"{path} lacks images that its nodes need, and {server.url} does not have them either: "
                f"{', '.join(nowhere)}",
                hint="Export it again with `gns3-minivm project export`, or register the appliance there first.",
            )
        if context.dry_run:
            return ProjectImport(
                project=name or archive.name,
                project_id="",
                url=server.url,
                uploaded=tuple(lacking),
                opened=False,
                dry_run=True,
            )
        for filename, source in sources.items():
            assert source is not None
            with context.events.step(f"Upload {filename}", total=source.size_bytes, unit="bytes") as step:
                await server.upload_image(source.path, filename, source.size_bytes, source.md5, step.advance)
        project = await _send(server, archive, name, context.events, open_it=open_it)
    return ProjectImport(
        project=project.name,
        project_id=project.project_id,
        url=server.url,
        uploaded=tuple(lacking),
        opened=open_it,
        dry_run=False,
    )


async def _find(server: Server, name: str) -> Project:
    projects = await server.projects()
    found = [project for project in projects if name in (project.project_id, project.name)]
    return only_project(server, projects, found, f"project {name!r}")


def only_project(
    server: Server, projects: Sequence[Project], found: Sequence[Project], meant: str, hint: str = ""
) -> Project:
    """The one project of a server that was found to be ``meant``.  Raises NotFoundError, ConflictError."""
    if not found:
        there = ", ".join(sorted(project.name for project in projects)) or "no project"
        raise NotFoundError(f"{server.url} has no {meant}", hint=f"{hint}Its projects are: {there}.")
    if len(found) > 1:
        ids = ", ".join(project.project_id for project in found)
        raise ConflictError(
            f"{server.url} has several projects that match the {meant}", hint=f"Use an id instead: {ids}."
        )
    return found[0]


def _check_stopped(server: Server, project: Project, nodes: Sequence[Node]) -> None:
    # GNS3 itself lets the others run during an export.
    running = [n.name for n in nodes if n.status not in ("stopped", "") and n.node_type not in ALWAYS_ON]
    if project.status == "opened" and running:
        raise ConflictError(
            f"{server.url}: project {project.name} cannot be exported while nodes run: {', '.join(running)}",
            hint="Stop them first: the disks of running nodes would be inconsistent.",
        )


def _computes_of_images(nodes: Sequence[Node]) -> dict[str, str]:
    """Every image that QEMU nodes name, and the compute of one that does."""
    found: dict[str, str] = {}
    for node in nodes:
        if node.node_type == "qemu":
            for field, value in node.properties.items():
                if (field.endswith("_image") or field == "initrd") and isinstance(value, str) and value.strip():
                    found.setdefault(value.rpartition("/")[2], node.compute_id or LOCAL_COMPUTE)
    return found


async def _complete(
    server: Server, path: Path, computes: Mapping[str, str], settings: Settings, events: Events
) -> tuple[ProjectArchive, tuple[str, ...]]:
    """Add what GNS3 has left out."""
    archive = await run_blocking(read_archive, path)
    added = []
    with tempfile.TemporaryDirectory(prefix=".gns3-minivm-", dir=path.parent) as folder:
        for image in archive.lacking:
            with events.step(f"Add {image.filename}", unit="bytes") as step:
                source = Path(folder, "image")
                compute_id = computes.get(image.filename, LOCAL_COMPUTE)
                if not await _fetch(server, image.filename, compute_id, Path(folder, "carrier"), source, step):
                    source = await _from_cache(server, image.filename, image.node, settings)
                await run_blocking(add_image, path, image.filename, source)
                added.append(image.filename)
    return await run_blocking(read_archive, path), tuple(added)


async def _fetch(server: Server, filename: str, compute_id: str, carrier: Path, target: Path, step: Step) -> bool:
    """Get an image from the server; False if it does not have it."""
    try:
        await save_stream(server.export_images([filename], compute_id), carrier, step.advance)
        return await run_blocking(take_image, carrier, filename, target)
    except (ConflictError, NotFoundError):
        return False
    finally:
        carrier.unlink(missing_ok=True)


async def _from_cache(server: Server, filename: str, node: str, settings: Settings) -> Path:
    find = await run_blocking(artifact_finder, Cache(settings.cache_root))
    artifact = find(filename)
    if artifact is None:
        raise NotFoundError(
            f"{server.url}: image {filename} of node {node} is missing both on the server and in this machine's cache",
            hint="Run `gns3-minivm doctor`; `gns3-minivm register` of the appliance restores it.",
        )
    return artifact.path


def _finish(temporary: Path, output: Path, force: bool) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    name_output(temporary, output, replace=force)


def _check_revision(server: Server, archive: ProjectArchive) -> None:
    newest = server.newest_project_revision
    if newest is not None and archive.revision > newest:
        raise UnsupportedServerError(
            f"{server.url}: {archive.path} was made by GNS3 {archive.version} (project revision {archive.revision});"
            f" this server, GNS3 {server.version}, opens up to revision {newest}",
            hint="GNS3 opens projects of the same or an older release only: import it on a newer server.",
        )


async def _compare_images(server: Server, archive: ProjectArchive, events: Events) -> list[str]:
    """The images that neither the archive nor the server has.  Raises ConflictError for names that mean other files."""
    with events.step("Compare images"):
        there = {image.filename: image for image in await server.disk_images()}
        lacking = []
        for image in archive.needed:
            present = there.get(image.filename)
            if present is None:
                if image.filename not in archive.images:
                    lacking.append(image.filename)
                continue
            # GNS3 takes the file that is there, whatever is in it.
            wanted = image.md5
            if image.filename in archive.images:
                wanted = await run_blocking(image_md5, archive.path, image.filename)
            if wanted and present.md5 and wanted != present.md5:
                really = await server.image_md5(image.filename)
                if really != wanted:
                    raise ConflictError(
                        f"{server.url}: a different image {image.filename} exists already"
                        f" (md5 {really}; the project's: {wanted})",
                        hint="GNS3 would use that one. Remove it on the server if nothing uses it, then import again.",
                    )
        return lacking


async def _send(server: Server, archive: ProjectArchive, name: str, events: Events, *, open_it: bool) -> Project:
    project_id = str(uuid.uuid4())
    size_bytes = archive.path.stat().st_size
    try:
        with events.step(f"Import {name or archive.name}", total=size_bytes, unit="bytes") as step:
            project = await server.import_project(project_id, archive.path, size_bytes, step.advance, name=name)
        if open_it:
            with events.step(f"Open {project.name}"):
                project = await server.open_project(project_id)
        return project
    except BaseException:
        await _forget(server, project_id)
        raise


async def _forget(server: Server, project_id: str) -> None:
    """Delete a half-made project, if it exists; its failure is reported elsewhere."""
    try:
        await server.delete_project(project_id)
    except ServerError:
        pass
