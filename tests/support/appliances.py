"""Labs of several appliances on a real GNS3 server, as a student would build them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gns3_minivm.base.errors import NodeError
from gns3_minivm.gns3.model import LinkEnd, Node
from tests.support.gns3 import GNS3Process
from tests.support.lab import Lab, open_lab
from tests.support.minivm import gns3_minivm
from tests.support.telnet import Console, console


async def register(server: GNS3Process, docker_host: str, *names: str) -> None:
    """Build, convert and register appliances; what the engine, the cache and the server have is kept."""
    words = ("register", *names, "--build-network", "host", "--server", server.url, "--json")
    (await gns3_minivm(*words, environment={"DOCKER_HOST": docker_host}, timeout_s=1800)).result()


@asynccontextmanager
async def appliance_lab(server: GNS3Process, docker_host: str, *names: str) -> AsyncIterator[Lab]:
    """An open project on a server that has templates of these appliances."""
    await register(server, docker_host, *names)
    async with open_lab(server, names[0]) as lab:
        yield lab


# Without KVM on a busy machine, the kernel measures the speed of the TSC wrongly: its clock would run many times too
# fast, and every limit of a program in the guest be that much shorter.
_SLOW_MACHINE = "tsc=unstable"


async def add_node(lab: Lab, template: str, name: str, words: str = "") -> Node:
    """A node of a template; ``words`` are put at the end of its kernel command line."""
    found = next(item for item in await lab.server.templates() if item.name == template)
    node = await lab.server.create_node(lab.project_id, found.template_id, name=name)
    line = f"{node.properties['kernel_command_line']} {_SLOW_MACHINE} {words}"
    return await lab.server.update_node(lab.project_id, node.node_id, properties={"kernel_command_line": line})


async def connect(lab: Lab, one: Node, adapter: int, other: Node, other_adapter: int) -> str:
    """Link two adapters; returns the link's id."""
    ends = [LinkEnd(one.node_id, adapter), LinkEnd(other.node_id, other_adapter)]
    return (await lab.server.create_link(lab.project_id, ends)).link_id


async def start(lab: Lab, *nodes: Node) -> None:
    """Start nodes one after the other: GNS3 gives ubridge ten seconds, which many at once exceed on a busy machine."""
    for node in nodes:
        for attempt in (1, 2, 3):
            try:
                await lab.start(node)
                break
            except NodeError as error:
                if attempt == 3 or "hypervisor" not in error.message:
                    raise


@asynccontextmanager
async def shell(lab: Lab, node: Node) -> AsyncIterator[Console]:
    """A node's console, once its shell answers: after its services were started, which takes its time without KVM."""
    now = await lab.server.node(lab.project_id, node.node_id)
    assert now.console_port is not None
    async with console(now.console_host, now.console_port) as client:
        # Interpreters and key exchanges take minutes on a busy machine that emulates the processor.
        client.command_limit_s = 400
        await client.wait_for_shell(300)
        yield client


@asynccontextmanager
async def vtysh(lab: Lab, node: Node) -> AsyncIterator[Console]:
    """A router's console, once vtysh shows its prompt; until then only the Enter key is pressed."""
    now = await lab.server.node(lab.project_id, node.node_id)
    assert now.console_port is not None
    async with console(now.console_host, now.console_port) as client:
        deadline = time.monotonic() + 300
        while True:
            client.send("\n")
            try:
                await client.read_until(rf"{node.name}# $", 3)
                break
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
        # The configuration is longer than a screen.
        await vtysh_command(client, "terminal length 0")
        yield client


async def vtysh_command(client: Console, *lines: str) -> str:
    """Type lines into vtysh and return what the last one printed."""
    shown = ""
    for line in lines:
        client.send(f"{line}\n")
        match = await client.read_until(r"(?s)^(.*?)\r*\n?[\w-]+(?:\([\w-]+\))?# $", 300)
        shown = match[1].replace("\r", "")
    return shown.partition("\n")[2]


async def eventually(client: Console, command: str, limit_s: float = 300) -> None:
    """Run a shell command until it ends with 0: what a network needs to settle is not known beforehand."""
    deadline = time.monotonic() + limit_s
    while True:
        status, output = await client.run_unchecked(command)
        if status == 0:
            return
        assert time.monotonic() < deadline, f"{command!r} still ends with {status}:\n{output}"
        await asyncio.sleep(1)
