"""Every command that writes has --dry-run, and with it writes nothing: no file, and nothing on a server."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import uuid
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.agent.desired import MARK, template_id
from gns3_minivm.base.cache import Cache
from gns3_minivm.cli.frame.run import run_command_line
from gns3_minivm.labs.state import mark
from tests.support.bundles import put_bundle
from tests.support.catalogue import write_root
from tests.support.commands import COMMANDS, options_of
from tests.support.debs import bundle_debs
from tests.support.fake_gns3 import FakeGNS3, fake_gns3, reply
from tests.support.gns3a import write_original

READS = {
    "status": "compares servers with a catalogue",
    "doctor": "looks at this machine and at servers; what --try starts there, it says and takes away",
    "lab status": "lists nodes",
    "lab wait": "waits for nodes",
    "lab exec": "writes nothing itself: what the command does in the guest is the user's",
    "lab console": "writes nothing itself: what is typed is the user's",
    "list": "lists appliances",
    "inspect": "looks into a disk",
    "server": "asks a server who it is",
    "engine": "asks the Docker engine who it is",
    "kernel list": "lists the cache, and asks apt",
    "cache list": "lists the cache",
}
"""The commands without --dry-run, and why nothing is lost by that."""

IMAGE = "rootfs:root.tar"
LAB = "{name: lab, nodes: {r1: {template: vm}}, tests: [{node: r1, exec: [ls]}]}"
AT_SERVER = ("--server", "{server}")
RUNS: dict[str, tuple[str, ...]] = {
    "register": (IMAGE, *AT_SERVER),
    "sync": ("site.yml",),
    "remove": ("vm", "--delete-images", *AT_SERVER),
    "lab up": ("lab.yml", *AT_SERVER),
    "lab down": ("lab", "--close", *AT_SERVER),
    "lab destroy": ("lab", "--yes", *AT_SERVER),
    "lab test": ("lab.yml", "--junit", "report.xml", *AT_SERVER),
    "lab graph": ("lab.yml", "--output", "lab.svg"),
    "lab inventory": ("lab", "--format", "ansible", "--output", "hosts.yml", *AT_SERVER),
    "lab save": ("lab", "--output", "saved.yml", *AT_SERVER),
    "lab export": ("resting", "--output", "lab.gns3project", *AT_SERVER),
    "project export": ("resting", "--output", "lab.gns3project", *AT_SERVER),
    "project import": ("there.gns3project", *AT_SERVER),
    "export": (IMAGE, "--as", "vm", "--output", "out"),
    "import": ("alpine-minivm.gns3a", *AT_SERVER),
    "new": ("mine", "--from", "alpine:3"),
    "convert": (IMAGE, "--output", "disk.qcow2"),
    "boot": (IMAGE,),
    "kernel build": ("--deb", "{debs[0]}", "--deb", "{debs[1]}", "--deb", "{debs[2]}"),
    "kernel pack": ("debian",),
    "cache prune": ("--all",),
}
"""A run of each command that would write without --dry-run."""
READING_RUNS: dict[str, tuple[str, ...]] = {
    "status": ("site.yml",),
    "doctor": AT_SERVER,
    "lab status": ("lab", *AT_SERVER),
    "list": (),
    "server": AT_SERVER,
    "kernel list": ("--offline",),
    "cache list": (),
}
"""Runs of commands that only read, where neither a guest nor a Docker engine is needed."""


class Standin:
    """A server of API v2 in a thread of its own, with a template and two labs of ours: one runs, and one rests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ended: Future[None] = Future()
        self._leave = asyncio.Event()
        self.fake = FakeGNS3()
        ready: Future[FakeGNS3] = Future()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)))
        self._thread.start()
        self.fake = ready.result(20)

    async def _serve(self, ready: Future[FakeGNS3]) -> None:
        async with fake_gns3(2) as fake:
            for path, body in _answers().items():
                fake.on(f"GET /v2{path}", reply(body))
            ready.set_result(fake)
            await self._leave.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(20)
        self._loop.close()

    def writes(self) -> list[str]:
        """What was asked beside questions."""
        return [asked for asked in self.fake.seen if not asked.startswith("GET ")]


