"""Programs that fail are shown as a command line to paste; a cancelled caller ends them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.command import run
from gns3_minivm.base.errors import PackageError, ToolError


def test_what_a_program_writes_is_returned_and_lines_can_be_taken_out() -> None:
    seen: list[str] = []

    def see(line: str) -> bool:
        seen.append(line)
        return line == "two"

    assert run(("sh", "-c", "echo one; echo two >&2; echo three"), on_line=see) == "one\nthree"
    assert seen == ["one", "two", "three"]


def test_a_failing_program_is_shown_with_its_command_folder_status_and_words(tmp_path: Path) -> None:
    with pytest.raises(PackageError) as caught:
        run(("sh", "-c", "echo 'no luck' >&2; exit 3"), error=PackageError, hint="Try again.", folder=tmp_path)
    expected = f"`cd {tmp_path} && sh -c 'echo '\"'\"'no luck'\"'\"' >&2; exit 3'` ended with status 3:\n  no luck"
    assert caught.value.message == expected
    assert caught.value.hint == "Try again."


def test_a_missing_program_is_told() -> None:
    with pytest.raises(ToolError, match="cannot run `/none/tool -x`: No such file"):
        run(("/none/tool", "-x"))


def test_a_killed_program_is_told() -> None:
    with pytest.raises(ToolError, match="ended with signal 9"):
        run(("sh", "-c", "kill -9 $$"))


async def test_a_cancelled_caller_ends_the_program() -> None:
    task = asyncio.create_task(run_blocking(run, ("sleep", "60")))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 5
