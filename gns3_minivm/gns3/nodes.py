"""Nodes and the files in their directories, by the same routes below /v2 and /v3."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.errors import ConflictError, NodeError, NotFoundError, UsageError
from gns3_minivm.gns3 import messages, replies
from gns3_minivm.gns3.messages import checked
from gns3_minivm.gns3.model import Node
from gns3_minivm.gns3.routes import Routes

_LOG_LINES = 12
_START_HINT = (
    "Check the node's kernel command line and options, and the server: it needs ubridge, and KVM for -cpu host."
)
_ENDED_MEANWHILE = ("Not connected", "Could not start Telnet")
"""Parts of replies to a start if QEMU exited while the node was being wired: its bridge or its console is gone."""
_NOTICED_S = 3.0
"""By then a server has noticed that a node's process has exited."""


class NodeRoutes(Routes):
    """The nodes of a server's projects."""

    def _node_from(self, answer: Mapping[str, Any]) -> Node:
        node = replies.node(answer)
        try:
            everywhere = ipaddress.ip_address(node.console_host.strip("[]")).is_unspecified
        except ValueError:
            everywhere = not node.console_host
        # A server that listens on all its addresses is reached where it was reached already.
        return replies.with_console_host(node, self._transport.address.host) if everywhere else node

    def _node_path(self, project_id: str, node_id: str, rest: str = "") -> str:
        return f"/projects/{quote(project_id)}/nodes/{quote(node_id)}{rest}"

    async def nodes(self, project_id: str) -> list[Node]:
        """All nodes; answers also while a node is being stopped."""
        answer = await self._list(f"/projects/{quote(project_id)}/nodes", f"list the nodes of project {project_id}")
        # Of a closed project the nodes come as its file has them: without the project's id.
        return [self._node_from({"project_id": project_id, **item}) for item in answer]

    async def node(self, project_id: str, node_id: str) -> Node:
        """One node; waits while another request to this node is under way."""
        return self._node_from(await self.node_settings(project_id, node_id))

    async def node_settings(self, project_id: str, node_id: str) -> Mapping[str, Any]:
        """A node of any kind as the server has it, by GNS3's names."""
        path = self._node_path(project_id, node_id)
        return await self._object("GET", path, f"read the node {node_id}", timeout_s=self._node_s)

    async def create_node(
        self,
        project_id: str,
        template_id: str,
        *,
        name: str | None = None,
        x: int = 0,
        y: int = 0,
        compute_id: str | None = None,
    ) -> Node:
        """Make a node from a template; without ``name`` the server makes one up.

        ``compute_id`` has no effect on API v2 where the template names a compute.
        """
        body: dict[str, Any] = {"x": x, "y": y}
        if compute_id is not None:
            body["compute_id"] = compute_id
        path = f"/projects/{quote(project_id)}/templates/{quote(template_id)}"
        # The controller may first copy images to the compute, and hash them.
        node = self._node_from(
            await self._object(
                "POST",
                path,
                f"create a node from template {template_id}",
                body,
                timeout_s=self._transport.limits.creation_s,
            )
        )
        if name is None or node.name == name:
            return node
        # v3 ignores a name at creation; on v2 the same way keeps the one code path.
        return await self.update_node(project_id, node.node_id, name=name)

    async def update_node(
        self,
        project_id: str,
        node_id: str,
        *,
        name: str | None = None,
        properties: Mapping[str, Any] | None = None,
        x: int | None = None,
        y: int | None = None,
        symbol: str | None = None,
        label: Mapping[str, Any] | None = None,
        node_type: str = "qemu",
    ) -> Node:
        """Rename a stopped node, or change some of its properties (GNS3's names), effective at the next start.

        Place, symbol and label (GNS3's names) can always be changed.  The properties of a node of another ``node_type``
        are not checked here.
        """
        given: dict[str, Any] = {"name": name, "x": x, "y": y, "symbol": symbol}
        given |= {"properties": properties and dict(properties), "label": label and dict(label)}
        values = {key: value for key, value in given.items() if value is not None}
        model = messages.NodeUpdate if node_type == "qemu" else messages.OtherNodeUpdate
        body = checked(model, values, f"node {node_id}")
        path = self._node_path(project_id, node_id)
        return self._node_from(
            await self._object("PUT", path, f"update the node {node_id}", body, timeout_s=self._node_s)
        )

    async def start_node(self, project_id: str, node_id: str, *, watch_s: float = 4) -> Node:
        """Start a node and watch it for ``watch_s``: that it was started does not mean that it runs.

        Raises NodeError with the end of its qemu.log if it has ended by then.
        """
        # v3 wants a body, v2 takes one.
        path = self._node_path(project_id, node_id, "/start")
        try:
            await self._command("POST", path, f"start the node {node_id}", {}, timeout_s=self._node_s)
        except ConflictError as error:
            if any(words in error.message for words in _ENDED_MEANWHILE):
                node = await self._running(project_id, node_id, _NOTICED_S)
                if node.status != "started":
                    raise await self._ended(node) from error
            # QEMU said no at once (its own words are in the answer), or the server lacks something such as ubridge.
            raise NodeError(error.message, hint=_START_HINT) from error
        node = await self._running(project_id, node_id, watch_s)
        if node.status != "started":
            raise await self._ended(node)
        return node

    async def _running(self, project_id: str, node_id: str, watch_s: float) -> Node:
        """The node when it does not run any more, or after ``watch_s`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + watch_s
        while True:
            node = await self.node(project_id, node_id)
            if node.status != "started" or loop.time() >= deadline:
                return node
            await asyncio.sleep(min(0.5, max(0.0, deadline - loop.time())))

    async def _ended(self, node: Node) -> NodeError:
        lines = (await self.node_log(node.project_id, node.node_id)).strip().splitlines()[-_LOG_LINES:]
        said = "; its qemu.log ends with:\n  " + "\n  ".join(lines) if lines else "; it left no qemu.log"
        return NodeError(
            f"{self.url}: node {node.name!r} was started but is already {node.status}{said}",
            hint=_START_HINT,
        )

    async def stop_node(self, project_id: str, node_id: str) -> Node:
        """Stop a node in the way its ``on_close`` says; may take two minutes."""
        path = self._node_path(project_id, node_id, "/stop")
        await self._command("POST", path, f"stop the node {node_id}", {}, timeout_s=self._node_s)
        return await self.node(project_id, node_id)

    async def delete_node(self, project_id: str, node_id: str) -> None:
        path = self._node_path(project_id, node_id)
        await self._command("DELETE", path, f"delete the node {node_id}", timeout_s=self._node_s)

    # Files of nodes

    async def read_node_file(self, project_id: str, node_id: str, path: str) -> bytes:
        """A file of the node's directory on its compute (not of the guest's disk)."""
        route = self._prefix + self._node_path(project_id, node_id, f"/files/{_inside(path)}")
        return await self._transport.send("GET", route, f"read the file {path} of node {node_id}")

    async def write_node_file(self, project_id: str, node_id: str, path: str, data: bytes) -> None:
        """Put a file into the node's directory, which is QEMU's working directory."""
        route = self._prefix + self._node_path(project_id, node_id, f"/files/{_inside(path)}")
        action = f"write the file {path} of node {node_id}"
        # The same bytes twice are the same file, so this POST may be repeated.
        headers = {"Content-Type": "application/octet-stream"}
        await self._transport.send("POST", route, action, data, headers=headers, repeat=True)

    async def node_log(self, project_id: str, node_id: str) -> str:
        """The node's qemu.log: its command line and what QEMU said; empty if there is none yet."""
        try:
            return (await self.read_node_file(project_id, node_id, "qemu.log")).decode("utf-8", "replace")
        except NotFoundError:
            return ""


def _inside(path: str) -> str:
    if path.startswith(("/", ".")) or ".." in path.split("/"):
        raise UsageError(f"file {path!r} is not inside the node's directory", hint="Use a plain relative path.")
    return quote(path)
