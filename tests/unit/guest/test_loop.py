"""The guest's main loop (kernel/init) on this machine: console, commands, signals, and the end."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from gns3_minivm.base.errors import UsageError
from gns3_minivm.guest import exec as host
from gns3_minivm.guest.exec import ExecRequest, GuestState
from gns3_minivm.guest.frames import DATA_MAX, Frame, encode_request
from tests.support.guest_loop import LIMIT_S, guest_loop
from tests.support.parsers import Parsers
from tests.support.tools import require_tool

SERVICE = ("sh", "-c", "echo at work; trap 'echo done; exit 3' TERM; while :; do sleep 0.1; done")


def request_of(size: int, stdin: bytes | None) -> ExecRequest:
    """A request whose document has exactly this many bytes; it says how much it was given."""
    words = ["sh", "-c", "echo ${#1}; cat", "sh"]
    rest = sum(len(f"arg {word}\n") for word in words) + len("arg \n\n") + len("stdin\n") * (stdin is not None)
    return ExecRequest(argv=[*words, "x" * (size - rest)], stdin=stdin)


def test_both_sides_name_the_same_limits(parsers: Parsers) -> None:
    assert parsers.run("limits", b"") == [("request", str(host.REQUEST_MAX)), ("data", str(DATA_MAX))]


@pytest.mark.parametrize("stdin", [None, b"", b"input " * 50_000], ids=["no input", "empty input", "long input"])
def test_the_host_counts_a_request_without_its_standard_input(stdin: bytes | None) -> None:
    fits = request_of(host.REQUEST_MAX, stdin).encode()
    assert len(fits) == host.REQUEST_MAX + len(stdin or b"")
    with pytest.raises(
        UsageError, match="has 65537 bytes with its environment; a guest accepts at most 65536"
    ) as caught:
        request_of(host.REQUEST_MAX + 1, stdin).encode()
    assert "standard input" in caught.value.hint


@pytest.mark.parametrize("stdin", [None, b"", b"input " * 50_000], ids=["no input", "empty input", "long input"])
async def test_the_guest_takes_what_the_host_sends_up_to_the_limit(
    loop_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stdin: bytes | None
) -> None:
    async with guest_loop(loop_program, tmp_path, "", SERVICE) as loop:
        # Around 65,200 bytes the first piece of the input begins in the last piece of the request.
        for size in (65_200, host.REQUEST_MAX - 1, host.REQUEST_MAX):
            request = request_of(size, stdin)
            answer = await loop.commands.run(request, timeout_s=LIMIT_S)
            assert (answer.failure, answer.exit_status) == ("", 0)
            assert answer.stdout == f"{len(request.argv[-1])}\n".encode() + (stdin or b"")
        monkeypatch.setattr(host, "REQUEST_MAX", 1 << 20)
        for size in (65_537, 65_536 + DATA_MAX, 200_000):
            answer = await loop.commands.run(request_of(size, stdin), timeout_s=LIMIT_S)
            assert (answer.exit_status, answer.failure) == (126, "the request is larger than 65536 bytes")
        assert "status: 3" in await loop.ask_for_end(ExecRequest(shell="kill -TERM 1"))


async def test_a_process_whose_name_starts_with_a_blank_can_ask_for_the_end(loop_program: Path, tmp_path: Path) -> None:
    shutil.copy(require_tool("sh"), tmp_path / " sh")
    async with guest_loop(loop_program, tmp_path, "", SERVICE) as loop:
        await loop.expect(b"at work")
        await loop.commands.hello(LIMIT_S)
        asked = ExecRequest(argv=[str(tmp_path / " sh"), "-c", "kill -TERM 1; sleep 60"])
        assert await loop.ask_for_end(asked) == "status: 3\nreboot: power off\n"


@pytest.mark.parametrize(("signal", "how"), [("INT", "restart"), ("USR1", "power off"), ("PWR", "power off")])
async def test_signals_to_process_1_end_the_program_and_then_the_machine(
    loop_program: Path, tmp_path: Path, signal: str, how: str
) -> None:
    async with guest_loop(loop_program, tmp_path, "", SERVICE) as loop:
        await loop.expect(b"at work")
        await loop.commands.hello(LIMIT_S)
        report = await loop.ask_for_end(ExecRequest(shell=f"sleep 1000 & kill -{signal} 1"))
        await loop.expect(b"done")
        assert report == f"status: 3\nreboot: {how}\n"


async def test_enter_opens_a_shell_beside_a_service_and_exit_returns_to_its_output(
    loop_program: Path, tmp_path: Path
) -> None:
    flood = ("sh", "-c", 'while ! [ -e "$0" ]; do echo work; done; exit 4', str(tmp_path / "done"))
    async with guest_loop(loop_program, tmp_path, "", flood) as loop:
        await loop.expect(b"work\r\nwork\r\n")
        for _ in range(2):
            loop.write(b"\r")
            await loop.expect(b"a shell beside sh; exit returns to its output")
            loop.write(b"echo in the 'she''ll'; exit\r")
            await loop.expect(b"in the shell")
            await loop.expect(b"the output of sh; Enter opens a shell")
            await loop.expect(b"bytes of the output of sh were not kept")
            await loop.expect(b"work\r\nwork\r\n")
        # However often a shell was opened, the end of the service is noticed.
        (tmp_path / "done").touch()
        assert await loop.ended() == "status: 4\nreboot: power off\n"


async def test_commands_of_all_kinds_run_at_once_beside_a_program_that_has_the_console(
    loop_program: Path, tmp_path: Path
) -> None:
    async with guest_loop(
        loop_program, tmp_path, "", ("sh", "-c", 'echo at work; while read x; do echo "<$x>"; done')
    ) as loop:
        await loop.expect(b"at work")
        assert await loop.commands.hello(LIMIT_S) == GuestState("main", "loop")
        data = bytes(range(256)) * 200
        requests = [
            *(ExecRequest(shell=f"sleep 0.3; echo {number}") for number in range(7)),
            ExecRequest(argv=["cat"], stdin=data),
            ExecRequest(argv=["true"], stdin=data),
            ExecRequest(argv=["no-such-program"]),
            ExecRequest(argv=["true"], user="nobody-here"),
            ExecRequest(argv=["true"], working_dir="/none/such"),
            ExecRequest(shell="sleep 1000 & kill -SEGV $$"),
            ExecRequest(shell="head -c 300000 /dev/zero"),
        ]
        answers = await asyncio.gather(*(loop.commands.run(request, timeout_s=LIMIT_S) for request in requests))
        assert [answer.stdout for answer in answers[:8]] == [*(f"{number}\n".encode() for number in range(7)), data]
        assert [answer.exit_status for answer in answers[8:]] == [0, 127, 126, 126, 139, 0]
        assert answers[-1].stdout == bytes(300_000)
        loop.write(b"a line\r")
        await loop.expect(b"<a line>")
        loop.write(b"\x04")
        assert "status: 0" in await loop.ended()


async def test_damaged_foreign_and_unfinished_frames_do_nothing(loop_program: Path, tmp_path: Path) -> None:
    good = encode_request(Frame(kind="D", id="feedfeedfeedfeed", data=b"shell exit 1\n\n"))
    strange = [
        Frame(kind=kind, id="deaddeaddeaddead", number=number, data=b"x" * 672)
        for kind in "DEARBHx"
        for number in (0, 1, 999_999_999)
    ]
    async with guest_loop(loop_program, tmp_path, "minivm.console=main", ("cat",)) as loop:
        await loop.commands.hello(LIMIT_S)
        for damaged in (good[:-9] + b"00000000\x1f", good[:40] + b"x" + good[40:], good[1:], b"\x1e" * 50, good[:30]):
            loop.write(damaged)
        for frame in strange:
            loop.write(encode_request(frame))
        loop.write(b"\x1e7411;" + b"A" * 3000)
        answer = await loop.commands.run(ExecRequest(argv=["echo", "still there"]), timeout_s=LIMIT_S)
        assert answer.stdout == b"still there\n"
        await loop.ask_for_end(ExecRequest(shell="kill -USR1 1"))
