"""Reads what planning needs of one server, with few requests: its templates and its images.

Where nothing is to be done these are two requests (on API v2 one more for each further compute); what only matters
before something is written is asked for only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from gns3_minivm.agent.desired import DesiredAppliance, WantedFile
from gns3_minivm.agent.files import newest, numbered_names
from gns3_minivm.agent.kernels import keep_kernel
from gns3_minivm.agent.read_back import read_back, read_md5
from gns3_minivm.base.errors import NotFoundError, UsageError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.model import IMAGE_FIELDS, LOCAL_COMPUTE, ServerImage, ServerTemplate
from gns3_minivm.gns3.server import Server


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One server's state; ``images`` are by compute and file name.

    ``desired`` is what was asked about, each on the compute that its nodes run on.  ``qemu_versions`` are by compute,
    where they matter and can be known (API v3 does not tell).
    """

    url: str
    one_name_per_content: bool
    images: Mapping[str, Mapping[str, ServerImage]]
    templates: tuple[ServerTemplate, ...]
    desired: tuple[DesiredAppliance, ...] = ()
    qemu_versions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    copies: Mapping[str, Mapping[str, ServerImage]] = field(default_factory=dict)
    """What other computes have of images that the server keeps in one place; they are never brought up to date."""

    def template(self, template_id: str) -> ServerTemplate | None:
        return self._by_id.get(template_id)

    def templates_named(self, name: str) -> list[ServerTemplate]:
        return self._by_name.get(name, [])

    @cached_property
    def _by_id(self) -> dict[str, ServerTemplate]:
        return {template.template_id: template for template in self.templates}

    @cached_property
    def _by_name(self) -> dict[str, list[ServerTemplate]]:
        found: dict[str, list[ServerTemplate]] = {}
        for template in self.templates:
            found.setdefault(template.name, []).append(template)
        return found


async def observe(
    server: Server,
    desired: Sequence[DesiredAppliance],
    *,
    compute: str | None = None,
    verify: bool = False,
    events: Events | None = None,
) -> Observed:
    """Read a server's state, as far as it matters to ``desired``.

    With ``verify`` each image file is read back, which is told to ``events``.
    ``compute`` is where nodes of new templates shall run of which ``desired`` does not say it; without it, the server's
    default.  Raises UsageError if the server's API does not take one of the templates, before anything is built for it,
    or if there is no such compute.
    """
    for appliance in desired:
        server.check_template(replace(appliance.template, compute_id=LOCAL_COMPUTE))
    templates = {template.template_id: template for template in await server.templates()}
    here = await _placed(server, desired, templates, compute)
    computes = sorted({appliance.compute_id for appliance in here}) or [LOCAL_COMPUTE]
    asked = computes if server.images_per_compute else computes[:1]
    lists = await asyncio.gather(*(_of_compute(server, compute_id, server.images) for compute_id in asked))
    lists += lists[:1] * (len(computes) - len(asked))
    images = {
        compute_id: {image.filename: image for image in found}
        for compute_id, found in zip(computes, lists, strict=True)
    }
    if verify:
        await _verify(server, here, templates, images, events or Events())
    here = tuple(_with_its_kernel(item, templates, images[item.compute_id]) for item in here)
    for appliance in here:
        await _settle_doubts(server, appliance, images[appliance.compute_id])
    versions = await _qemu_versions(server, here, templates, images)
    copies = {} if server.images_per_compute else await _copies(server, computes)
    if verify:
        for appliance in here:
            await _read_copies(server, appliance, copies.get(appliance.compute_id, {}), events or Events())
    return Observed(
        url=server.url,
        one_name_per_content=server.one_name_per_content,
        images=images,
        templates=tuple(templates.values()),
        desired=here,
        qemu_versions=versions,
        copies=copies,
    )


async def _placed(
    server: Server, desired: Sequence[DesiredAppliance], templates: Mapping[str, ServerTemplate], compute: str | None
) -> tuple[DesiredAppliance, ...]:
    """Each appliance with the compute that its nodes run on: an existing template's own, which cannot be changed."""
    here = []
    default: str | None = None
    for appliance in desired:
        existing = templates.get(appliance.template.template_id)
        own = existing.values.compute_id if existing is not None and existing.values is not None else None
        stated = appliance.template.compute_id or compute
        chosen = own or stated or default
        if chosen is None:
            # Asked for only here: with all templates in place it is not needed.
            chosen = default = await server.default_compute()
        # What was asked for is told, and not done: nodes of this template are there already.
        offered = (("compute_id", stated),) if own and stated and stated != own else ()
        version = appliance.template.version if server.have_template_versions else ""
        template = replace(appliance.template, compute_id=chosen, version=version)
        here.append(replace(appliance, template=template, offered=offered))
    return tuple(here)


