"""Building the monolithic kernel: with this machine's tools, or where some are missing in a container."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import EngineError, ToolError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.packages.apt import AptSource, has_apt
from gns3_minivm.bundle.packages.package_set import DebFiles, KernelPart, PackageSource
from gns3_minivm.bundle.source import monolithic
from gns3_minivm.bundle.source.toolchain import HostTools, Toolchain, missing_tools
from gns3_minivm.ops.kernels.container import CONTAINER_IMAGE, ContainerTools


def build_monolithic(
    cache: Cache, events: Events, *, debs: Sequence[Path] = (), container: str | None = None
) -> Bundle:
    """Compile the newest source that this machine's apt offers, or the one of ``debs`` (blocking).

    ``container`` names the image to compile in, even if this machine has the tools.  Raises PackageError, ToolError,
    EngineError, DiskFullError.
    """
    source: PackageSource | None = AptSource(cache, kernel=KernelPart.SOURCE) if has_apt() else None
    if debs:
        source = DebFiles(debs, kernel=KernelPart.SOURCE)
    if container:
        return monolithic.build(source, ContainerTools(container), cache, events)
    missing = missing_tools()
    if not missing:
        return monolithic.build(source, HostTools(), cache, events)
    events.info(f"this machine lacks {', '.join(missing)}, so the kernel is compiled in a container")
    tools: Toolchain = ContainerTools(CONTAINER_IMAGE)
    try:
        return monolithic.build(source, tools, cache, events)
    except EngineError as error:
        raise ToolError(
            f"this machine lacks packages that are needed to compile a kernel ({', '.join(missing)}), and no "
            f"container is available: {error.message}",
            hint=f"Run `sudo apt install {' '.join(missing)}`, start a Docker engine, or install a ready kernel: "
            "`pip install gns3-minivm-kernel`.",
        ) from error
