"""Labs of nodes that are only there, and never run: made of a template without images, in no time."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gns3_minivm.agent.desired import template_id
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ServerFaultError
from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import Link, Node, Project, QemuTemplate
from gns3_minivm.gns3.server import Server
from gns3_minivm.guest.contract import qemu_options
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs import make
from gns3_minivm.ops.labs.report import LabReport
from gns3_minivm.ops.labs.up import LabRequest, lab_up
from gns3_minivm.settings import Settings
from tests.support.gns3 import GNS3Process


@dataclass
class DrawnLab:
    """A lab file below ``folder`` and its project on a server; ``template`` names one like a MiniVM's."""

    server: Server
    folder: Path
    name: str
    template: str
    url: str
    warned: list[str] = field(default_factory=list)
    """What the last ``up`` has warned of."""

    def write(self, text: str) -> Path:
        """The lab file; VM in it stands for the template."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "lab.yml"
        path.write_text(f"name: {self.name}\n{text.replace('VM', self.template)}")
        return path

    async def up(
        self, text: str = "", *, url: str = "", dry_run: bool = False, in_one_go: bool = True, **options: Any
    ) -> LabReport:
        """Bring it up without starting anything; a large one with one request, or never so."""
        path = self.write(text) if text else self.folder / "lab.yml"
        options = {"start": False, **options}
        request = LabRequest(path=path, server=parse_address(url or self.url), **options)
        self.warned.clear()
        settings, events = Settings(cache_root=self.folder / "cache"), Events(self._hear)
        with patch.object(make, "SMALLEST", make.SMALLEST if in_one_go else sys.maxsize):
            return await lab_up(request, RunContext(settings=settings, events=events, dry_run=dry_run))

    def _hear(self, event: Event) -> None:
        if isinstance(event, Note) and event.level == "warning":
            self.warned.append(event.message)

    async def project(self) -> Project | None:
        return next((one for one in await self.server.projects() if one.name == self.name), None)

    async def nodes(self) -> dict[str, Node]:
        project = await self.project()
        return {} if project is None else {one.name: one for one in await self.server.nodes(project.project_id)}

    async def links(self) -> list[Link]:
        project = await self.project()
        return [] if project is None else await self.server.links(project.project_id)

    async def wires(self) -> set[frozenset[tuple[str, int, int]]]:
        """The links as pairs of node, adapter and port."""
        names = {node.node_id: name for name, node in (await self.nodes()).items()}
        links = await self.links()
        return {frozenset((names[end.node_id], end.adapter, end.port) for end in link.ends) for link in links}


@asynccontextmanager
async def drawn_lab(process: GNS3Process, folder: Path) -> AsyncIterator[DrawnLab]:
    """A lab of its own; its project is deleted at the end."""
    mark = uuid.uuid4().hex[:8]
    # No kernel, so no words for one: its nodes can be started, find nothing to boot, and do not hear the power button.
    name = f"vm-{mark}"
    template = QemuTemplate(
        template_id=template_id(name),
        name=name,
        adapters=2,
        ram_mb=64,
        options=qemu_options(X86_64),
        on_close="power_off",
    )
    async with await connect(parse_address(process.url)) as server:
        await server.create_template(template)
        lab = DrawnLab(server, folder, f"lab-{mark}", template.name, process.url)
        try:
            yield lab
        finally:
            for project in await server.projects():
                if project.name.startswith(lab.name):
                    await _delete(server, project.project_id)
            await server.delete_template(template.template_id)


async def _delete(server: Server, project_id: str) -> None:
    try:
        await server.delete_project(project_id)
    except ServerFaultError:
        # API v3 stumbles over a node that ends while it is being stopped; the second time it has ended.
        await server.delete_project(project_id)