async def _copies(server: Server, computes: Iterable[str]) -> dict[str, dict[str, ServerImage]]:
    others = [compute_id for compute_id in computes if compute_id != LOCAL_COMPUTE]
    lists = await asyncio.gather(*(_of_compute(server, compute_id, server.disk_images) for compute_id in others))
    return {
        compute_id: {image.filename: image for image in found} for compute_id, found in zip(others, lists, strict=True)
    }


async def _of_compute(
    server: Server, compute_id: str, read: Callable[[str], Awaitable[list[ServerImage]]]
) -> list[ServerImage]:
    try:
        return await read(compute_id)
    except NotFoundError as error:
        computes = await server.computes()
        if compute_id in {compute.compute_id for compute in computes}:
            raise
        known = ", ".join(
            compute.compute_id if compute.name in ("", compute.compute_id) else f"{compute.compute_id} ({compute.name})"
            for compute in computes
        )
        raise UsageError(
            f"{server.url}: there is no compute {compute_id!r}", hint=f"Its computes, by their ids: {known}."
        ) from error


async def _read_copies(
    server: Server, appliance: DesiredAppliance, copies: dict[str, ServerImage], events: Events
) -> None:
    for name in {file.filename for file in appliance.files} & copies.keys():
        with events.step(f"Read {name} of compute {appliance.compute_id} of {server.url}"):
            md5 = await read_md5(server, name, appliance.compute_id)
        copies[name] = replace(copies[name], md5=md5)


def _with_its_kernel(
    appliance: DesiredAppliance, templates: Mapping[str, ServerTemplate], images: Mapping[str, ServerImage]
) -> DesiredAppliance:
    existing = templates.get(appliance.template.template_id)
    if existing is None or existing.values is None:
        return appliance
    whole = [name for name, image in images.items() if image.state == "whole"]
    return keep_kernel(appliance, existing.values, whole)


async def _verify(
    server: Server,
    desired: Iterable[DesiredAppliance],
    templates: Mapping[str, ServerTemplate],
    images: Mapping[str, dict[str, ServerImage]],
    events: Events,
) -> None:
    """Replace what is listed by what really lies there, for files that are wanted and for those of templates."""
    files: dict[str, list[WantedFile]] = {}
    for item in desired:
        existing = templates.get(item.template.template_id)
        has = existing.values if existing is not None else None
        names = [getattr(has, field) for field in IMAGE_FIELDS] if has is not None else []
        wanted = {file.filename: file for file in item.files}
        files.setdefault(item.compute_id, []).extend(
            [*(WantedFile(name) for name in names if name and name not in wanted), *wanted.values()]
        )
    places = {compute_id: compute_id if server.images_per_compute else LOCAL_COMPUTE for compute_id in files}
    for place in sorted(set(places.values())):
        computes = [compute_id for compute_id, where in places.items() if where == place]
        wanted_here = [file for compute_id in computes for file in files[compute_id]]
        found = await read_back(server, place, images[computes[0]], wanted_here, events)
        for compute_id in computes:
            images[compute_id].update(found)


async def _settle_doubts(server: Server, appliance: DesiredAppliance, images: dict[str, ServerImage]) -> None:
    """Look at the file itself where only the checksum differs: listed checksums may be out of date."""
    for file in appliance.files:
        names = numbered_names(images, file)
        if not names or newest(images, file) is not None:
            continue
        for name in names:
            image = images[name]
            if image.md5 == file.md5:
                # API v3 records a wrong size where two agents brought a file at once.
                on_disk = await server.disk_images(appliance.compute_id)
                images[name] = next((there for there in on_disk if there.filename == name), image)
                continue
            if image.size_bytes != file.size_bytes:
                continue
            md5 = await server.image_md5(name, appliance.compute_id)
            if md5 is None and server.images_per_compute:
                md5 = await read_md5(server, name, appliance.compute_id)
            if md5 is not None:
                images[name] = replace(image, md5=md5)


async def _qemu_versions(
    server: Server,
    desired: Iterable[DesiredAppliance],
    templates: Mapping[str, ServerTemplate],
    images: Mapping[str, Mapping[str, ServerImage]],
) -> dict[str, Sequence[str]]:
    """QEMU's versions on the computes on which an appliance that is not complete yet cares about them."""
    computes = {
        appliance.compute_id
        for appliance in desired
        if appliance.qemu_minimum
        and (
            appliance.template.template_id not in templates
            or any(newest(images[appliance.compute_id], file) is None for file in appliance.files)
        )
    }
    found = {compute_id: await server.qemu_versions(compute_id) for compute_id in sorted(computes)}
    return {compute_id: versions for compute_id, versions in found.items() if versions is not None}
