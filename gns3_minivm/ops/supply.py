"""The building half of an operation on servers: finds all images at the start, builds each file when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.artifacts import Artifact
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.config import Settings
from gns3_minivm.errors import BugError, MiniVMError
from gns3_minivm.events import Events
from gns3_minivm.ops.kernel_choice import KernelChoice
from gns3_minivm.ops.sources import ImageSettings, NotYet, Source, Workshop
from gns3_minivm.ops.template import TemplateSettings, describe

_FINDING_AT_ONCE = 8
"""Images that are looked for at once: mostly waiting for a registry."""
_CONVERTING_AT_ONCE = 2
"""Disks that are made at once: while one is fetched or measured, the other one keeps the processors busy."""


@dataclass(frozen=True)
class Wanted:
    """An appliance or image that servers shall have.

    ``name``, ``size`` and ``kernel`` replace the image's name and the usual ones.
    """

    image: str
    name: str | None = None
    template: TemplateSettings = field(default_factory=TemplateSettings)
    size: str | None = None
    kernel: KernelChoice | None = None

    @property
    def label(self) -> str:
        return self.name or self.image


@dataclass(frozen=True)
class Found:
    """What came of looking for an appliance: its template, or why there is none.

    ``pending`` is the step without which a dry run cannot tell.
    """

    wanted: Wanted
    desired: DesiredAppliance | None = None
    error: MiniVMError | None = None
    pending: str = ""


class Supply:
    """Images and files for the time of an operation; close it.

    Each image has a workshop of its own, since an engine's connection serves one at a time.
    """

    def __init__(
        self,
        settings: Settings,
        image: ImageSettings,
        kernel: KernelChoice,
        events: Events,
        *,
        dry_run: bool = False,
    ) -> None:
        self._settings = settings
        self._image = image
        self._events = events
        self._dry_run = dry_run
        self._kernel = kernel
        self._workshops: list[Workshop] = []
        self._sources: dict[str, tuple[Workshop, Source]] = {}
        self._bundles: dict[KernelChoice, Bundle] = {}
        self._builds: dict[str, asyncio.Task[Artifact]] = {}
        self._converting = asyncio.Semaphore(_CONVERTING_AT_ONCE)

    async def find(self, wanted: Sequence[Wanted], *, catalogue: str = "") -> list[Found]:
        """Look for all images, building Dockerfiles where needed; one that fails does not stop the others.

        Raises what making the kernel bundle raises, without which there is no template at all.
        """
        choices = list(dict.fromkeys(item.kernel or self._kernel for item in wanted))
        failures: dict[KernelChoice, Found] = {}
        for choice in choices:
            try:
                self._bundles[choice] = await self._workshop(choice, None).bundle()
            except NotYet as step:
                failures[choice] = Found(Wanted(""), pending=step.step)
            except MiniVMError as error:
                if len(choices) == 1:
                    raise
                failures[choice] = Found(Wanted(""), error=error)
        slots = asyncio.Semaphore(_FINDING_AT_ONCE)

        async def one(item: Wanted) -> Found:
            choice = item.kernel or self._kernel
            if choice in failures:
                return replace(failures[choice], wanted=item)
            async with slots:
                return await self._find_one(item, choice, catalogue)

        return list(await asyncio.gather(*(one(item) for item in wanted)))

    async def _find_one(self, wanted: Wanted, choice: KernelChoice, catalogue: str) -> Found:
        try:
            workshop = self._workshop(choice, wanted.size)
            source = await workshop.find(wanted.image)
            self._sources[source.recipe.filename] = workshop, source
            desired = describe(
                source,
                self._bundles[choice],
                wanted.template,
                name=wanted.name,
                converted=workshop.converted(source),
                catalogue=catalogue,
                kernel_stated=choice != KernelChoice(),
            )
            return Found(wanted, desired)
        except NotYet as step:
            return Found(wanted, pending=step.step)
        except MiniVMError as error:
            return Found(wanted, error=error)

    def start(self, filenames: Iterable[str]) -> None:
        """Begin to build files that servers will ask for, so that the first upload is not waited for."""
        for filename in filenames:
            self._build(filename)

    async def artifact(self, filename: str) -> Artifact:
        """A file by its recipe's name, built once however many servers ask for it.

        Raises ImageError, HostError.
        """
        return await asyncio.shield(self._build(filename))

    def _build(self, filename: str) -> asyncio.Task[Artifact]:
        if filename not in self._builds:
            self._builds[filename] = asyncio.create_task(self._make(filename))
        return self._builds[filename]

    async def _make(self, filename: str) -> Artifact:
        for bundle in self._bundles.values():
            for artifact in bundle.artifacts:
                if artifact.filename == filename:
                    return artifact
        if filename not in self._sources:
            raise BugError(f"{filename} is to be uploaded, and nobody knows how it is made")
        workshop, source = self._sources[filename]
        async with self._converting:
            return await workshop.disk(source)

    async def close(self) -> None:
        """Stop what is being built and give up the connections."""
        for task in self._builds.values():
            task.cancel()
        # Also takes notice of failures that no server came to ask for.
        await asyncio.gather(*self._builds.values(), return_exceptions=True)
        for workshop in self._workshops:
            workshop.close()

    def _workshop(self, kernel: KernelChoice, size: str | None) -> Workshop:
        image = self._image if size is None else replace(self._image, size=size)
        workshop = Workshop(self._settings, image, self._events, kernel=kernel, dry_run=self._dry_run)
        self._workshops.append(workshop)
        return workshop
