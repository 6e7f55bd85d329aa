"""Finds the images of an appliance file: the places that are tried, one after the other.

1. beside the file, or in a folder that the user names: by name, else by size and checksum under any name;
2. this machine's cache of disks and kernel bundles, and an installed kernel package;
3. made again from what the file says of its source (an image by digest, a released kernel package);
4. downloaded, where the file says from where.

Nothing counts but what has the file's size and md5.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from gns3_minivm import __version__
from gns3_minivm.appliances import Appliances
from gns3_minivm.base.artifacts import Artifact, Kind, measure
from gns3_minivm.base.cancel import checkpoint, run_blocking
from gns3_minivm.base.errors import DamagedImageError, HostError, ImageNotFoundError, MiniVMError
from gns3_minivm.bundle.build import list_bundles, usable_bundles
from gns3_minivm.convert.pipeline import list_disks
from gns3_minivm.gns3a.model import ApplianceFile, DiskSource, ImageFile, without_secrets
from gns3_minivm.images.resolve import ENGINE_SCHEME, REGISTRY_SCHEME
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.gns3a.wheel import file_from_wheel
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.templates.sources import FoundImage, Workshop

_PULL = f"{REGISTRY_SCHEME}://"


@dataclass(frozen=True)
class Place:
    """A place that may have an image; ``fetch`` gets it, or finds that it cannot."""

    label: str
    fetch: Callable[[], Awaitable[Artifact]]


class ImageFinder:
    """Finds the images of one appliance file; close it."""

    def __init__(self, path: Path, appliance: ApplianceFile, folders: Sequence[Path], context: RunContext) -> None:
        self._appliance = appliance
        self._folders = [path.absolute().parent, *folders]
        # Looking for an image makes nothing, and is done in a dry run too.
        self._context = replace(context, dry_run=False)
        self._events = context.events
        self._cache = context.settings.open_cache()
        self._scratch: Path | None = None
        self._open = ExitStack()
        self._notes: dict[str, list[str]] = {}

    async def locate(self, image: ImageFile) -> Place | None:
        """The first place that seems to have an image; nothing is made or fetched."""
        async with aclosing(self._places(image)) as places:
            async for place in places:
                return place
        return None

    async def obtain(self, image: ImageFile) -> tuple[Place, Artifact] | None:
        """The image, checked, and where it came from; None if no place has it."""
        async with aclosing(self._places(image)) as places:
            async for place in places:
                try:
                    return place, _checked(await place.fetch(), image)
                except (MiniVMError, OSError) as error:
                    self._note(image, f"{place.label}: {error}")
        return None

    def missing(self, images: Sequence[ImageFile]) -> ImageNotFoundError:
        """The error for images that no place has: which they are, why each place failed, and where to put them."""
        lines = []
        for image in images:
            lines.append(f"  {image.filename} ({image.filesize} bytes, md5 {image.md5sum})")
            if image.download_url:
                lines.append(f"    the download may be at {without_secrets(image.download_url)}")
            lines += [f"    {note}" for note in dict.fromkeys(self._notes.get(image.filename, []))]
        wheels = {
            made.kernel.wheel for image in images if (made := self._appliance.made(image.filename)) and made.kernel
        }
        wheel = "".join(f" The kernel comes with `pip install {wheel}`." for wheel in sorted(wheels) if wheel)
        return ImageNotFoundError(
            f"{self._appliance.name} needs images that were not found:\n" + "\n".join(lines),
            hint=f"Put them into {self._folders[0]} (or another folder, --images DIR), under any name.{wheel}",
        )

    async def close(self) -> None:
        """Remove what was downloaded."""
        await run_blocking(self._open.close)

    def _note(self, image: ImageFile, text: str) -> None:
        self._notes.setdefault(image.filename, []).append(" ".join(text.split()))

    async def _places(self, image: ImageFile) -> AsyncGenerator[Place, None]:
        if beside := await run_blocking(self._beside, image):
            yield Place(str(beside.path), _at_hand(beside))
        if cached := await run_blocking(self._cached, image):
            yield Place(f"this machine's cache ({cached.path.parent.name[:12]})", _at_hand(cached))
        made = self._appliance.made(image.filename)
        if made and made.disk:
            async with aclosing(self._made_again(image, made.disk)) as places:
                async for place in places:
                    yield place
        if made and made.kernel and made.kernel.wheel:
            wheel = made.kernel.wheel

            async def unpacked() -> Artifact:
                with self._events.step(f"Take {image.filename} from {wheel}"):
                    return await run_blocking(file_from_wheel, wheel, image, await self._folder())

            yield Place(f"the package {wheel}", unpacked)
        if image.can_be_downloaded:

            async def downloaded() -> Artifact:
                return await self._download(image)

            yield Place(without_secrets(image.direct_download_url or ""), downloaded)

    def _beside(self, image: ImageFile) -> Artifact | None:
        for folder in self._folders:
            named = folder / image.filename
            paths = [named, *sorted(path for path in _files(folder) if path != named)]
            for path in paths:
                checkpoint()
                try:
                    size_bytes = path.stat().st_size if path.is_file() else None
                    found = measure(Kind.DISK, path, image.filename) if size_bytes == image.filesize else None
                except OSError as error:
                    self._note(image, f"{path} cannot be read: {error.strerror}")
                    continue
                if found and found.md5 == image.md5sum:
                    return found
                if path == named and size_bytes is not None:
                    other = f"md5 {found.md5}" if found else f"{size_bytes} bytes"
                    self._note(image, f"{path} is a different file: it has {other}")
        return None

    def _cached(self, image: ImageFile) -> Artifact | None:
        bundles = (artifact for bundle in list_bundles(self._cache) for artifact in bundle.artifacts)
        for artifact in (*bundles, *list_disks(self._cache)):
            same = (artifact.size_bytes, artifact.md5) == (image.filesize, image.md5sum)
            if same and self._cache.use_file(artifact.path):
                return replace(artifact, filename=image.filename)
        return None

    async def _made_again(self, image: ImageFile, source: DiskSource) -> AsyncGenerator[Place, None]:
        context = self._context.with_image(size=f"{source.size_bytes >> 20}M", compression=source.compression)
        kernel = KernelChoice()
        names = [f"{ENGINE_SCHEME}:{source.digest}"]
        if pinned := source.image.removeprefix(_PULL) if source.image.startswith(_PULL) else "":
            # An engine that has it is nearer than a registry.
            names = [f"{ENGINE_SCHEME}:{pinned}", source.image]
        elif source.image:
            bundle = await run_blocking(self._bundle_of_embedded, source.image)
            if bundle is None:
                self._note(
                    image,
                    f"made from the appliance {source.image} with a kernel bundle that this machine does not have",
                )
                return
            kernel, names = KernelChoice(name=bundle), [source.image]
        for name in names:
            try:
                # Whatever size the file says.
                workshop = Workshop(replace(context, kernel=kernel))
            except MiniVMError as error:
                self._note(image, error.message)
                return
            try:
                found = await workshop.find(name)
                if found.recipe.id == source.recipe:

                    async def convert(found: FoundImage = found, workshop: Workshop = workshop) -> Artifact:
                        return await workshop.disk(found)

                    yield Place(f"made again from {name}", convert)
                else:
                    self._note(
                        image, f"{name} gives a different disk here (gns3-minivm {__version__}): {found.recipe.id[:12]}"
                    )
            except MiniVMError as error:
                if name == source.image:
                    self._note(image, f"{name}: {error.message}")
            finally:
                workshop.close()
        if not source.image:
            self._note(image, f"made from an image that only its author has ({source.digest})")

    def _bundle_of_embedded(self, name: str) -> str | None:
        """The id of the file's kernel bundle if it is here: an embedded root is made of its busybox."""
        appliance = Appliances().find(name)
        if appliance is None or appliance.embedded is None:
            return None
        made = self._appliance.record.made.values() if self._appliance.record else ()
        wanted = {one.kernel.bundle for one in made if one.kernel}
        return next((bundle.id for bundle in usable_bundles(self._cache) if bundle.id in wanted), None)

    async def _download(self, image: ImageFile) -> Artifact:
        # Brings an HTTP client with it, which an import from files does not need.
        from gns3_minivm.gns3a.download import download

        target = await self._folder() / hashlib.md5(image.filename.encode(), usedforsecurity=False).hexdigest()
        with self._events.step(f"Download {image.filename}", total=image.filesize, unit="bytes") as step:
            await run_blocking(download, image, target, step.advance)
            return await run_blocking(measure, Kind.DISK, target, image.filename)

    async def _folder(self) -> Path:
        if self._scratch is None:
            self._scratch = await run_blocking(self._open.enter_context, self._cache.scratch())
        return self._scratch


def _at_hand(artifact: Artifact) -> Callable[[], Awaitable[Artifact]]:
    async def fetch() -> Artifact:
        return artifact

    return fetch


def _checked(artifact: Artifact, image: ImageFile) -> Artifact:
    if (artifact.size_bytes, artifact.md5) != (image.filesize, image.md5sum):
        raise DamagedImageError(
            f"it has {artifact.size_bytes} bytes and the md5 {artifact.md5}, not {image.filesize} and {image.md5sum}"
        )
    return replace(artifact, filename=image.filename)


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise HostError(f"{folder} cannot be read: {error.strerror}", hint="Name another folder.") from error
