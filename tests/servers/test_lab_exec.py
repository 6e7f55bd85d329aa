"""A running lab on real servers of both generations: commands, consoles and checks in it, and what is handed on."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.support.gns3 import GNS3Process
from tests.support.minivm import Finished, command_environment, gns3_minivm
from tests.support.tools import require_tool

LAB = """
name: handy
nodes:
  r1:
    appliance: busybox-minivm
    ram: 100
    interfaces: {eth0: 10.0.12.1/30}
    files: {/etc/motd: "welcome to r1\\n"}
  r2: {appliance: busybox-minivm, interfaces: {eth0: 10.0.12.2/30}, position: [150, 40]}
  spare: {appliance: busybox-minivm, start: false}
links:
  - {ends: ["r1:eth0", "r2:eth0"], style: {color: "#cc0000"}}
tests:
  - {node: r1, ping: r2}
  - {node: r2, exec: hostname, name: has another name, matches: "^r1$", within: 2}
  - {node: r2, ping: 10.0.99.1, fails: true}
"""


@dataclass(frozen=True)
class RunningLab:
    path: Path
    url: str

    async def command(self, name: str, *words: str, stdin: bytes | None = None) -> Finished:
        return await gns3_minivm("lab", name, *words, "--server", self.url, stdin=stdin)

    async def exec(self, node: str, *words: str, stdin: bytes | None = None) -> Finished:
        options = ("--lab", str(self.path), "--server", self.url, node, "--", *words)
        return await gns3_minivm("lab", "exec", *options, stdin=stdin)

    @property
    def folder(self) -> Path:
        return self.path.parent


@pytest.fixture(scope="module", params=[pytest.param("v2", marks=pytest.mark.long), "v3"])
async def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningLab]:
    require_tool("qemu-system-x86_64")
    gns3_server: GNS3Process = request.getfixturevalue(f"gns3_{request.param}")
    path = tmp_path_factory.mktemp("lab") / "lab.yml"
    path.write_text(LAB)
    running = RunningLab(path, gns3_server.url)
    up = (await running.command("up", str(path), "--json")).result()
    assert [node["state"] for node in up["nodes"]] == ["ready", "ready", "stopped"], up
    yield running
    (await running.command("destroy", str(path), "--yes", "--json")).result()


async def test_a_command_ends_with_its_own_status_and_gets_what_is_piped_in(lab: RunningLab) -> None:
    done = await lab.exec("r1", "sh", "-c", "tr a-z A-Z; echo complaint >&2; exit 7", stdin=b"some\nlines\n")
    assert (done.status, done.out, done.err) == (7, "SOME\nLINES\n", "complaint\n")
    told = await gns3_minivm("lab", "exec", "r2", "--lab", "handy", "--server", lab.url, "--json", "--", "hostname")
    assert told.result() == {
        "event": "result", "node": "r2", "status": 0, "signal": 0, "failure": "", "stdout": "r2\n", "stderr": "",
    }  # fmt: skip


async def test_a_command_that_cannot_be_started_or_a_node_that_is_not_there_is_told_apart(lab: RunningLab) -> None:
    missing = await lab.exec("r1", "no-such-program")
    assert missing.status == 127 and "no-such-program" in missing.err
    for node, said in (("r9", "has no node 'r9'"), ("spare", "node spare is stopped")):
        done = await lab.exec(node, "true")
        assert (done.status, done.out) == (125, "") and said in done.err


async def test_a_console_is_opened_on_the_terminal_and_left_with_the_escape_key(lab: RunningLab) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gns3_minivm", "lab", "console", "r1", "--lab", str(lab.path), "--server", lab.url),
        env=command_environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    )
    os.set_blocking(ours, False)
    seen = b""

    async def read_until(words: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 60
        while words not in seen:
            assert time.monotonic() < end, seen
            await asyncio.sleep(0.05)
            with suppress(BlockingIOError):
                seen += os.read(ours, 65536)

    try:
        await read_until(b"Ctrl-] leaves]")
        os.write(ours, b"\r")
        await read_until(b"# ")
        # Ctrl-C is for the guest, and so is every other key.
        os.write(ours, b"cat\r")
        await read_until(b"cat\r\n")
        os.write(ours, b"\x03")
        os.write(ours, b"\recho ty''ped\r")
        await read_until(b"typed\r\n")
        os.write(ours, b"\x1d")
        assert await asyncio.wait_for(process.wait(), 30) == 0
        await read_until(b"[r1: left]")
        assert termios.tcgetattr(theirs) == before
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
        os.close(theirs)
    # The node goes on.
    assert (await lab.exec("r1", "true")).status == 0


async def test_the_checks_of_the_file_are_run_and_told_to_ci(lab: RunningLab) -> None:
    junit = lab.folder / "junit.xml"
    done = await lab.command("test", str(lab.path), "--junit", str(junit), "--json")
    assert done.status == 1, done.out + done.err
    result = json.loads(done.out.splitlines()[-1])
    assert [check["outcome"] for check in result["checks"]] == ["passed", "failed", "passed"]
    assert result["checks"][1]["message"] == "nothing in the output matches '^r1$'"
    (suite,) = ElementTree.parse(junit).getroot()
    assert suite.attrib["tests"] == "3" and suite.attrib["failures"] == "1"


@pytest.mark.long
async def test_what_the_server_has_is_saved_as_a_file_that_says_the_same(lab: RunningLab) -> None:
    saved = lab.folder / "saved.yml"
    (await lab.command("save", str(lab.path), "--output", str(saved), "--force", "--json")).result()
    document = yaml.safe_load(saved.read_text())
    assert document["nodes"]["r1"]["files"] == {"/etc/motd": "welcome to r1\n"}
    assert document["nodes"]["r1"]["ram"] == 100
    assert document["nodes"]["r2"]["position"] == [150, 40]
    assert document["links"] == [{"ends": ["r1:eth0", "r2:eth0"], "style": {"color": "#cc0000"}}]
    assert len(document["tests"]) == 3
    again = (await lab.command("up", str(saved), "--dry-run", "--json")).result()
    assert (again["changes"]["nodes"], again["changes"]["links"]) == ([], [])
    # Without the file it names the templates.
    alone = (await lab.command("save", "handy", "--json")).result()
    assert yaml.safe_load(alone["text"])["nodes"]["r1"]["appliance"] == "busybox-minivm"


@pytest.mark.long
async def test_an_inventory_says_where_the_nodes_are(lab: RunningLab) -> None:
    ansible: dict[str, Any] = yaml.safe_load(await inventory(lab, "ansible"))
    host = ansible["all"]["children"]["busybox_minivm"]["hosts"]["r2"]
    assert host["ansible_host"] == "10.0.12.2"
    nornir = yaml.safe_load(await inventory(lab, "nornir"))
    assert nornir["r1"]["hostname"] == "10.0.12.1"
    console = nornir["r1"]["connection_options"]["netmiko"]
    reader, writer = await asyncio.open_connection(console["hostname"], console["port"])
    writer.close()
    assert reader


async def inventory(lab: RunningLab, form: str) -> str:
    done = await lab.command("inventory", str(lab.path), "--format", form, "--json")
    text: str = done.result()["text"]
    return text


@pytest.mark.long
async def test_a_picture_shows_the_lab_as_its_file_or_as_the_server_has_it(lab: RunningLab) -> None:
    drawn = await gns3_minivm("lab", "graph", str(lab.path))
    assert drawn.status == 0 and re.findall('class="name"[^>]*>([^<]*)<', drawn.out) == ["r1", "r2", "spare"]
    live = (await lab.command("graph", "handy", "--live", "--json")).result()["text"]
    assert live.count("#2e9e4f") == 2 and live.count("#c0392b") == 1
    assert "translate(150 40)" in live


@pytest.mark.long
async def test_a_lab_is_exported_with_its_initial_ram_disk_and_opens_again(lab: RunningLab) -> None:
    target = lab.folder / "lab.gns3project"
    refused = await lab.command("export", str(lab.path), "--output", str(target))
    assert refused.status == 1 and "while nodes run" in refused.err and not target.exists()
    (await lab.command("down", str(lab.path), "--json")).result()
    assert (await lab.exec("r1", "true")).status == 125
    result = (await lab.command("export", str(lab.path), "--output", str(target), "--json")).result()
    assert [name for name in result["images"] if name.startswith("initrd-")]
    words = ("import", str(target), "--name", "handy again", "--open", "--server", lab.url, "--json")
    imported = (await gns3_minivm("project", *words)).result()
    assert imported["opened"]
    copy = yaml.safe_load((await lab.command("save", imported["project_id"], "--json")).result()["text"])
    assert list(copy["nodes"]) == ["r1", "r2", "spare"]
    assert copy["nodes"]["r1"]["interfaces"] == {"eth0": "10.0.12.1/30"}
