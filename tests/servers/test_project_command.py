"""``gns3-minivm project export`` and ``import``: portable projects that open and run on a server without the images."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import Node, Project, QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.blobs import random_artifact
from tests.support.faults import faulty, stand_still_after
from tests.support.gns3 import Generation, GNS3Process, running_gns3
from tests.support.lab import Lab, open_lab
from tests.support.minivm import gns3_minivm
from tests.support.qcow2 import empty_disk
from tests.support.ubridge import EXECUTABLE as UBRIDGE

pytestmark = pytest.mark.either_generation


@dataclass(frozen=True)
class Source:
    """A project with one node, of images that only this server has."""

    server: Server
    process: GNS3Process
    project: Project
    node: Node
    template: QemuTemplate

    @property
    def images(self) -> set[str]:
        return {self.template.hda_disk_image, self.template.kernel_image, self.template.initrd}


@pytest.fixture
async def source(client: Server, gns3_server: GNS3Process, tmp_path: Path) -> AsyncIterator[Source]:
    disk = await empty_disk(tmp_path)
    files = [disk, random_artifact(tmp_path, stem="vmlinuz"), random_artifact(tmp_path, stem="initrd")]
    for file in files:
        await client.upload_image(file.path, file.filename, file.size_bytes, file.md5)
    name = f"vm-{uuid.uuid4().hex[:8]}"
    disk_image, kernel, initrd = (file.filename for file in files)
    template = QemuTemplate(
        template_id=str(uuid.uuid4()),
        name=name,
        hda_disk_image=disk_image,
        kernel_image=kernel,
        initrd=initrd,
        ram_mb=32,
        options="-cpu Nehalem",
        on_close="power_off",
    )
    await client.create_template(template)
    project = await client.create_project(f"lab-{uuid.uuid4().hex[:8]}")
    node = await client.create_node(project.project_id, template.template_id, name="pc-1")
    yield Source(client, gns3_server, project, node, template)
    await client.delete_project(project.project_id)
    await client.delete_template(template.template_id)


@asynccontextmanager
async def fresh(generation: Generation, folder: Path) -> AsyncIterator[tuple[GNS3Process, Server]]:
    """A server that has nothing."""
    with running_gns3(generation, folder, ubridge=UBRIDGE) as process:
        async with await connect(parse_address(process.url)) as server:
            yield process, server


@pytest.mark.parametrize(
    ("here", "there"), [pytest.param(2, 2, marks=pytest.mark.long), pytest.param(2, 3, marks=pytest.mark.long), (3, 3)]
)
async def test_a_guest_runs_after_its_project_has_moved_to_a_server_without_the_images(
    here: Generation, there: Generation, tmp_path: Path
) -> None:
    file = tmp_path / "lab.gns3project"
    async with fresh(here, tmp_path / "here") as (process, _):
        (await gns3_minivm("register", "busybox-minivm", "--server", process.url, "--json")).result()
        async with open_lab(process, "busybox-minivm") as lab:
            node = await lab.add_node("pc-1")
            await lab.start(node)
            async with lab.console(node) as console:
                await console.run("echo moved > /root/note; sync")
            await lab.stop(node)
            words = ("project", "export", lab.project_id, "-o", str(file), "--server", process.url, "--json")
            exported = (await gns3_minivm(*words)).result()
            assert len(exported["added"]) == 1 and exported["added"][0].startswith("initrd-")
            # Nothing is left of the way by which the image was read.
            assert [p.project_id for p in await lab.server.projects()] == [lab.project_id]
    assert exported["size_bytes"] == file.stat().st_size
    assert list(tmp_path.glob(".*")) == []
    async with fresh(there, tmp_path / "there") as (process, server):
        again = ("project", "import", str(file), "--open", "--name", "moved-lab", "--server", process.url, "--json")
        imported = (await gns3_minivm(*again, cache=tmp_path / "empty")).result()
        [project] = await server.projects()
        assert (project.project_id, project.name, project.status) == (imported["project_id"], "moved-lab", "opened")
        [node] = await server.nodes(project.project_id)
        lab = Lab(process, server, project.project_id, node.template_id or "")
        await lab.start(node)
        async with lab.console(node) as console:
            assert "moved" in await console.run("cat /root/note")
            assert (await console.run("hostname")).split() == ["pc-1"]
        await lab.stop(node)


async def test_an_export_has_what_gns3_leaves_out(source: Source, tmp_path: Path) -> None:
    file = tmp_path / "lab.gns3project"
    url = source.process.url
    words = ("project", "export", source.project.name, "-o", str(file), "--server", url)
    would = (await gns3_minivm(*words, "--dry-run", "--json")).result()
    assert set(would["images"]) == source.images and not file.exists()
    assert (await gns3_minivm(*words, "--json", cache=tmp_path / "empty")).result()["added"] == [source.template.initrd]
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        for name in source.images:
            assert archive.read(f"images/QEMU/{name}") == (source.process.images / name).read_bytes()
    again = await gns3_minivm(*words)
    assert again.status == 2 and "exists" in again.err
    forced = await gns3_minivm(*words, "--force")
    assert forced.status == 0 and f"added      {source.template.initrd}" in forced.out


async def test_a_running_node_keeps_its_project_from_being_exported(source: Source, tmp_path: Path) -> None:
    bare = QemuTemplate(
        template_id=str(uuid.uuid4()),
        name=f"vm-{uuid.uuid4().hex[:8]}",
        ram_mb=32,
        hda_disk_interface="none",
        options="-cpu Nehalem",
        on_close="power_off",
    )
    await source.server.create_template(bare)
    node = await source.server.create_node(source.project.project_id, bare.template_id, name="runs")
    await source.server.start_node(source.project.project_id, node.node_id, watch_s=0)
    file = tmp_path / "lab.gns3project"
    finished = await gns3_minivm(
        "project", "export", source.project.name, "-o", str(file), "--server", source.process.url
    )
    assert finished.status == 1
    assert "while nodes run: runs\nhint: Stop them" in finished.err
    assert list(tmp_path.glob("*.gns3project")) == []


async def test_an_unknown_project_is_told_with_those_that_are_there(source: Source, tmp_path: Path) -> None:
    words = ("project", "export", "no-such", "-o", str(tmp_path / "x"), "--server", source.process.url)
    finished = await gns3_minivm(*words)
    assert finished.status == 1 and "no project 'no-such'" in finished.err and source.project.name in finished.err


async def test_an_image_that_the_server_lost_is_told(source: Source, tmp_path: Path) -> None:
    if source.server.can_delete_images:
        await source.server.delete_image(source.template.initrd)
    else:
        (source.process.images / source.template.initrd).unlink()
    file = tmp_path / "lab.gns3project"
    words = ("project", "export", source.project.name, "-o", str(file), "--server", source.process.url)
    finished = await gns3_minivm(*words, cache=tmp_path / "empty")
    assert finished.status == 1 and source.template.initrd in finished.err and "doctor" in finished.err
    assert list(tmp_path.glob("*.gns3project")) == list(tmp_path.glob(".*")) == []


async def test_an_archive_of_gns3s_own_is_completed_by_the_importing_server_or_refused(
    source: Source, tmp_path: Path
) -> None:
    file = tmp_path / "own.gns3project"
    # As the GUIs ask for it, with each generation's own compression: deflate, and zstd on API v3.
    path = f"/v{source.server.generation}/projects/{source.project.project_id}/export"
    with file.open("wb") as stream:
        async for chunk in source.server._transport.download(path, "export", params={"include_images": "yes"}):
            stream.write(chunk)
    url = source.process.url
    # This server has the initial RAM disk.
    result = (await gns3_minivm("project", "import", str(file), "--server", url, "--open", "--json")).result()
    assert result["project"] != source.project.name and result["opened"]
    await source.server.delete_project(result["project_id"])
    before = [project.name for project in await source.server.projects()]
    (source.process.images / source.template.initrd).rename(tmp_path / "away")
    finished = await gns3_minivm("project", "import", str(file), "--server", url, cache=tmp_path / "empty")
    (tmp_path / "away").rename(source.process.images / source.template.initrd)
    assert finished.status == 1 and source.template.initrd in finished.err
    assert [project.name for project in await source.server.projects()] == before


async def test_another_file_under_an_images_name_is_a_conflict(source: Source, tmp_path: Path) -> None:
    file = tmp_path / "lab.gns3project"
    url = source.process.url
    (await gns3_minivm("project", "export", source.project.name, "-o", str(file), "--server", url, "--json")).result()
    initrd = source.process.images / source.template.initrd
    content = initrd.read_bytes()
    initrd.write_bytes(content[::-1])
    initrd.with_name(f"{initrd.name}.md5sum").unlink(missing_ok=True)
    finished = await gns3_minivm("project", "import", str(file), "--server", url)
    initrd.write_bytes(content)
    initrd.with_name(f"{initrd.name}.md5sum").unlink(missing_ok=True)
    assert finished.status == 1 and "exists already" in finished.err
    assert source.template.initrd in finished.err


async def test_a_project_of_a_newer_gns3_is_refused_before_anything_is_sent(
    gns3_v2: GNS3Process, gns3_v3: GNS3Process, tmp_path: Path
) -> None:
    file = tmp_path / "lab.gns3project"
    async with await connect(parse_address(gns3_v3.url)) as newer, await connect(parse_address(gns3_v2.url)) as older:
        project = await newer.create_project(f"lab-{uuid.uuid4().hex[:8]}")
        words = ("project", "export", project.name, "-o", str(file), "--server", gns3_v3.url, "--json")
        (await gns3_minivm(*words)).result()
        await newer.delete_project(project.project_id)
        before = await older.projects()
        finished = await gns3_minivm("project", "import", str(file), "--server", gns3_v2.url)
        assert await older.projects() == before
    assert finished.status == 1
    assert "3.0" in finished.err and "2.2" in finished.err and "newer server" in finished.err


@pytest.mark.parametrize("content", [b"no zip at all", b"PK\x05\x06" + bytes(18)])
async def test_what_is_no_project_is_told(gns3_v2: GNS3Process, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.gns3project"
    file.write_bytes(content)
    finished = await gns3_minivm("project", "import", str(file), "--server", gns3_v2.url)
    assert finished.status == 1 and "not a portable project" in finished.err and "Traceback" not in finished.err


async def test_an_interrupted_export_leaves_nothing(source: Source, tmp_path: Path) -> None:
    await source.server.write_node_file(
        source.project.project_id, source.node.node_id, "large.bin", os.urandom(10_000_000)
    )
    folder = tmp_path / "out"
    folder.mkdir()
    async with faulty(source.process) as front:
        # So that it is under way when the signal comes.
        rule = front.on(r"^GET /v\d/projects/[^/]+/export$", stand_still_after(5_000_000))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gns3_minivm", "project", "export", source.project.name, "--json"),
            *("-o", str(folder / "lab.gns3project"), "--server", front.url),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        while b"step-advanced" not in (line := await process.stdout.readline()):
            assert line, "it has ended"
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
    assert rule.met == 1
    assert process.returncode == 130, out
    assert list(folder.iterdir()) == []
    assert [p.name for p in await source.server.projects() if "gns3-minivm" in p.name] == []


async def test_an_import_that_breaks_leaves_no_project(source: Source, tmp_path: Path) -> None:
    file = tmp_path / "lab.gns3project"
    url = source.process.url
    (await gns3_minivm("project", "export", source.project.name, "-o", str(file), "--server", url, "--json")).result()
    with zipfile.ZipFile(file) as archive:
        document = json.loads(archive.read("project.gns3"))
    # Links to nodes that do not exist: GNS3 takes the archive apart and then fails.
    document["topology"]["links"] = [{"nodes": [{"node_id": str(uuid.uuid4())}]}]
    broken = tmp_path / "broken.gns3project"
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("project.gns3", json.dumps(document))
    before = await source.server.projects()
    finished = await gns3_minivm("project", "import", str(broken), "--server", url)
    assert finished.status == 1 and "could not import the project" in finished.err
    assert await source.server.projects() == before


@pytest.mark.long
async def test_a_large_project_is_moved_within_little_memory(source: Source, tmp_path: Path) -> None:
    size, limit_kib = 400_000_000, 150_000
    folder = source.process.directory / "projects" / source.project.project_id / "project-files" / "qemu"
    large = folder / source.node.node_id / "large.bin"
    large.parent.mkdir(parents=True, exist_ok=True)
    large.write_bytes(b"")
    os.truncate(large, size)
    file, url = tmp_path / "lab.gns3project", source.process.url
    for words in (("export", source.project.name, "-o", str(file)), ("import", str(file), "--name", "large-copy")):
        status, peak_kib = await run_measured("project", *words, "--server", url)
        assert status == 0 and peak_kib < limit_kib, (words, peak_kib)
    assert file.stat().st_size > size
    [copy] = [project for project in await source.server.projects() if project.name == "large-copy"]
    await source.server.delete_project(copy.project_id)


async def run_measured(*words: str) -> tuple[int, int]:
    """Run a command in a process of its own; its exit status and peak memory (KiB)."""
    program = (
        "import sys\n"
        "from gns3_minivm.cli.frame.run import run_command_line\n"
        "status = run_command_line(sys.argv[1:])\n"
        # Not getrusage: what it tells starts with the peak of the process that started this one.
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:'))\n"
        "print(status, peak)\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *words), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    status, peak_kib = out.decode().split()[-2:]
    return int(status), int(peak_kib)
