"""Starts a node for a moment, to see whether its compute can."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import quote

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ServerError
from gns3_minivm.gns3.model import LOCAL_COMPUTE, NodeTrial
from gns3_minivm.gns3.nodes import NodeRoutes
from gns3_minivm.gns3.projects import ProjectRoutes

_TRIAL = {
    "platform": X86_64.qemu,
    "ram": 32,
    "adapters": 0,
    "console_type": "telnet",
    "options": "-version",
    "replicate_network_connection_state": False,
}
_TRIAL_POLLS = 20
_TRIAL_PAUSE_S = 0.5


class TrialRoutes(NodeRoutes, ProjectRoutes):
    """Trials of computes."""

    async def try_node(self, compute_id: str = LOCAL_COMPUTE) -> NodeTrial:
        """Start QEMU for a moment, only to print its version, in a project that is made for it and deleted."""
        async with self.scratch_project() as project:
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
        # GNS3 starts ubridge after QEMU, and refuses the whole if it cannot.
        ubridge = False if "ubridge" in fault.lower() else True if version else None
        return NodeTrial(version, ubridge, "" if ubridge else fault)

    async def _logged_version(self, project_id: str, node_id: str) -> str | None:
        for _ in range(_TRIAL_POLLS):
            log = await self.node_log(project_id, node_id)
            if found := re.search(r"QEMU emulator version (\S+)", log):
                return found[1]
            if not log:
                break
            await asyncio.sleep(_TRIAL_PAUSE_S)
        return None
