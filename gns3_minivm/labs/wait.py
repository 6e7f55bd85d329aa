"""Waits until the consoles of a lab's nodes answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from gns3_minivm.base.bounded import bounded_map
from gns3_minivm.base.errors import ConnectError, GuestError, MiniVMError, NodeError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.console import open_console
from gns3_minivm.gns3.model import ALWAYS_ON, Node
from gns3_minivm.gns3.server import Server
from gns3_minivm.guest.exec import GuestExec

_POLL_S = 2.0
_CONSOLES_AT_ONCE = 32
_LOG_LINES = 12


@dataclass(frozen=True)
class Awaited:
    """A node that is waited for, by the lab's name; only a MiniVM says on its console that it is there."""

    name: str
    node: Node
    minivm: bool


def has_console(node: Node) -> bool:
    """Whether there is anything to wait for."""
    return node.console_port is not None and node.console_type in ("telnet", "") and node.node_type not in ALWAYS_ON


async def wait_for_consoles(
    server: Server, project_id: str, awaited: Sequence[Awaited], limit_s: float, events: Events
) -> dict[str, MiniVMError]:
    """Wait for all nodes at once; returns the errors, by the lab's names.

    A node that ends is not waited for any longer.
    """
    waited = [item for item in awaited if has_console(item.node)]
    if not waited:
        return {}
    errors: dict[str, MiniVMError] = {}
    given_up: set[str] = set()
    waiting: dict[str, asyncio.Timeout] = {}
    with events.step("Wait for the consoles", total=len(waited)) as step:

        async def one(item: Awaited) -> None:
            try:
                async with asyncio.timeout(None) as waiting[item.node.node_id]:
                    await _answers(item, limit_s)
            except TimeoutError:
                given_up.add(item.name)
            except MiniVMError as error:
                errors[item.name] = error
            waiting.pop(item.node.node_id, None)
            step.advance(1)

        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_watch(server, project_id, waiting))
            await bounded_map(one, waited, at_once=_CONSOLES_AT_ONCE)
            watch.cancel()
        for item in await _ended_now(server, project_id, waited, {*errors, *given_up}):
            errors[item.name] = await ended(server, item.node)
        if errors:
            step.detail = f"{len(errors)} did not answer"
    return errors


async def _answers(item: Awaited, limit_s: float) -> None:
    """Ask until there is an answer.  A server may open the console's port later than it says that the node runs."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while True:
        try:
            return await _ask(item, deadline - loop.time())
        except (ConnectError, _ConsoleClosed):
            if loop.time() + _POLL_S >= deadline:
                raise
        await asyncio.sleep(_POLL_S)


async def _ask(item: Awaited, limit_s: float) -> None:
    node = item.node
    assert node.console_port is not None
    async with open_console(node.console_host, node.console_port, node=item.name) as console:
        if not item.minivm:
            return
        async with GuestExec(console, console) as guest:
            try:
                await guest.hello(limit_s)
            except GuestError as error:
                kind = _ConsoleClosed if guest.ended else NodeError
                raise kind(f"node {item.name}: {error.message}", hint=error.hint) from error


class _ConsoleClosed(NodeError):
    """The other side has hung up: it may only just have started."""


async def _ended_now(server: Server, project_id: str, waited: Sequence[Awaited], silent: set[str]) -> list[Awaited]:
    """Those of the silent nodes that do not run any more, which says more than that they are silent."""
    if not silent:
        return []
    try:
        stopped = {node.node_id for node in await server.nodes(project_id) if node.status == "stopped"}
    except MiniVMError:
        return []
    return [item for item in waited if item.name in silent and item.node.node_id in stopped]


async def _watch(server: Server, project_id: str, waiting: dict[str, asyncio.Timeout]) -> None:
    """Let the waiting for nodes that do not run any more end."""
    while True:
        await asyncio.sleep(_POLL_S)
        with suppress(MiniVMError):  # the consoles may still be there
            for node in await server.nodes(project_id):
                if node.status == "stopped" and node.node_id in waiting:
                    waiting.pop(node.node_id).reschedule(asyncio.get_running_loop().time())


async def ended(server: Server, node: Node) -> NodeError:
    """The error of a node that was started but no longer runs, with the end of its log."""
    try:
        log = (await server.node_log(node.project_id, node.node_id)).strip().splitlines()[-_LOG_LINES:]
    except MiniVMError:
        log = []
    said = "; its qemu.log ends with:\n  " + "\n  ".join(log) if log else ""
    return NodeError(
        f"node {node.name} was started but has ended{said}",
        hint="A node ends with its main program, or when QEMU refuses its settings; see its console and log.",
    )
