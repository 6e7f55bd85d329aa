"""``import``: turns anybody's appliance files into templates on servers, in the same way as ``register``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import BugError, UsageError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.address import Address, check_named
from gns3_minivm.gns3a.model import KERNEL_SLOT, ApplianceFile, ImageFile, Version
from gns3_minivm.gns3a.read import read_gns3a
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.gns3a.images import ImageFinder
from gns3_minivm.ops.gns3a.template import ImportedVersion, imported
from gns3_minivm.ops.templates.reconcile import Policy, Target, reconcile
from gns3_minivm.ops.templates.report import SyncResult
from gns3_minivm.ops.templates.supply import Found, Wanted


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """``versions`` are names in the file, each for a template of its own beside others; without them its first one.

    ``folders`` are searched for images beside the file's own.
    """

    path: Path
    servers: tuple[Address, ...]
    versions: tuple[str, ...] = ()
    template_name: str | None = None
    folders: tuple[Path, ...] = ()
    compute: str | None = None
    adopt: bool = False
    verify: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageOrigin:
    """The place that an image, which some server lacked, came from or would come from."""

    filename: str
    size_bytes: int
    md5: str
    place: str

    def as_dict(self) -> dict[str, Any]:
        return {"filename": self.filename, "size_bytes": self.size_bytes, "md5": self.md5, "place": self.place}


@dataclass(frozen=True, kw_only=True)
class ApplianceImport:
    """What was done with a file; ``images`` are those that some server lacked."""

    path: Path
    name: str
    versions: tuple[str, ...]
    images: tuple[ImageOrigin, ...]
    result: SyncResult

    @property
    def exit_status(self) -> int:
        return self.result.exit_status

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "name": self.name,
            "versions": list(self.versions),
            "images": [image.as_dict() for image in self.images],
            **self.result.as_dict(),
        }


async def import_appliance(request: ImportRequest, context: RunContext) -> ApplianceImport:
    """Bring the templates of a file's versions, and their images, to every server of the request.

    Images that servers lack are fetched and checked before anything is sent.  An error of one server is in its report
    and does not stop the others.  Raises ConfigError for mistakes in the file, UsageError, ImageNotFoundError for
    images that no place has, HostError.
    """
    check_named(request.servers)
    appliance = await run_blocking(read_gns3a, request.path)
    chosen = choose(request, appliance)
    versions = await run_blocking(_templates, request, appliance, chosen)
    for warning in dict.fromkeys(text for version in versions for text in version.warnings):
        context.events.warn(warning)
    wanted = {Wanted(image=str(request.path), name=version.desired.name): version for version in versions}
    finder = ImageFinder(request.path, appliance, request.folders, context)
    supply = _FileSupply(wanted, finder, context.events)
    targets = [
        Target(name=one.url, url=one.url, address=one, wanted=tuple(wanted), compute=request.compute)
        for one in request.servers
    ]
    try:
        policy = Policy(adopt=request.adopt, verify=request.verify)
        result = await reconcile(targets, supply, policy, context)
        if context.dry_run:
            plans = [report.plan for report in result.servers if report.plan]
            await supply.locate([upload.source for plan in plans for upload in plan.uploads])
    finally:
        await finder.close()
    names = tuple(version.name for version in chosen)
    return ApplianceImport(
        path=request.path, name=appliance.name, versions=names, images=tuple(supply.origins.values()), result=result
    )


def choose(request: ImportRequest, appliance: ApplianceFile) -> list[Version]:
    """The versions to import: those named, else the first that boots a kernel directly.

    Authors write the newest version first.  Raises UsageError.
    """
    there = {version.name: version for version in appliance.versions}
    for name in request.versions:
        if name not in there:
            raise UsageError(f"{request.path} has no version {name!r}", hint=f"It has: {', '.join(there)}.")
    if request.template_name and len(set(request.versions)) > 1:
        raise UsageError("--as names one template, but several versions are chosen", hint="Import them one by one.")
    if request.versions:
        return [there[name] for name in dict.fromkeys(request.versions)]
    direct = [version for version in appliance.versions if KERNEL_SLOT in version.images]
    return (direct or list(appliance.versions))[:1]


def _templates(request: ImportRequest, appliance: ApplianceFile, chosen: Sequence[Version]) -> list[ImportedVersion]:
    found = []
    for version in chosen:
        # Beside another version there has to be a name of its own, as the GUI of 2.2 gives it.
        is_pinned = bool(request.versions) and not request.template_name
        name = request.template_name or (f"{appliance.name} {version.name}" if is_pinned else appliance.name)
        found.append(imported(request.path, appliance, version, name=name, is_pinned=is_pinned))
    return found


class _FileSupply:
    """A ``reconcile.Supply`` of what a file names; all files that some server lacks are fetched before one is sent."""

    def __init__(self, versions: Mapping[Wanted, ImportedVersion], finder: ImageFinder, events: Events) -> None:
        self._versions = versions
        self._finder = finder
        self._events = events
        self._images: dict[str, ImageFile] = {}
        for version in versions.values():
            self._images.update(version.files)
        self._artifacts: dict[str, Artifact] = {}
        self.origins: dict[str, ImageOrigin] = {}

    async def find(self, wanted: Sequence[Wanted], *, catalogue: str = "") -> list[Found]:
        del catalogue  # what is wanted names its file
        return [Found(item, self._versions[item].desired) for item in wanted]

    async def make_kernels(self) -> None:
        raise BugError("the files of an appliance file have fixed names")

    async def start(self, filenames: Iterable[str]) -> None:
        missing = []
        for filename in dict.fromkeys(filenames):
            image = self._images[filename]
            with self._events.step(f"Find {image.filename}") as step:
                found = await self._finder.obtain(image)
                step.detail = found[0].label if found else "not found"
            if found is None:
                missing.append(image)
                continue
            place, artifact = found
            self._artifacts[filename] = replace(artifact, filename=filename)
            self._remember(filename, image, place.label)
        if missing:
            raise self._finder.missing(missing)

    async def locate(self, filenames: Iterable[str]) -> None:
        """Say where files would come from.  Raises ImageNotFoundError as ``start`` does."""
        missing = []
        for filename in dict.fromkeys(filenames):
            image = self._images[filename]
            place = await self._finder.locate(image)
            if place is None:
                missing.append(image)
            else:
                self._remember(filename, image, place.label)
        if missing:
            raise self._finder.missing(missing)

    async def artifact(self, filename: str) -> Artifact:
        return self._artifacts[filename]

    def _remember(self, filename: str, image: ImageFile, place: str) -> None:
        self.origins[filename] = ImageOrigin(
            filename=filename, size_bytes=image.filesize, md5=image.md5sum, place=place
        )
