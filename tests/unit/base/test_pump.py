"""Streams from threads that either side may give up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from gns3_minivm.base.cancel import checkpoint, run_blocking
from gns3_minivm.base.pump import Abandoned, Inbox, abandonable, pumped, start_thread

LIMIT_S = 10


def test_items_come_in_their_order() -> None:
    assert list(pumped(lambda: iter(range(100)), "numbers", depth=2)) == list(range(100))


def test_items_come_before_the_error_that_follows_them() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = pumped(source, "broken", depth=2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_a_source_that_cannot_be_opened_is_an_error() -> None:
    def source() -> Iterator[int]:
        raise ValueError("not there")

    with pytest.raises(ValueError, match="not there"):
        next(pumped(source, "absent", depth=1))


def test_a_source_is_closed_by_its_thread_when_it_is_given_up() -> None:
    closed: list[str] = []
    done = threading.Event()

    def source() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
        finally:
            closed.append(threading.current_thread().name)
            done.set()

    items = pumped(source, "endless", depth=2)
    assert next(items) == 1
    items.close()
    assert done.wait(LIMIT_S)
    assert closed == ["endless"]


async def test_one_who_waits_for_a_source_that_hangs_can_give_up() -> None:
    waiting, release = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        waiting.set()
        release.wait(LIMIT_S)
        yield 1

    def work() -> int:
        return next(pumped(source, "hanging", depth=1))

    task = asyncio.create_task(run_blocking(work))
    while not waiting.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    started = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert time.monotonic() - started < LIMIT_S / 2


async def test_a_source_that_works_is_interrupted_with_its_caller() -> None:
    ended = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                checkpoint()
                time.sleep(0.01)
            yield 1
        finally:
            ended.set()

    task = asyncio.create_task(run_blocking(lambda: next(pumped(source, "busy", depth=1))))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.wait(LIMIT_S)


def test_one_inbox_takes_the_items_of_several_threads() -> None:
    inbox: Inbox[int] = Inbox(1)

    def put_five() -> None:
        for _ in range(5):
            inbox.put(1)

    threads = [start_thread(put_five, f"thread-{number}") for number in range(3)]
    assert sum(inbox.get() for _ in range(15)) == 15
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def test_what_is_brought_to_an_abandoned_inbox_ends_the_one_who_brings_it() -> None:
    inbox: Inbox[int] = Inbox(1)
    inbox.put(1)
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            inbox.put(2)
        except Abandoned as error:
            outcome.append(error)
        inbox.fail(ValueError("too late"))

    thread = start_thread(work, "late")
    inbox.abandon()
    thread.join(LIMIT_S)
    assert not thread.is_alive() and len(outcome) == 1


def test_an_abandonable_call_gives_its_result_or_raises_its_error() -> None:
    assert abandonable(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        abandonable(divmod, 7, 0)
