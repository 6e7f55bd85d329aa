"""``lab exec`` and ``lab console``: a command in a node, a node's console on this terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gns3_minivm.base.terminal import raw_terminal, relay
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.console import open_console
from gns3_minivm.gns3.detect import connect
from gns3_minivm.guest.exec import Channel, ExecRequest, ExecResult
from gns3_minivm.ops.labs.find import commands_in, console_of, find_lab, find_node

WAIT_S = 60.0
"""How long a guest may take to answer: it may still be booting."""
OWN_FAILURE = 125
"""The exit status of ``lab exec`` if the command could not be run in the node: as with Docker."""


@dataclass(frozen=True)
class NodeAnswer:
    """A command's end in a node; the output is empty where it was passed on as it came."""

    node: str
    result: ExecResult

    @property
    def exit_status(self) -> int:
        """The command's own; 128 + signal for a killed one, 127 for one that is not there."""
        return self.result.exit_status

    def as_dict(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "status": self.exit_status,
            "signal": self.result.signal,
            "failure": self.result.failure,
            "stdout": self.result.stdout.decode("utf-8", "replace"),
            "stderr": self.result.stderr.decode("utf-8", "replace"),
        }


async def lab_exec(
    address: Address,
    lab: str,
    node: str,
    request: ExecRequest,
    *,
    wait_s: float = WAIT_S,
    timeout_s: float | None = None,
    on_output: Callable[[Channel, bytes], object] | None = None,
) -> NodeAnswer:
    """Run a command in a node of a lab (a file, or a project's name or id) and wait for its end.

    ``wait_s`` is for a guest that still boots, ``timeout_s`` for the command.  Raises NotFoundError, NodeError (it does
    not run), UsageError (it is not a MiniVM), GuestError, ServerError.
    """
    async with await connect(address) as server:
        project = await find_lab(server, lab)
        found = await find_node(server, project, node)
    async with commands_in(found) as commands:
        await commands.hello(wait_s)
        result = await commands.run(request, timeout_s=timeout_s, on_output=on_output)
    return NodeAnswer(found.name, result)


async def lab_console(address: Address, lab: str, node: str) -> None:
    """Give this terminal to a node's console until it closes, or the escape key is pressed.

    Raises UsageError if standard input is not a terminal or the console is not telnet, NodeError if the node does not
    run.
    """
    async with await connect(address) as server:
        project = await find_lab(server, lab)
        found = await find_node(server, project, node)
    host, port = console_of(found)
    complaint = f"the console of node {found.name} needs a terminal, but standard input is not one"
    hint = f"Run one command in it with `gns3-minivm lab exec {found.name} -- COMMAND`."
    async with open_console(host, port, node=found.name) as console:
        with raw_terminal(complaint, hint=hint) as (source, target):
            left = False

            async def leave(_presses: int) -> bool:
                nonlocal left
                left = True
                return False

            os.write(target, f"[{found.name}, console at {host}:{port}; Ctrl-] leaves]\r\n".encode())
            with suppress(ConnectionError):
                await relay(console, console, source, target, leave)
            said = "left" if left else "the console has closed"
            os.write(target, f"\r\n[{found.name}: {said}]".encode())
