"""What a person sees of the bars on a terminal, while they move and after they have gone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.screen import Screen

BAR = "━"

MANY_THREADS = """
import threading, time
from gns3_minivm.base.events import Events
from gns3_minivm.cli.frame.progress import choose

renderer = choose(as_json=False, quiet=False)
events = Events(renderer)

def work(number):
    for turn in range(6):
        with events.step(f"step {number}.{turn}", total=100, unit="files") as step:
            for _ in range(4):
                step.advance(25)
                time.sleep(0.005 * ((number * 7 + turn * 3) % 5 + 1))
        events.info(f"note {number}.{turn}")

with events.step("All"):
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
renderer.close()
print("result")
"""

LONG_WORK = """
import sys, threading, time
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.cli.frame.run import run_command_line
from gns3_minivm.cli.frame.session import Session

def work(events):
    with events.step("A long title " + "x" * int(sys.argv[1]), total=10**6, unit="files") as step:
        for _ in range(10**6):
            step.advance(1)
            time.sleep(0.01)

async def operation(context):
    with context.events.step("All"):
        await run_blocking(work, context.events)

try:
    Session().perform(operation)
except KeyboardInterrupt:
    print("interrupted")
"""


def program(text: str, *words: str, columns: int = 80, rows: int = 24, stdout: int | None = None) -> Screen:
    return Screen([sys.executable, "-c", text, *words], columns=columns, rows=rows, stdout=stdout)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 4)])
def test_no_bar_stays_where_steps_end_in_many_threads(columns: int, rows: int) -> None:
    for _ in range(3):
        screen = program(MANY_THREADS, columns=columns, rows=rows)
        assert screen.finish() == 0
        lines = [line.strip() for line in screen.lines]
        assert sorted(line for line in lines if line.startswith("note")) == sorted(
            f"note {number}.{turn}" for number in range(4) for turn in range(6)
        )
        assert sum(line.startswith("✓ step") for line in lines) == 24
        assert len(lines) == 50 and lines[-2].startswith("✓ All: done in") and lines[-1] == "result"
        assert screen.cursor_is_shown


@pytest.mark.parametrize("longer_by", [0, 200])
def test_ctrl_c_leaves_no_bar_behind(longer_by: int) -> None:
    """A terminal echoes ^C where the cursor is; behind a bar as wide as the terminal it would begin another line."""
    screen = program(LONG_WORK, str(longer_by))
    screen.wait_for(lambda lines: any("files 0:00" in line for line in lines))
    assert not screen.cursor_is_shown
    screen.type("\x03")
    assert screen.finish() == 0
    text = "\n".join(screen.lines)
    assert BAR not in text and "^C" not in text
    assert "✗ All: failed after" in text and screen.lines[-1] == "interrupted"
    assert screen.cursor_is_shown


def test_what_is_printed_meanwhile_stands_above_the_bars_and_goes_where_standard_output_goes(tmp_path: Path) -> None:
    text = """
import time
from gns3_minivm.cli.frame.session import Session

session = Session()

async def operation(context):
    with context.events.step("All"):
        time.sleep(0.3)
        session.announce({}, "the plan")
        time.sleep(0.3)

session.perform(operation)
"""
    screen = program(text)
    assert screen.finish() == 0
    assert [line.partition(":")[0] for line in screen.lines] == ["the plan", "✓ All"]
    with (tmp_path / "out").open("wb") as out:
        screen = program(text, stdout=out.fileno())
    assert screen.finish() == 0
    assert [line.partition(":")[0] for line in screen.lines] == ["✓ All"]
    assert (tmp_path / "out").read_text() == "the plan\n"


def test_a_step_of_work_that_was_given_up_brings_no_bar_back() -> None:
    text = """
import threading, time
from gns3_minivm.base.events import Events
from gns3_minivm.cli.frame.progress import choose

renderer = choose(as_json=False, quiet=False)
events = Events(renderer)
outer = events.step("All")
outer.__enter__()
with events.step("inner") as step:
    time.sleep(0.2)
    renderer.close()
    step.expect(5)
    with events.step("later"):
        time.sleep(0.3)
events.warn("still heard")
"""
    screen = program(text)
    assert screen.finish() == 0
    assert screen.lines == ["warning: still heard"]


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    screen = Screen([sys.executable, "-c", MANY_THREADS], environment={"TERM": "dumb"})
    assert screen.finish() == 0
    assert "step 0.0 ..." in [line.strip() for line in screen.lines] and BAR not in "".join(screen.lines)
