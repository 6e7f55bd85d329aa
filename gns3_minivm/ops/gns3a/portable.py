"""Whether others can make an appliance's images again from what a ``.gns3a`` file says about them."""

from __future__ import annotations

from dataclasses import dataclass

from gns3_minivm.base import resources
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.images.resolve import REGISTRY_SCHEME
from gns3_minivm.ops.gns3a.wheel import wheel_of
from gns3_minivm.ops.templates.sources import FoundImage, Workshop


@dataclass(frozen=True)
class Portability:
    """``image`` and ``wheel`` are what others make disk and kernel from; ``disk`` and ``kernel`` why they cannot."""

    image: str = ""
    wheel: str = ""
    disk: str = ""
    kernel: str = ""


async def portability(source: FoundImage, bundle: Bundle, workshop: Workshop, events: Events) -> Portability:
    """Find out what others can make again; a registry is asked whether it has the image."""
    image, no_disk = await _image_for_all(source, workshop)
    host = image.removeprefix(f"{REGISTRY_SCHEME}://").partition("/")[0]
    if image.startswith(REGISTRY_SCHEME) and await run_blocking(_is_here, host):
        events.warn(f"the registry {host} is this machine; others cannot reach it under that name")
    wheel = wheel_of(bundle)
    name = f"{bundle.flavour} {bundle.kernel_version}"
    no_kernel = (
        ""
        if wheel
        else f"the kernel bundle {name} was built on this machine, not installed with the package gns3-minivm-kernel"
    )
    if image and source.resolved.appliance and source.resolved.appliance.embedded and no_kernel:
        image, no_disk = "", f"it is made with the busybox of {no_kernel.removeprefix('the ')}"
    return Portability(image, wheel, no_disk, no_kernel)


def _is_here(host: str) -> bool:
    # Brings an HTTP client with it.
    from gns3_minivm.images.registry.client import is_loopback

    return is_loopback(host)


async def _image_for_all(source: FoundImage, workshop: Workshop) -> tuple[str, str]:
    """The name by which anybody can get an image, or why there is none."""
    image, appliance = source.resolved.image, source.resolved.appliance
    if appliance is not None and appliance.embedded:
        if appliance.folder.parent == resources.folder("appliances"):
            return appliance.name, ""
        return "", f"the appliance {appliance.name} is only in a folder of this user"
    pinned = image.source_digest.pinned
    if not pinned:
        return "", f"{image.info.reference} is only on this machine: push it to a registry, and export it from there"
    name = f"{REGISTRY_SCHEME}://{pinned}"
    try:
        there = await workshop.find(name)
    except MiniVMError as error:
        # An engine has digests also for images that were never pushed.
        return "", f"{pinned} is unavailable: {error.message}"
    if there.recipe.id != source.recipe.id:
        return "", f"{pinned} is a different image in the registry"
    return name, ""
