"""``export``: appliances and images as ``.gns3a`` files, with the images beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gns3_minivm.base.artifacts import Artifact, Kind, measure
from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import UsageError
from gns3_minivm.base.output import check_output, copy_output, name_output, temporary_beside
from gns3_minivm.gns3a.model import NAME_MAX, SUFFIX, ApplianceFile
from gns3_minivm.gns3a.read import read_gns3a
from gns3_minivm.gns3a.write import gns3a_text
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.gns3a.compose import ExportedVersion, compose, merge
from gns3_minivm.ops.gns3a.portable import Portability, portability
from gns3_minivm.ops.templates.sources import NotYet, Workshop
from gns3_minivm.ops.templates.template import describe
from gns3_minivm.template_settings.table import TemplateSettings

State = Literal["written", "there", "left out", "would be written"]


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """``version`` replaces the image's; ``add`` keeps the versions that a file of this name has already."""

    names: tuple[str, ...]
    folder: Path
    template_name: str | None = None
    version: str | None = None
    template: TemplateSettings = field(default_factory=TemplateSettings)
    portable: bool = False
    add: bool = False
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """A file beside a ``.gns3a``; ``reason`` says why it is left out, or why it could not be left out."""

    filename: str
    size_bytes: int
    md5: str
    state: State
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "filename": self.filename,
            "size_bytes": self.size_bytes,
            "md5": self.md5,
            "state": self.state,
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True)
class ExportedAppliance:
    """One ``.gns3a``; ``images`` say what each version was made of."""

    name: str
    path: Path
    versions: tuple[str, ...]
    origins: dict[str, str]
    files: tuple[ExportedFile, ...]
    size_bytes: int

    @property
    def is_portable(self) -> bool:
        """Whether sharing the ``.gns3a`` alone is enough."""
        return all(file.state == "left out" for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": str(self.path),
            "versions": list(self.versions),
            "origins": dict(self.origins),
            "portable": self.is_portable,
            "size_bytes": self.size_bytes,
            "files": [file.as_dict() for file in self.files],
        }


@dataclass(frozen=True, kw_only=True)
class ApplianceExport:
    """``pending`` lists steps that must come first for a dry run to know the rest for some of the names."""

    appliances: tuple[ExportedAppliance, ...]
    dry_run: bool
    pending: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "appliances": [appliance.as_dict() for appliance in self.appliances],
            "dry_run": self.dry_run,
            "pending": list(self.pending),
        }


async def export_appliances(request: ExportRequest, context: RunContext) -> ApplianceExport:
    """Write a ``.gns3a`` for each name, and the images that it needs; names of one template become its versions.

    The ``.gns3a`` comes last, so that one that is there is complete.  Raises UserError, ImageError, HostError.
    """
    if request.version and len(request.names) > 1:
        raise UsageError("--version names one version, but several images are given", hint="Export them one by one.")
    for option, text in (("--version", request.version), ("--as", request.template_name)):
        if text and (not text.isprintable() or len(text) > NAME_MAX):
            raise UsageError(f"{option} {text[:40]!r} is not a name", hint=f"Use up to {NAME_MAX} letters and digits.")
    _check_folder(request.folder)
    found: dict[str, list[ExportedVersion]] = {}
    pending: list[str] = []
    for name in request.names:
        try:
            version = await _version(name, request, context)
        except NotYet as step:
            pending.append(step.step)
            continue
        found.setdefault(version.template.name, []).append(version)
    # All names are settled before the first file is written.
    existing = {name: await run_blocking(_existing_file, request, name) for name in found}
    for name, versions in found.items():
        merge(compose(versions), existing[name])
    written = [await _export(name, versions, existing[name], request, context) for name, versions in found.items()]
    return ApplianceExport(appliances=tuple(written), dry_run=context.dry_run, pending=tuple(dict.fromkeys(pending)))


