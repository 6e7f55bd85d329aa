"""Commands in nodes of real GNS3 servers, over their telnet consoles, beside a person who types there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator

import pytest

from gns3_minivm.gns3.console import NodeConsole, open_console
from gns3_minivm.gns3.model import Node
from gns3_minivm.guest.exec import ExecRequest, GuestExec, GuestState
from tests.support.gns3 import GNS3Process
from tests.support.lab import Lab, open_lab
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool

pytestmark = pytest.mark.either_generation

ANSWER_LIMIT_S = 90.0


@pytest.fixture(scope="module")
async def lab(gns3_server: GNS3Process) -> AsyncIterator[Lab]:
    require_tool("qemu-system-x86_64")
    (await gns3_minivm("register", "busybox-minivm", "--server", gns3_server.url, "--json")).result()
    async with open_lab(gns3_server, "busybox-minivm") as opened:
        yield opened


@pytest.fixture(scope="module")
async def node(lab: Lab) -> AsyncIterator[Node]:
    made = await lab.add_node("exec-pc")
    await lab.start(made)
    yield await lab.server.node(lab.project_id, made.node_id)
    await lab.server.delete_node(lab.project_id, made.node_id)


def stream(node: Node) -> tuple[str, int]:
    assert node.console_port is not None
    return node.console_host, node.console_port


async def test_a_node_answers_from_its_boot_on_and_runs_commands(node: Node) -> None:
    async with open_console(*stream(node)) as console, GuestExec(console, console) as commands:
        assert await commands.hello(ANSWER_LIMIT_S) == GuestState("main", "exec-pc")
        result = await commands.run(ExecRequest(argv=["sh", "-c", "echo out; echo err >&2; exit 7"]))
        assert (result.stdout, result.stderr, result.exit_status) == (b"out\n", b"err\n", 7)


async def test_a_persons_line_is_not_disturbed_and_sees_no_frame(lab: Lab, node: Node) -> None:
    """One client types a line, letter by letter, while another runs commands with a lot of output."""
    async with (
        open_console(*stream(node)) as console,
        GuestExec(console, console) as commands,
        lab.console(node) as person,
    ):
        before = len(person.transcript)
        running = asyncio.create_task(commands.run(ExecRequest(shell="head -c 60000 /dev/urandom | tee /tmp/sent")))
        letters = "echo undisturbed-$((40+2)) "
        for letter in letters * 3:
            person.send(letter)
            await asyncio.sleep(0.02)
        result = await running
        person.send("\n")
        await person.read_until("(?s)undisturbed-42.*undisturbed-42.*undisturbed-42|undisturbed-42 echo undisturbed-42")
        assert len(result.stdout) == 60000
        check = await commands.run(ExecRequest(argv=["md5sum", "/tmp/sent"]))
        assert check.stdout.split()[0].decode() == hashlib.md5(result.stdout).hexdigest()
        shown = person.transcript[before:]
        assert "\x1b]7411;" in shown and "7411;" not in without_frames(shown)


@pytest.mark.long
async def test_two_programs_on_two_connections_share_a_console(node: Node) -> None:
    data = os.urandom(20_000)

    async def copy(console: NodeConsole, name: str) -> bytes:
        async with GuestExec(console, console) as commands:
            await commands.run(ExecRequest(shell=f"cat > /tmp/{name}", stdin=data))
            return (await commands.run(ExecRequest(argv=["cat", f"/tmp/{name}"]))).stdout

    async with open_console(*stream(node)) as one, open_console(*stream(node)) as other:
        copies = await asyncio.gather(copy(one, "a"), copy(other, "b"))
        assert [*copies] == [data, data]


async def test_a_connection_that_is_cut_ends_its_command_only(node: Node) -> None:
    async with open_console(*stream(node)) as console, GuestExec(console, console) as commands:
        async with open_console(*stream(node)) as cut, GuestExec(cut, cut) as others:
            lost = asyncio.create_task(others.run(ExecRequest(argv=["sleep", "1000"])))
            await asyncio.sleep(1)
            lost.cancel()
            with pytest.raises(asyncio.CancelledError):
                await lost
        result = await commands.run(ExecRequest(shell="! pidof sleep"))
        assert result.exit_status == 0


def without_frames(shown: str) -> str:
    return re.sub(r"\x1b\]7411;[^\x1b]*\x1b\\", "", shown)
