"""Blocking work in threads stops, and cleans up, when its caller is cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from gns3_minivm.base.cancel import Interrupted, checkpoint, on_cancel, run_blocking
from gns3_minivm.base.events import Event, Events, StepFinished, StepStarted


async def test_a_result_and_an_error_come_back_as_they_are() -> None:
    assert await run_blocking(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await run_blocking(lambda: 1 // 0)


async def test_cancelled_work_stops_at_its_next_progress_and_has_cleaned_up_when_the_task_ends(tmp_path: Path) -> None:
    half_done = tmp_path / "half"
    started = threading.Event()

    def work() -> None:
        half_done.touch()
        try:
            with Events().step("copy") as step:
                while True:
                    started.set()
                    step.advance(1)
                    time.sleep(0.001)
        finally:
            half_done.unlink()

    task = asyncio.create_task(run_blocking(work))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not half_done.exists()


async def test_cancelling_ends_what_the_work_waits_for() -> None:
    released, waiting = threading.Event(), threading.Event()

    def work() -> None:
        with on_cancel(released.set):
            waiting.set()
            released.wait()
            checkpoint()

    task = asyncio.create_task(run_blocking(work))
    await asyncio.to_thread(waiting.wait)
    task.cancel()
    before = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - before < 5


def test_an_interruption_is_not_taken_for_a_failure() -> None:
    assert not issubclass(Interrupted, Exception)


async def test_a_step_in_a_thread_belongs_to_the_step_that_started_the_thread() -> None:
    seen: list[Event] = []
    events = Events(seen.append)

    def work() -> None:
        with events.step("inner"):
            pass

    with events.step("outer"):
        await run_blocking(work)
    outer, inner = (event for event in seen if isinstance(event, StepStarted))
    assert inner.parent == outer.step and outer.parent is None
    assert [event.outcome for event in seen if isinstance(event, StepFinished)] == ["done", "done"]
