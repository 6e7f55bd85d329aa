"""Work for many things, a few of them at a time."""

from __future__ import annotations

import asyncio

import pytest

from gns3_minivm.base.bounded import bounded_map
from gns3_minivm.base.errors import UserError


async def test_results_come_in_the_order_of_the_items() -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0.001 * (5 - number))
        return number * 2

    assert await bounded_map(work, range(5), at_once=3) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_no_more_than_that_are_at_work_at_once(at_once: int) -> None:
    running, most = 0, 0

    async def work(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    await bounded_map(work, range(10), at_once=at_once)
    assert most == at_once


async def test_the_first_error_is_raised_as_it_is_and_ends_the_rest() -> None:
    begun: set[int] = set()
    cancelled: set[int] = set()
    cause = OSError("the reason")

    async def work(number: int) -> None:
        begun.add(number)
        if number == 1:
            raise UserError("wrong") from cause
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.add(number)
            raise

    with pytest.raises(UserError, match="wrong") as caught:
        await bounded_map(work, range(9), at_once=3)
    assert caught.value.__cause__ is cause
    # The next one in the queue may have begun meanwhile.
    assert {0, 1, 2} <= begun <= {0, 1, 2, 3} and cancelled == begun - {1}


async def test_a_caller_who_is_cancelled_leaves_nothing_at_work() -> None:
    ended = []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    task = asyncio.create_task(bounded_map(work, range(4), at_once=2))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [0, 1]


async def test_nothing_to_do_is_done_at_once() -> None:
    async def work(item: object) -> object:
        raise AssertionError(item)

    assert await bounded_map(work, (), at_once=2) == []
