"""Reads what planning needs of one server, with few requests: its images and its templates."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.gns3.model import ServerImage, ServerTemplate
from gns3_minivm.gns3.server import Server


@dataclass(frozen=True)
class Observed:
    """One server's state; ``images`` are by compute and file name."""

    url: str
    one_name_per_content: bool
    images: Mapping[str, Mapping[str, ServerImage]]
    templates: tuple[ServerTemplate, ...]


async def observe(server: Server, desired: Sequence[DesiredAppliance]) -> Observed:
    """Read a server's state, as far as it matters to ``desired``.

    Raises UsageError if the server's API does not take one of the templates, before anything is built for it.
    """
    for appliance in desired:
        server.check_template(appliance.template)
    computes = sorted({appliance.compute_id for appliance in desired}) or ["local"]
    templates, lists = await asyncio.gather(
        server.templates(), asyncio.gather(*(server.images(compute) for compute in computes))
    )
    images = {
        compute: {image.filename: image for image in found} for compute, found in zip(computes, lists, strict=True)
    }
    for appliance in desired:
        await _settle_doubts(server, appliance, images[appliance.compute_id])
    return Observed(server.url, server.one_name_per_content, images, tuple(templates))


async def _settle_doubts(server: Server, appliance: DesiredAppliance, images: dict[str, ServerImage]) -> None:
    """Look at the file itself where only the checksum differs: listed checksums may be out of date."""
    for file in appliance.files:
        image = images.get(file.filename)
        if image is None or None in (file.md5, image.md5) or image.md5 == file.md5:
            continue
        if image.size_bytes == file.size_bytes and (md5 := await server.image_md5(file.filename, appliance.compute_id)):
            images[file.filename] = replace(image, md5=md5)
