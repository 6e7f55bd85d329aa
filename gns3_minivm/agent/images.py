"""Deletes image files that provably nothing uses; keeps and lists all others.

A proof looks at every template, at every node of every project, and into every snapshot.  Only an administrator sees
all projects of API v3, and snapshots can be read only by exporting their project, which a running node forbids.
What cannot be looked at counts as a use.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.agent.read_back import save
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import NotFoundError, ServerError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.model import LOCAL_COMPUTE, Project
from gns3_minivm.gns3.server import Server

_FOLDER = "images/QEMU"
_SNAPSHOT_SUFFIXES = (".gns3project", ".gns3snapshot")
_PROJECT_FILE = "project.gns3"


@dataclass(frozen=True)
class KeptImage:
    """An image that stays, and why: who uses it, or what could not be checked."""

    filename: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DeletionReport:
    """The result for the images of one server; in a dry run, the expected one.

    ``by_hand`` are paths below the GNS3 folder of unused files that the server's API cannot delete, with the compute
    where it is not the server itself.
    """

    url: str
    dry_run: bool
    deleted: tuple[str, ...]
    kept: tuple[KeptImage, ...]
    by_hand: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON shows it."""
        return {
            "url": self.url,
            "dry_run": self.dry_run,
            "deleted": list(self.deleted),
            "kept": [{"filename": image.filename, "reasons": list(image.reasons)} for image in self.kept],
            "by_hand": list(self.by_hand),
        }


async def delete_unused_images(
    server: Server, names: Collection[str], *, dry_run: bool, events: Events, without_templates: Collection[str] = ()
) -> DeletionReport:
    """Delete the image files of these names that nothing uses; names that the server does not have are passed over.

    ``without_templates`` are ids of templates that count as removed already.  One file that the server refuses to
    delete is kept and does not stop the others.
    """
    places = await _places(server, names)
    uses = await find_uses(server, list(places), events=events, without_templates=without_templates)
    deleted: list[str] = []
    by_hand: list[str] = []
    for name in [name for name in places if not uses[name]]:
        for compute in places[name]:
            if compute == LOCAL_COMPUTE and server.can_delete_images:
                refusal = None if dry_run else await _delete(server, name)
                if refusal is None:
                    deleted.append(name)
                else:
                    uses[name] = (refusal,)
            else:
                by_hand.append(f"{_FOLDER}/{name}" + (f" on compute {compute}" if compute != LOCAL_COMPUTE else ""))
    kept = tuple(KeptImage(name, reasons) for name, reasons in uses.items() if reasons)
    return DeletionReport(url=server.url, dry_run=dry_run, deleted=tuple(deleted), kept=kept, by_hand=tuple(by_hand))


async def find_uses(
    server: Server, names: Collection[str], *, events: Events, without_templates: Collection[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Who uses each of these image files, or why that could not be found out; empty if provably nobody does."""
    found: dict[str, list[str]] = {name: [] for name in names}
    if not found:
        return {}
    with events.step("Look for uses of images"):
        for use in await server.image_uses(list(found)):
            if use.template_id not in without_templates or not use.template_id:
                found[use.filename].append(use.user)
        rights = await server.rights()
        if not rights.administrator:
            unsure = f"the user {rights.username} is not an administrator, so projects may be hidden from them"
            return {name: tuple(reasons) or (unsure,) for name, reasons in found.items()}
        for project in await server.projects():
            open_questions = [name for name, reasons in found.items() if not reasons]
            if open_questions:
                for name, reason in (await _in_snapshots(server, project, open_questions)).items():
                    found[name].append(reason)
    return {name: tuple(reasons) for name, reasons in found.items()}


async def _places(server: Server, names: Collection[str]) -> dict[str, list[str]]:
    """The computes that have each file, "local" for the server itself."""
    places: dict[str, list[str]] = {}
    listed = {image.filename for image in await server.images()}
    for compute in await server.computes():
        try:
            there = {image.filename for image in await server.disk_images(compute.compute_id)}
        except ServerError:
            continue  # a compute that is away; its files are told when it is back
        if compute.compute_id == LOCAL_COMPUTE:
            there |= listed
        for name in names:
            if name in there and compute.compute_id not in places.get(name, []):
                places.setdefault(name, []).append(compute.compute_id)
    return places


async def _delete(server: Server, name: str) -> str | None:
    """Delete one file; returns the reason if the server refuses."""
    try:
        await server.delete_image(name)
    except NotFoundError:
        return None
    except ServerError as error:
        return error.message
    return None


async def _in_snapshots(server: Server, project: Project, names: Collection[str]) -> Mapping[str, str]:
    """Which of these names occur in the project's snapshots, with the reason to keep them."""
    try:
        snapshots = await server.snapshots(project.project_id)
        if not snapshots:
            return {}
        with tempfile.TemporaryDirectory(prefix="gns3-minivm-") as folder:
            archive = Path(folder, "project.zip")
            await save(server.export_project(project.project_id, with_snapshots=True), archive)
            return await run_blocking(_read_snapshots, archive, len(snapshots), project.name, names)
    except NotFoundError:
        return {}  # deleted at this moment
    except (ServerError, _Unreadable) as error:
        reason = f"the snapshots of project {project.name} cannot be read: {error}"
        return dict.fromkeys(names, reason)


class _Unreadable(Exception):
    """A snapshot exists, but its uses of images cannot be read."""


def _read_snapshots(archive: Path, count: int, project: str, names: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        with zipfile.ZipFile(archive) as outer:
            snapshots = [
                member
                for member in outer.infolist()
                if member.filename.startswith("snapshots/") and member.filename.endswith(_SNAPSHOT_SUFFIXES)
            ]
            if len(snapshots) < count:
                raise _Unreadable(f"the server exported {len(snapshots)} of {count}")
            for member in snapshots:
                text = _project_file(outer, member)
                label = member.filename.removeprefix("snapshots/")
                found |= {name: f"snapshot {label} of project {project}" for name in names if name in text}
    except (zipfile.BadZipFile, NotImplementedError, KeyError, EOFError, OSError) as error:
        raise _Unreadable(str(error)) from error
    return found


def _project_file(outer: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    with outer.open(member) as stream, zipfile.ZipFile(stream) as inner:
        return inner.read(_PROJECT_FILE).decode("utf-8", "replace")