def _answers() -> dict[str, Any]:
    template = {
        "template_id": template_id("vm"), "name": "vm", "template_type": "qemu", "builtin": False, "usage": MARK,
        "hda_disk_image": "disk.qcow2", "kernel_image": "vmlinuz", "compute_id": "local", "adapters": 1,
    }  # fmt: skip
    image = {"filename": "disk.qcow2", "path": "disk.qcow2", "md5sum": "1" * 32, "filesize": 5}
    projects = [_project("lab", "started"), _project("resting", "stopped")]
    answers: dict[str, Any] = {
        "/templates": [template],
        f"/templates/{template_id('vm')}": template,
        "/projects": [project for project, _ in projects],
        "/computes": [{"compute_id": "local", "name": "main", "connected": True}],
        "/computes/local/qemu/images": [image],
        "/computes/local/qemu/binaries": [{"path": "/usr/bin/qemu-system-x86_64", "version": "8.2.2"}],
    }
    for project, node in projects:
        path = f"/projects/{project['project_id']}"
        answers |= {path: project, f"{path}/nodes": [node]}
        answers |= {f"{path}/{name}": [] for name in ("links", "drawings", "snapshots")}
    return answers


def _project(name: str, status: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A lab of this name, and its only node."""
    project_id, node_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    node = {
        "project_id": project_id, "node_id": node_id, "name": "r1", "node_type": "qemu", "status": status,
        "compute_id": "local", "template_id": template_id("vm"), "console": 5000, "console_host": "127.0.0.1",
        "console_type": "telnet", "ports": [{"name": "eth0", "adapter_number": 0, "port_number": 0}],
        "properties": {"hda_disk_image": "disk.qcow2", "kernel_image": "vmlinuz"},
    }  # fmt: skip
    variables = [{"name": key, "value": value} for key, value in mark(name, project_id, {"r1": node_id}).items()]
    return {"project_id": project_id, "name": name, "status": "opened", "variables": variables}, node


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    server = Standin()
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standin: Standin) -> Path:
    """A working directory with all that the commands read; the user's folders are below it too."""
    standin.fake.seen.clear()
    for variable, name in (("GNS3_MINIVM_CACHE", "cache"), ("HOME", "home"), ("XDG_DATA_HOME", "home/data")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    for variable in ("GNS3_MINIVM_SERVER", "GNS3_MINIVM_LAB", "GNS3_MINIVM_APPLIANCES", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    write_root(tmp_path / "root.tar", "hello")
    (tmp_path / "lab.yml").write_text(LAB)
    (tmp_path / "site.yml").write_text(
        f"servers: {{here: {{url: '{standin.fake.url}'}}}}\nappliances: [{{image: '{IMAGE}', name: web}}]\n"
    )
    with zipfile.ZipFile(tmp_path / "there.gns3project", "w") as archive:
        archive.writestr("project.gns3", '{"name": "there", "revision": 9, "topology": {"nodes": []}}')
    write_original(tmp_path)
    put_bundle(Cache(tmp_path / "cache"))
    (tmp_path / "debs").mkdir()
    bundle_debs(tmp_path / "debs")
    return tmp_path


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below, with its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_writes_has_a_dry_run(name: str) -> None:
    assert ("--dry-run" in options_of(name)) != (name in READS)


def test_every_dry_run_is_run() -> None:
    assert {name for name in COMMANDS if "--dry-run" in options_of(name)} == RUNS.keys()


def run(name: str, folder: Path, standin: Standin, *more: str) -> int:
    debs = sorted((folder / "debs").iterdir())
    words = [word.format(server=standin.fake.url, debs=debs) for word in (READING_RUNS | RUNS)[name]]
    return run_command_line([*name.split(), *words, *more])


@pytest.mark.parametrize("name", RUNS)
def test_a_dry_run_writes_no_file_and_only_asks_the_server(
    name: str, folder: Path, standin: Standin, capfd: pytest.CaptureFixture[str]
) -> None:
    before = tree(folder)
    status = run(name, folder, standin, "--dry-run")
    assert status == 0, capfd.readouterr()
    assert standin.writes() == []
    assert tree(folder) == before


@pytest.mark.parametrize("name", READING_RUNS)
def test_a_command_without_a_dry_run_only_reads(
    name: str, folder: Path, standin: Standin, capfd: pytest.CaptureFixture[str]
) -> None:
    assert name in READS
    before = tree(folder)
    status = run(name, folder, standin)
    assert status == 0 or (name, status) == ("doctor", 1), capfd.readouterr()  # it has found something
    assert standin.writes() == []
    after = tree(folder)
    after.pop("cache/acceleration.json", None)  # what doctor has found out about KVM is known until the next boot
    assert after == before


def test_without_dry_run_files_are_written_and_the_server_is_changed(folder: Path, standin: Standin) -> None:
    before = tree(folder)
    assert run("convert", folder, standin) == 0
    assert tree(folder).keys() > before.keys()
    run("lab destroy", folder, standin)
    assert standin.writes()
