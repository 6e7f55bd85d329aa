"""Checks of a lab: tried until they hold, judged by status and output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import GuestError, MiniVMError, NodeError, NotFoundError, UsageError
from gns3_minivm.documents import parse_document
from gns3_minivm.guest.exec import ExecRequest, ExecResult
from gns3_minivm.labs import checks
from gns3_minivm.labs.checks import BUSYBOX, CheckResult, run_checks
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.read import lab_from

Answer = Callable[[str, ExecRequest], ExecResult]


def lab(*tests: dict[str, Any]) -> Lab:
    text = (
        "name: lab\n"
        "nodes: {h1: {image: i}, h2: {image: i, interfaces: {eth0: dhcp, eth1: [10.0.0.2/24]}}, h3: {image: i}}"
    )
    document = parse_document(Path("lab.yml"), text, what="a lab")
    document.values["tests"] = [{"within": 0.2, **test} for test in tests]
    return lab_from(document)


def said(status: int = 0, stdout: bytes = b"", stderr: bytes = b"", failure: str = "") -> ExecResult:
    return ExecResult(status=status, signal=0, failure=failure, stdout=stdout, stderr=stderr)


async def check(answer: Answer, *tests: dict[str, Any]) -> list[CheckResult]:
    async def run(node: str, request: ExecRequest, limit_s: float) -> ExecResult:
        assert 0 < limit_s <= 3600
        await asyncio.sleep(0)
        return answer(node, request)

    return list(await run_checks(lab(*tests), run))


@pytest.mark.parametrize(
    ("expected", "outcome", "message"),
    [
        ({}, "passed", ""),
        ({"status": 3}, "failed", "the command ended with status 0, not 3"),
        ({"output": "Full"}, "passed", ""),
        ({"output": ["Full", "absent"]}, "failed", "'absent' is not in the output"),
        ({"output": "warned"}, "passed", ""),
        ({"matches": r"^10\.0\.\d+ Full$"}, "passed", ""),
        ({"matches": "^Full"}, "failed", "nothing in the output matches '^Full'"),
        ({"excludes": "Init"}, "passed", ""),
        ({"excludes": ["Init", "Full"]}, "failed", "'Full' is in the output"),
        ({"fails": True}, "failed", "the command ended with status 0, but should fail"),
    ],
)
async def test_a_command_is_judged_by_its_status_and_output(
    expected: dict[str, Any], outcome: str, message: str
) -> None:
    def answer(node: str, request: ExecRequest) -> ExecResult:
        assert (node, request.shell) == ("h1", "show ospf")
        return said(0, b"head\n10.0.2 Full\n", b"warned\n")

    (result,) = await check(answer, {"node": "h1", "exec": "show ospf", **expected})
    assert (result.outcome, result.message) == (outcome, message)
    assert result.output == "head\n10.0.2 Full\nwarned\n"


@pytest.mark.parametrize(
    ("expected", "outcome"), [({}, "failed"), ({"status": 4}, "passed"), ({"fails": True}, "passed")]
)
async def test_a_command_may_be_meant_to_fail(expected: dict[str, Any], outcome: str) -> None:
    (result,) = await check(lambda *_: said(4), {"node": "h1", "exec": ["false"], **expected})
    assert result.outcome == outcome


async def test_a_check_is_tried_again_until_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_BETWEEN_S", 0.01)
    answers: list[ExecResult | GuestError] = [
        said(1),
        GuestError("still booting"),
        said(0, failure="no such program"),
        said(0),
    ]

    def answer(_node: str, _request: ExecRequest) -> ExecResult:
        found = answers.pop(0)
        if isinstance(found, GuestError):
            raise found
        return found

    (result,) = await check(answer, {"node": "h1", "exec": "true", "within": 30})
    assert (result.outcome, result.attempts, result.message) == ("passed", 4, "")


async def test_what_never_answers_is_an_error_with_the_last_reason() -> None:
    def answer(_node: str, _request: ExecRequest) -> ExecResult:
        raise GuestError("the guest's console has closed")

    (result,) = await check(answer, {"node": "h1", "exec": "true"})
    assert (result.outcome, result.message) == ("error", "the guest's console has closed")
    assert result.elapsed_s >= 0.2


@pytest.mark.parametrize(
    "error",
    [
        UsageError("node h1 (vpcs) is not a MiniVM"),
        NodeError("node h1 is stopped"),
        NotFoundError("the project 'lab' has no node 'h1'"),
    ],
)
async def test_what_can_never_hold_is_not_tried_again(error: MiniVMError) -> None:
    def answer(_node: str, _request: ExecRequest) -> ExecResult:
        raise error

    (result,) = await check(answer, {"node": "h1", "exec": "true", "within": 60})
    assert (result.outcome, result.message, result.attempts) == ("error", error.message, 1)


async def test_a_ping_of_a_node_that_does_not_run_is_told_at_once() -> None:
    def answer(node: str, _request: ExecRequest) -> ExecResult:
        if node == "h3":
            raise NodeError("node h3 is stopped")
        return said()

    (result,) = await check(answer, {"node": "h1", "ping": "h3", "within": 60})
    assert (result.outcome, result.message, result.attempts) == ("error", "node h3 is stopped", 1)


async def test_an_address_is_pinged_without_the_images_own_ping() -> None:
    seen = []

    def answer(node: str, request: ExecRequest) -> ExecResult:
        seen.append((node, tuple(request.argv)))
        return said()

    results = await check(answer, {"node": "h1", "ping": "192.0.2.1"})
    assert seen == [("h1", (BUSYBOX, "ping", "-c", "1", "-W", "2", "192.0.2.1"))]
    assert [(result.name, result.outcome) for result in results] == [("h1 pings 192.0.2.1", "passed")]


async def test_an_address_that_should_not_answer_has_several_chances() -> None:
    seen: list[str] = []

    def answer(_node: str, request: ExecRequest) -> ExecResult:
        seen.append(request.argv[3])
        return said(0 if request.argv[-1] == "192.0.2.2" else 1)

    results = await check(
        answer,
        {"node": "h1", "ping": "192.0.2.1", "fails": True},
        {"node": "h1", "ping": "192.0.2.2", "fails": True},
    )
    assert [result.outcome for result in results] == ["passed", "failed"]
    assert set(seen) == {"3"} and results[1].message == "192.0.2.2 answers, but should not"


async def test_a_node_is_pinged_at_the_address_that_the_file_gives_it_or_that_it_has() -> None:
    asked = []

    def answer(node: str, request: ExecRequest) -> ExecResult:
        if request.argv[1] == "ping":
            asked.append(request.argv[-1])
            return said()
        assert node in ("h2", "h3")
        return said(
            0, b"2: eth0    inet 198.51.100.7/24 brd 198.51.100.255 scope global eth0\n" if node == "h3" else b""
        )

    results = await check(
        answer,
        {"node": "h1", "ping": "h2"},
        {"node": "h1", "ping": "h3:eth0"},
        {"node": "h1", "ping": "h2:eth0"},
    )
    assert asked == ["10.0.0.2", "198.51.100.7"]
    assert (results[2].outcome, results[2].message) == ("error", "h2:eth0 has no address yet")


async def test_checks_run_at_once_but_not_too_many_and_are_told_as_they_come() -> None:
    running = most = 0
    told: list[CheckResult] = []

    async def run(_node: str, request: ExecRequest, _limit_s: float) -> ExecResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02 if request.shell == "0" else 0.001)
        running -= 1
        return said()

    tests = [{"node": "h1", "name": f"check {n}", "exec": str(n), "within": 30} for n in range(9)]
    results = await run_checks(lab(*tests), run, at_once=3, on_result=told.append)
    assert most == 3
    assert [result.name for result in results] == [f"check {n}" for n in range(9)]
    assert len(told) == 9 and told[0].name != "check 0"


async def test_long_output_is_cut_and_bytes_that_are_no_text_are_no_trouble() -> None:
    (result,) = await check(lambda *_: said(1, b"\xff" + b"x" * 9000), {"node": "h1", "exec": "cat"})
    assert len(result.output) == 4000
