"""Where a server runs nodes, and what its computes report about themselves."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ServerError
from gns3_minivm.gns3.model import LOCAL_COMPUTE, VM_COMPUTE, Compute, ComputeHealth
from gns3_minivm.gns3.routes import Routes


class ComputeRoutes(Routes):
    """The computes of a server."""

    @abstractmethod
    async def computes(self) -> list[Compute]:
        """Where nodes can run; "local" comes first if the server runs nodes itself."""

    @abstractmethod
    async def qemu_versions(self, compute_id: str = LOCAL_COMPUTE) -> tuple[str, ...] | None:
        """Versions of a compute's QEMU for our guests; None if the API does not report them."""

    async def default_compute(self) -> str:
        """Where MiniVMs run by default: "local", or "vm" where "local" has no QEMU (Windows, macOS)."""
        # Only a server that the GUI starts on a desktop can be on a platform without QEMU; others need not be asked.
        if self._runs_beside_gui:
            computes = {compute.compute_id: compute for compute in await self.computes()}
            local = computes.get(LOCAL_COMPUTE)
            if VM_COMPUTE in computes and (local is None or local.platform in ("win32", "darwin", "windows", "macos")):
                return VM_COMPUTE
        return LOCAL_COMPUTE

    async def compute_health(self) -> list[ComputeHealth]:
        """What each compute says about itself."""
        computes, answer = await asyncio.gather(self.computes(), self._statistics())
        statistics = {str(item.get("compute_id")): item.get("statistics") for item in answer}
        return list(await asyncio.gather(*(self._health(c, statistics.get(c.compute_id)) for c in computes)))

    async def _statistics(self) -> list[dict[str, Any]]:
        try:
            return await self._list("/statistics", "ask for statistics", timeout_s=self._node_s)
        except ServerError:
            # API v2 before 2.2.19 has no such route, and one compute that is away can spoil it for all.
            return []

    async def _health(self, compute: Compute, statistics: object) -> ComputeHealth:
        said: Mapping[str, Any] = statistics if isinstance(statistics, dict) else {}
        disk_used, memory_free = said.get("disk_usage_percent"), said.get("memory_free")
        try:
            path = f"/computes/{quote(compute.compute_id)}/qemu/capabilities"
            kvm = (await self._object("GET", path, f"ask compute {compute.name} what its QEMU can do")).get("kvm")
            versions = await self.qemu_versions(compute.compute_id)
        except ServerError as error:
            return ComputeHealth(compute=compute, error=error.message)
        return ComputeHealth(
            compute=compute,
            disk_used_percent=disk_used if isinstance(disk_used, int) else None,
            memory_free_bytes=memory_free if isinstance(memory_free, int) else None,
            kvm=X86_64.linux in kvm if isinstance(kvm, list) else None,
            qemu_versions=versions,
        )
