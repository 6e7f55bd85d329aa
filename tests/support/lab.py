"""A lab on a real GNS3 server: nodes made from one template, their consoles, their disks."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import LinkEnd, Node
from gns3_minivm.gns3.server import Server
from tests.support.gns3 import GNS3Process
from tests.support.telnet import Console, console
from tests.support.tools import require_tool


@dataclass
class Lab:
    """An open project; every method wants the node's identity only, its state is asked for."""

    process: GNS3Process
    server: Server
    project_id: str
    template_id: str

    async def add_node(self, name: str) -> Node:
        return await self.server.create_node(self.project_id, self.template_id, name=name)

    async def link(self, one: Node, other: Node, adapter: int = 0) -> str:
        ends = [LinkEnd(one.node_id, adapter), LinkEnd(other.node_id, adapter)]
        return (await self.server.create_link(self.project_id, ends)).link_id

    async def start(self, *nodes: Node) -> None:
        # The watch for an early end is as long as a boot; the console tells sooner.
        await asyncio.gather(*(self.server.start_node(self.project_id, node.node_id, watch_s=0) for node in nodes))

    async def stop(self, node: Node) -> None:
        await self.server.stop_node(self.project_id, node.node_id)

    async def status(self, node: Node) -> str:
        return (await self.server.node(self.project_id, node.node_id)).status

    @asynccontextmanager
    async def console(self, node: Node) -> AsyncIterator[Console]:
        """A node's console, once its shell answers."""
        now = await self.server.node(self.project_id, node.node_id)
        assert now.console_port is not None
        async with console(now.console_host, now.console_port) as client:
            await client.wait_for_shell()
            yield client

    async def own_name(self, node: Node) -> str:
        """Start a node, ask its shell for the host name, and stop it again."""
        await self.start(node)
        async with self.console(node) as client:
            name = (await client.run("hostname")).strip()
        await self.stop(node)
        return name

    def folder(self, node: Node) -> Path:
        """The node's directory on the server's disk."""
        projects = self.process.directory / "projects" / self.project_id
        return projects / "project-files" / "qemu" / node.node_id

    async def check_disk(self, node: Node, scratch: Path) -> str:
        """Run ``e2fsck -fn`` on the disk of a stopped node and return what it said; it has to be clean."""
        raw = scratch / f"{node.name}.raw"
        qemu_img, e2fsck = require_tool("qemu-img"), require_tool("e2fsck")
        overlay = self.folder(node) / "hda_disk.qcow2"
        await _run(qemu_img, "check", "-q", str(overlay))
        await _run(qemu_img, "convert", "-O", "raw", str(overlay), str(raw))
        try:
            return await _run(e2fsck, "-fn", str(raw))
        finally:
            raw.unlink()


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await process.communicate()
    text = out.decode(errors="replace")
    assert process.returncode == 0, f"{' '.join(command)} ended with {process.returncode}:\n{text}"
    return text


@asynccontextmanager
async def open_lab(process: GNS3Process, template_name: str) -> AsyncIterator[Lab]:
    """A project of its own, with nodes of the template of this name; deleted at the end."""
    async with await connect(parse_address(process.url)) as server:
        template = next(t for t in await server.templates() if t.name == template_name)
        project = await server.create_project(f"lab-{uuid.uuid4().hex[:8]}")
        try:
            yield Lab(process, server, project.project_id, template.template_id)
        finally:
            await server.delete_project(project.project_id)
