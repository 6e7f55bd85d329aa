"""The building half of an operation on servers: finds all images at the start, builds each file when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.bounded import bounded_map
from gns3_minivm.base.errors import BugError, MiniVMError
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.templates.sources import FoundImage, NotYet, Workshop
from gns3_minivm.ops.templates.template import describe
from gns3_minivm.template_settings.table import TemplateSettings

_FINDING_AT_ONCE = 8
"""Images that are looked for at once: mostly waiting for a registry."""
_CONVERTING_AT_ONCE = 2
"""Disks that are made at once: while one is fetched or measured, the other one keeps the processors busy."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An appliance or image that servers should have.

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
    """The result of looking for an appliance: its template, or why there is none.

    ``pending`` is the step without which a dry run cannot tell.
    """

    wanted: Wanted
    desired: DesiredAppliance | None = None
    error: MiniVMError | None = None
    pending: str = ""


class BuiltSupply:
    """Images and files for the time of an operation; close it.

    Each image has a workshop of its own, since an engine's connection serves one at a time.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._workshops: list[Workshop] = []
        self._found: dict[Wanted, tuple[Workshop, FoundImage]] = {}
        self._bundles: dict[KernelChoice, Bundle | None] = {}
        self._builds: dict[str, asyncio.Task[Artifact]] = {}
        self._converting = asyncio.Semaphore(_CONVERTING_AT_ONCE)

    async def find(self, wanted: Sequence[Wanted], *, catalogue: str = "") -> list[Found]:
        """Look for all images, building Dockerfiles where needed; one that fails does not stop the others.

        A kernel bundle that nobody has named is not made for this: where templates keep the kernel that they have, it
        is not needed.  ``make_kernels`` makes it.
        """

        async def one(item: Wanted) -> Found:
            return await self._guarded(item, self._find_image(item))

        missing = [item for item in wanted if item not in self._found]
        failures = {found.wanted: found for found in await bounded_map(one, missing, at_once=_FINDING_AT_ONCE)}
        described = []
        for item in wanted:
            failed = failures.get(item)
            done = failed is None or not (failed.error or failed.pending)
            described.append(await self._guarded(item, self._describe(item, catalogue)) if done else failed)
        return [item for item in described if item is not None]

    async def make_kernels(self) -> None:
        """Make the kernel bundles that were left out so far.

        Raises NotYet in a dry run, and what making one raises.
        """
        for choice, bundle in self._bundles.items():
            if bundle is None:
                self._bundles[choice] = await self._workshop(choice, None).bundle()

    async def _guarded(self, wanted: Wanted, work: Awaitable[DesiredAppliance | None]) -> Found:
        try:
            return Found(wanted, await work)
        except NotYet as step:
            return Found(wanted, pending=step.step)
        except MiniVMError as error:
            return Found(wanted, error=error)

    async def _find_image(self, wanted: Wanted) -> None:
        workshop = self._workshop(wanted.kernel or self._context.kernel, wanted.size)
        self._found[wanted] = workshop, await workshop.find(wanted.image)

    async def _describe(self, wanted: Wanted, catalogue: str) -> DesiredAppliance:
        choice = wanted.kernel or self._context.kernel
        workshop, source = self._found[wanted]
        return describe(
            source,
            await self._bundle(choice, workshop),
            wanted.template,
            name=wanted.name,
            converted=workshop.converted(source),
            catalogue=catalogue,
            kernel_stated=choice != KernelChoice(),
            kernel_names=choice.kept_names,
        )

    async def _bundle(self, choice: KernelChoice, workshop: Workshop) -> Bundle | None:
        """The bundle of a choice; one that is named has to be there, or is made."""
        if self._bundles.get(choice) is None:
            found = await workshop.bundle_if_there()
            self._bundles[choice] = found or (None if choice == KernelChoice() else await workshop.bundle())
        return self._bundles[choice]

    async def start(self, filenames: Iterable[str]) -> None:
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
            for artifact in bundle.artifacts if bundle else ():
                if artifact.filename == filename:
                    return artifact
        makers = (place for place in self._found.values() if place[1].recipe.filename == filename)
        workshop, source = next(makers, (None, None))
        if workshop is None or source is None:
            raise BugError(f"{filename} should be uploaded, but no recipe makes it")
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
        workshop = Workshop(replace(self._context, kernel=kernel).with_image(size=size))
        self._workshops.append(workshop)
        return workshop
