"""What the doctor asks a server: its computes' state, and who names an image file."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.errors import NotFoundError, ServerError
from gns3_minivm.gns3 import replies
from gns3_minivm.gns3.model import LOCAL_COMPUTE, SCRATCH_PROJECT, Compute, ComputeHealth, ImageUse, NodeTrial
from gns3_minivm.gns3.projects import ProjectRoutes

_TRIAL = {
    "platform": "x86_64",
    "ram": 32,
    "adapters": 0,
    "console_type": "telnet",
    "options": "-version",
    "replicate_network_connection_state": False,
}
_TRIAL_LOOKS = 20
_TRIAL_PAUSE_S = 0.5


class HealthRoutes(ProjectRoutes):
    """Routes that both APIs have alike."""

    async def compute_health(self) -> list[ComputeHealth]:
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
            kvm="x86_64" in kvm if isinstance(kvm, list) else None,
            qemu_versions=versions,
        )

    async def qemu_versions(self, compute_id: str = LOCAL_COMPUTE) -> tuple[str, ...] | None:
        return None

    async def try_node(self, compute_id: str = LOCAL_COMPUTE) -> NodeTrial:
        project = await self.create_project(f"{SCRATCH_PROJECT}{uuid.uuid4()}")
        try:
            body = {"node_type": "qemu", "name": "version", "compute_id": compute_id, "properties": _TRIAL}
            path = f"/projects/{quote(project.project_id)}/nodes"
            made = await self._object("POST", path, "make a node", body, timeout_s=self._transport.limits.creation_s)
            node_id, fault = str(made.get("node_id")), ""
            try:
                await self.start_node(project.project_id, node_id, watch_s=0)
            except ServerError as error:
                # Also raised where it has ended already, as it shall.
                fault = error.message
            version = await self._logged_version(project.project_id, node_id)
        finally:
            await self._discard(project.project_id)
        # GNS3 starts ubridge after QEMU, and refuses the whole if it cannot.
        ubridge = False if "ubridge" in fault.lower() else True if version else None
        return NodeTrial(version, ubridge, "" if ubridge else fault)

    async def _logged_version(self, project_id: str, node_id: str) -> str | None:
        for _ in range(_TRIAL_LOOKS):
            log = await self.node_log(project_id, node_id)
            if found := re.search(r"QEMU emulator version (\S+)", log):
                return found[1]
            if not log:
                break
            await asyncio.sleep(_TRIAL_PAUSE_S)
        return None

    async def image_uses(self, filenames: Collection[str]) -> list[ImageUse]:
        uses = []
        for item in await self._list("/templates", "list the templates"):
            who = f"template {item.get('name')}"
            uses += [ImageUse(name, who, str(item.get("template_id"))) for name in _named(item, filenames)]
        for item in await self._list("/projects", "list the projects"):
            project = replies.project(item)
            path = f"/projects/{quote(project.project_id)}/nodes"
            try:
                nodes = await self._list(path, f"list the nodes of project {project.name}")
            except NotFoundError:
                continue  # deleted at this moment
            for node in nodes:
                who = f"node {node.get('name')} of project {project.name}"
                uses += [ImageUse(name, who) for name in _named(node, filenames)]
        return uses


def _named(item: Mapping[str, Any], filenames: Collection[str]) -> Iterable[str]:
    # Wherever in it: also in a field that we do not know, a path, or the options for QEMU.
    text = json.dumps(item)
    return [filename for filename in filenames if filename in text]
