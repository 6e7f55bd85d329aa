"""One stream of events for everything that takes time.

Work is told as nested steps; a renderer (a bar, plain lines, JSON Lines) is a function that takes events.  The step
that a new one belongs to is kept in a context variable, so it is right in asyncio tasks and in ``asyncio.to_thread``.
A sink may be called from several threads.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from gns3_minivm.base.cancel import checkpoint

Unit = Literal["", "bytes", "files"]
Progress = Callable[[int], object]
"""Called with what has been done since the last call, in bytes if nothing else is said."""

_PROGRESS_INTERVAL_S = 0.1


def no_progress(amount: int) -> None:
    """For callers that show none."""


@dataclass(frozen=True, kw_only=True)
class StepStarted:
    step: int
    parent: int | None
    title: str
    total: int | None
    unit: Unit


@dataclass(frozen=True)
class StepAdvanced:
    """``done`` of ``total`` so far; sent at most ten times a second for one step."""

    step: int
    done: int
    total: int | None


@dataclass(frozen=True)
class StepFinished:
    step: int
    outcome: Literal["done", "failed"]
    elapsed_s: float
    detail: str


@dataclass(frozen=True)
class Note:
    level: Literal["info", "warning"]
    message: str


Event = StepStarted | StepAdvanced | StepFinished | Note
Sink = Callable[[Event], None]

_current: ContextVar[int | None] = ContextVar("gns3_minivm_step", default=None)
_numbers = itertools.count(1)


class Step:
    """A step under way; ``advance`` may be called from any thread, by one thread at a time."""

    def __init__(self, sink: Sink, number: int, total: int | None) -> None:
        self._sink = sink
        self._number = number
        self._total = total
        self._done = 0
        self._sent_at = 0.0
        self.detail = ""
        """Shown when the step has ended: what came out of it, in a few words."""

    def advance(self, amount: int) -> None:
        """Count ``amount`` more as done; raises cancel.Interrupted if the caller of this work has given up."""
        checkpoint()
        self._done += amount
        now = time.monotonic()
        if now - self._sent_at >= _PROGRESS_INTERVAL_S:
            self._sent_at = now
            self._sink(StepAdvanced(self._number, self._done, self._total))

    def expect(self, total: int) -> None:
        """Set the total once it is known."""
        self._total = total
        self._sink(StepAdvanced(self._number, self._done, self._total))


class Events:
    """What the working code is given: starts steps and passes notes on to one sink."""

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink: Sink = sink or (lambda _: None)

    @contextmanager
    def step(self, title: str, *, total: int | None = None, unit: Unit = "") -> Iterator[Step]:
        """Tell a step of work; it counts as failed if the block raises."""
        number = next(_numbers)
        self._sink(StepStarted(step=number, parent=_current.get(), title=title, total=total, unit=unit))
        step = Step(self._sink, number, total)
        token = _current.set(number)
        started = time.monotonic()
        outcome: Literal["done", "failed"] = "failed"
        try:
            yield step
            outcome = "done"
        finally:
            _current.reset(token)
            self._sink(StepFinished(number, outcome, time.monotonic() - started, step.detail))

    def info(self, message: str) -> None:
        self._sink(Note("info", message))

    def warn(self, message: str) -> None:
        self._sink(Note("warning", message))
