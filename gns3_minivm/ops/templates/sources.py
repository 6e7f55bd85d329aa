"""The sources of a disk: the kernel bundle, the appliances, and the places of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import UsageError
from gns3_minivm.base.events import Events
from gns3_minivm.convert.pipeline import convert, find_disk
from gns3_minivm.convert.recipe import DiskRecipe
from gns3_minivm.images.engine.client import BuildOptions, Engine, connect
from gns3_minivm.images.resolve import Resolved, Sources, build_now, resolve
from gns3_minivm.ops.context import RunContext

if TYPE_CHECKING:
    from gns3_minivm.appliances import Appliances
    from gns3_minivm.bundle.model import Bundle
    from gns3_minivm.images.engine.build import Build


@dataclass(frozen=True)
class FoundImage:
    """An image that has been found, and the recipe of its disk."""

    resolved: Resolved
    recipe: DiskRecipe


class NotYet(Exception):
    """A dry run has come to a step that would make something; what follows from it cannot be known before."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


class Workshop:
    """Finds images and makes their disks; one for each operation.

    In a dry run, NotYet is raised where something would have to be made.
    """

    def __init__(self, context: RunContext) -> None:
        image = context.image
        self._cache = context.settings.open_cache()
        self._appliance_folders = context.settings.appliance_folders
        self._disk = image.disk
        self._events = context.events
        self._kernel = context.kernel
        self._bundle: Bundle | None = None
        self._engine: Engine | None = None
        self._dry_run = context.dry_run
        make = _only_find if context.dry_run else build_now
        self._found_appliances: Appliances | None = None
        self._sources = Sources(
            appliances=self._appliances,
            connect=self._connect,
            busybox=self._busybox,
            registries=image.registries,
            build=image.build,
            make=make,
        )

    async def bundle(self) -> Bundle:
        """The kernel bundle, made now if there is none."""
        return await run_blocking(self._bundle_now)

    async def bundle_if_there(self) -> Bundle | None:
        """The kernel bundle, or None if it would have to be made.  Raises UsageError for one that cannot be made."""
        from gns3_minivm.ops.kernels.bundles import find_chosen

        return await run_blocking(find_chosen, self._cache, self._kernel)

    async def find(self, name: str) -> FoundImage:
        """Find an image or appliance, building its Dockerfile where needed."""
        resolved = await run_blocking(resolve, name, self._sources, self._events)
        return FoundImage(resolved, DiskRecipe(resolved.image.info, self._disk))

    def converted(self, source: FoundImage) -> Artifact | None:
        """The disk of an image if it is in the cache."""
        return find_disk(source.recipe, self._cache)

    async def disk(self, source: FoundImage, beside: Callable[[Path], object] = lambda _: None) -> Artifact:
        """The disk of an image, from the cache or converted now; ``beside`` as in ``convert``."""
        if self._dry_run and self.converted(source) is None:
            raise NotYet(f"convert {source.resolved.image.info.reference}")
        return await run_blocking(convert, source.resolved.image, self._disk, self._cache, self._events, beside)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _bundle_now(self) -> Bundle:
        # Not imported where no bundle is needed: it would be a fifth of the time that finding a disk takes.
        from gns3_minivm.ops.kernels.bundles import bundle_at_hand, find_chosen

        if self._bundle is None:
            if self._dry_run and find_chosen(self._cache, self._kernel) is None:
                flavour = f" --flavour {self._kernel.name}" if self._kernel.name else ""
                raise NotYet(f"build a kernel bundle (gns3-minivm kernel build{flavour})")
            self._bundle = bundle_at_hand(self._cache, self._events, self._kernel)
        return self._bundle

    def _busybox(self) -> bytes:
        bundle = self._bundle_now()
        if bundle.busybox is None:
            raise UsageError(
                f"the kernel bundle {bundle.flavour} {bundle.kernel_version} has no busybox to make a root from",
                hint="Use an appliance with its own image, or another kernel bundle.",
            )
        return bundle.busybox.read_bytes()

    def _appliances(self) -> Appliances:
        # Brings pydantic with it, which an image named by its transport does not need.
        from gns3_minivm.appliances import Appliances

        if self._found_appliances is None:
            self._found_appliances = Appliances(self._appliance_folders)
        return self._found_appliances

    def _connect(self) -> Engine:
        if self._engine is None:
            self._engine = connect()
        return self._engine


def _only_find(engine: Engine, build: Build, options: BuildOptions, _events: Events) -> str:
    from gns3_minivm.images.engine.build import find_built

    tag = None if options.rebuild else find_built(engine, build)
    if tag is None:
        raise NotYet(f"build the Dockerfile of {build.name} with the Docker engine")
    return tag
