"""The checks of a lab file (``tests:``): tried until they hold, or their time is over; several at once.

The caller says how a command gets into a guest (``Run``), so this module needs no server.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from gns3_minivm.base.bounded import bounded_map
from gns3_minivm.base.errors import GuestError, MiniVMError, NodeError, NotFoundError, UserError
from gns3_minivm.guest.exec import ExecRequest, ExecResult
from gns3_minivm.labs.model import Lab, LabTest
from gns3_minivm.labs.written.junit import Outcome, TestCase

BUSYBOX = "/run/minivm/bin/busybox"
"""The bundle's own one: an image need not have `ping`."""
AT_ONCE = 8
_BETWEEN_S = 1.0
_PING_WAIT_S = 2
_PINGS_IN_VAIN = 3
"""So many pings must be lost before an address counts as not reachable."""
_SHOWN_BYTES = 4000
_HOPELESS = (UserError, NodeError, NotFoundError)
"""Waiting does not turn another node into a MiniVM, start one that is stopped, or create a missing one."""

Run = Callable[[str, ExecRequest, float], Awaitable[ExecResult]]
"""Runs a command in the node of this name, for at most so many seconds.  Raises MiniVMError."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """``message`` says in a line why a check has not passed; ``output`` is what its last attempt showed."""

    name: str
    node: str
    outcome: Outcome
    attempts: int
    elapsed_s: float
    message: str = ""
    output: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "node": self.node,
            "outcome": self.outcome,
            "attempts": self.attempts,
            "elapsed_s": round(self.elapsed_s, 3),
            "message": self.message,
            "output": self.output,
        }

    def as_case(self) -> TestCase:
        return TestCase(
            name=self.name,
            group=self.node,
            outcome=self.outcome,
            elapsed_s=self.elapsed_s,
            message=self.message,
            output=self.output,
        )


def name_of(test: LabTest) -> str:
    """A check's own name, or what it does."""
    if test.name:
        return test.name
    if test.ping:
        return f"{test.node} {'does not reach' if test.fails else 'pings'} {test.ping}"
    command = test.exec if isinstance(test.exec, str) else shlex.join(test.exec or ())
    return f"{test.node}: {command.strip().splitlines()[0]}{' fails' if test.fails else ''}"


async def run_checks(
    lab: Lab, run: Run, *, at_once: int = AT_ONCE, on_result: Callable[[CheckResult], object] = lambda _: None
) -> tuple[CheckResult, ...]:
    """Run all checks of a lab; results are in the order of the file, ``on_result`` gets them as they come."""

    async def one(test: LabTest) -> CheckResult:
        result = await run_check(test, lab, run)
        on_result(result)
        return result

    return tuple(await bounded_map(one, lab.tests, at_once=at_once))


async def run_check(test: LabTest, lab: Lab, run: Run) -> CheckResult:
    """Try one check until it holds, its time is over, or it can never hold."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    result = CheckResult(name=name_of(test), node=test.node, outcome="error", attempts=0, elapsed_s=0.0)
    while True:
        left_s = test.within - (loop.time() - started)
        if left_s <= 0:
            return replace(result, elapsed_s=loop.time() - started)
        try:
            outcome, message, output = await _attempt(test, lab, run, left_s)
        except _HOPELESS as error:
            return replace(result, attempts=result.attempts + 1, elapsed_s=loop.time() - started, message=error.message)
        result = CheckResult(
            name=result.name,
            node=test.node,
            outcome=outcome,
            attempts=result.attempts + 1,
            elapsed_s=loop.time() - started,
            message=message,
            output=output[-_SHOWN_BYTES:],
        )
        if outcome == "passed":
            return result
        await asyncio.sleep(min(_BETWEEN_S, max(0.0, test.within - (loop.time() - started))))


async def _attempt(test: LabTest, lab: Lab, run: Run, left_s: float) -> tuple[Outcome, str, str]:
    try:
        request = await _request(test, lab, run, left_s)
        answer = await run(test.node, request, left_s)
    except _HOPELESS:
        raise
    except MiniVMError as error:
        return "error", error.message, ""
    output = (answer.stdout + answer.stderr).decode("utf-8", "replace")
    if answer.failure:
        return "error", f"the command did not start: {answer.failure}", output
    complaint = _complaint(test, answer.exit_status, output)
    return ("failed", complaint, output) if complaint else ("passed", "", output)


async def _request(test: LabTest, lab: Lab, run: Run, left_s: float) -> ExecRequest:
    if test.ping is None:
        return ExecRequest(shell=test.exec) if isinstance(test.exec, str) else ExecRequest(argv=test.exec or ())
    address = await _address(test.ping, lab, run, left_s)
    count = _PINGS_IN_VAIN if test.fails else 1
    return ExecRequest(argv=(BUSYBOX, "ping", "-c", str(count), "-W", str(_PING_WAIT_S), address))


async def _address(target: str, lab: Lab, run: Run, left_s: float) -> str:
    """The address that is meant: as written, or of a node by what the lab file says, or by what the node says."""
    name, _, interface = target.partition(":")
    node = lab.nodes.get(name)
    if node is None:
        return target
    for key, settings in node.interfaces.items():
        for address in settings.address:
            if "/" in address and interface in ("", key):
                return address.partition("/")[0]
    words = (BUSYBOX, "ip", "-o", "address", "show", "scope", "global", *(("dev", interface) if interface else ()))
    answer = await run(name, ExecRequest(argv=words), left_s)
    found = re.search(r"\binet6? ([0-9a-f.:]+)", answer.stdout.decode("utf-8", "replace"))
    if found is None:
        raise GuestError(f"{target} has no address yet")
    return found[1]


def _complaint(test: LabTest, status: int, output: str) -> str:
    """What is wrong with an answer; empty if nothing."""
    if test.ping is not None:
        if test.fails:
            return f"{test.ping} answers, but should not" if status == 0 else ""
        return "" if status == 0 else f"{test.ping} does not answer"
    if test.fails:
        if status == 0:
            return "the command ended with status 0, but should fail"
    elif status != (test.status or 0):
        return f"the command ended with status {status}, not {test.status or 0}"
    for text in test.output:
        if text not in output:
            return f"{text!r} is not in the output"
    for pattern in test.matches:
        if not re.search(pattern, output, re.MULTILINE):
            return f"nothing in the output matches {pattern!r}"
    for text in test.excludes:
        if text in output:
            return f"{text!r} is in the output"
    return ""
