"""A catalogue on disk with images of its own, and the commands that are run with it."""

from __future__ import annotations

import io
import json
import tarfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gns3_minivm.agent.desired import template_id
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.templates.sync import SyncRequest, status, sync
from gns3_minivm.settings import Settings
from tests.support.gns3 import GNS3Process
from tests.support.minivm import Finished, gns3_minivm, minivm_cache


def write_root(path: Path, text: str) -> None:
    """A root tar file with one file in it: as small as an image can be."""
    data = text.encode()
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("etc/motd")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))


@dataclass
class TestSite:
    """Servers and appliances in ``folder``; names are new for every site, so that sites can share servers."""

    __test__ = False

    folder: Path
    servers: dict[str, dict[str, Any]]
    processes: dict[str, GNS3Process]
    name: str | None = None
    appliances: list[Any] = field(default_factory=list)
    cache: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def path(self) -> Path:
        return self.folder / "minivm.yml"

    def image(self, stem: str, text: str | None = None) -> str:
        """Write an image of this site and return how a catalogue names it."""
        path = self.folder / f"{stem}-{self.tag}.tar"
        write_root(path, text or f"{stem} {self.tag}")
        return f"rootfs:{path}"

    def add(self, stem: str, **settings: Any) -> str:
        """An appliance with an image of its own; its name."""
        name = f"{stem}-{self.tag}"
        self.appliances.append({"name": name, "image": self.image(stem), **settings})
        return name

    def write(self) -> Path:
        # JSON is YAML.
        content = {"servers": self.servers, "appliances": self.appliances, **self.settings}
        self.path.write_text(json.dumps({"name": self.name, **content} if self.name else content, indent=1))
        self.path.chmod(0o600)
        return self.path

    async def run(self, command: str, *words: str, **options: Any) -> Finished:
        self.write()
        return await gns3_minivm(command, str(self.path), *words, cache=self.cache or minivm_cache(), **options)

    async def sync(self, *words: str, **options: Any) -> Finished:
        return await self.run("sync", *words, **options)

    async def synced(self, *servers: str, events: Events | None = None, **options: Any) -> dict[str, dict[str, Any]]:
        """Sync in this process, which has to succeed; the reports by server."""
        request = SyncRequest(catalogue=self.write(), servers=servers, **options)
        result = await sync(request, self._context(events))
        assert result.exit_status == 0, result.as_dict()
        return {server.name: server.as_dict() for server in result.servers}

    async def status(self) -> dict[str, dict[str, Any]]:
        """The same for ``status``."""
        result = await status(SyncRequest(catalogue=self.write()), self._context())
        assert result.exit_status == 0, result.as_dict()
        return {server.name: server.as_dict() for server in result.servers}

    def _context(self, events: Events | None = None) -> RunContext:
        return RunContext(settings=Settings(cache_root=self.cache or minivm_cache()), events=events or Events())

    async def template(self, server: str, name: str) -> QemuTemplate | None:
        """What a server has for an appliance."""
        async with await connect(parse_address(self.processes[server].url)) as client:
            found = await client.template(template_id(name))
            return found.values if found else None

    async def change(self, server: str, appliance: str, /, **values: Any) -> None:
        """Change a template as somebody does in the GUI."""
        async with await connect(parse_address(self.processes[server].url)) as client:
            await client.update_template(template_id(appliance), values)

    async def clean(self) -> None:
        """Remove all templates of this site from its servers."""
        for process in self.processes.values():
            if process.process.poll() is None:
                async with await connect(parse_address(process.url)) as client:
                    for template in await client.templates():
                        if self.tag in template.name:
                            await client.delete_template(template.template_id)


def actions(server: dict[str, Any]) -> dict[str, str]:
    """The plan of each appliance of one server's report, without the site's tag."""
    return {item["name"].rpartition("-")[0]: item["plan"]["template"] for item in server["appliances"]}


def outcomes(server: dict[str, Any]) -> dict[str, str]:
    """What came of each appliance of one server's report, without the site's tag."""
    return {item["name"].rpartition("-")[0]: item["outcome"] for item in server["appliances"]}