async def _version(name: str, request: ExportRequest, context: RunContext) -> ExportedVersion:
    """What one name becomes.  Raises NotYet in a dry run."""
    workshop = Workshop(context)
    try:
        source = await workshop.find(name)
        bundle = await workshop.bundle()
        disk = await workshop.disk(source)
        desired = describe(source, bundle, request.template, name=request.template_name, converted=disk)
        portable = await portability(source, bundle, workshop, context.events) if request.portable else Portability()
    finally:
        workshop.close()
    info = source.resolved.image.info
    version = request.version or info.version or source.recipe.id[:12]
    return ExportedVersion(name=version, desired=desired, source=source, bundle=bundle, disk=disk, portable=portable)


def _existing_file(request: ExportRequest, name: str) -> ApplianceFile | None:
    """The file that versions are added to.  Raises UsageError for one that is in the way."""
    path = _path(request, name)
    if request.add and path.exists():
        return read_gns3a(path)
    if request.folder.exists():
        check_output(path, replace=request.force)
    return None


def _path(request: ExportRequest, name: str) -> Path:
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "appliance"
    return request.folder / f"{label}{SUFFIX}"


async def _export(
    name: str,
    versions: Sequence[ExportedVersion],
    existing: ApplianceFile | None,
    request: ExportRequest,
    context: RunContext,
) -> ExportedAppliance:
    appliance = merge(compose(versions), existing)
    path, text = _path(request, name), gns3a_text(appliance).encode()
    files: dict[str, ExportedFile] = {}
    if not context.dry_run:
        await run_blocking(_make_folder, request.folder)
    for version in versions:
        for artifact in version.artifacts:
            if artifact.filename not in files:
                files[artifact.filename] = await _ship(artifact, version.portable, request, context)
    if not context.dry_run:
        for version in versions:
            if version.desired.symbol_svg is not None:
                symbol = request.folder / version.template.symbol
                await run_blocking(_write, symbol, version.desired.symbol_svg, replace=True)
        await run_blocking(_write, path, text, replace=request.force or existing is not None)
    origins = {version.name: version.desired.origin for version in versions}
    return ExportedAppliance(
        name=name,
        path=path,
        versions=tuple(version.name for version in appliance.versions),
        origins=origins,
        files=tuple(files.values()),
        size_bytes=len(text),
    )


async def _ship(artifact: Artifact, portable: Portability, request: ExportRequest, context: RunContext) -> ExportedFile:
    """Put a file beside the ``.gns3a``, unless everybody can make it."""
    said = ExportedFile(filename=artifact.filename, size_bytes=artifact.size_bytes, md5=artifact.md5, state="left out")
    obstacle = portable.disk if artifact.kind is Kind.DISK else portable.kernel
    if request.portable and not obstacle:
        return replace(said, reason="it can be made again from the file's own data")
    reason = obstacle if request.portable else ""
    target = request.folder / artifact.filename
    if target.exists() and await run_blocking(_is_same, target, artifact):
        return replace(said, state="there", reason=reason)
    if context.dry_run:
        return replace(said, state="would be written", reason=reason)
    with context.events.step(f"Write {target}", total=artifact.size_bytes, unit="bytes") as step:
        await run_blocking(copy_output, artifact.path, target, replace=request.force, step=step)
    return replace(said, state="written", reason=reason)


def _is_same(path: Path, artifact: Artifact) -> bool:
    same_size = path.is_file() and path.stat().st_size == artifact.size_bytes
    return same_size and measure(artifact.kind, path, path.name).sha256 == artifact.sha256


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="Name the folder to write the files to.")
    if not folder.absolute().parent.is_dir():
        raise UsageError(f"the folder {folder.absolute().parent} does not exist", hint="Create it, or name another.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise (disk_error(error, folder, "") or error) from error


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    """Write a small file that has its name only when it is whole."""
    temporary = temporary_beside(path)
    try:
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                os.fsync(stream.fileno())
            name_output(temporary, path, replace=replace)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise (disk_error(error, path.parent, "") or error) from error
