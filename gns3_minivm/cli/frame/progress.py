"""Three renderings of the event stream: bars on a terminal, plain lines elsewhere, JSON Lines.

Bars and lines go to standard error, so that standard output holds results only; JSON Lines go to standard output,
with the result (or the error) as the last line.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from gns3_minivm.base.events import Event, Note, StepAdvanced, StepFinished, StepStarted, Unit

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PLAIN_INTERVAL_S = 10.0


class Renderer(Protocol):
    """Takes events from any thread; ``close`` leaves the terminal as it was."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


def choose(*, as_json: bool, quiet: bool) -> Renderer:
    """The renderer that fits the options and where standard error goes."""
    if as_json:
        return JsonLines(sys.stdout)
    if quiet:
        return Quiet(sys.stderr)
    return Bars() if sys.stderr.isatty() else PlainLines(sys.stderr)


class JsonLines:
    """One JSON object a line: ``{"event": "step-started", ...}``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(event).__name__).lower()
        self.write({"event": name, **dataclasses.asdict(event)})

    def write(self, document: dict[str, Any]) -> None:
        with self._lock:
            print(json.dumps(document), file=self._stream, flush=True)

    def close(self) -> None:
        pass


class Quiet:
    """Warnings only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note) and event.level == "warning":
            print(f"warning: {event.message}", file=self._stream, flush=True)

    def close(self) -> None:
        pass


class PlainLines:
    """A line when a step starts, when it ends, and every ten seconds while it goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._steps: dict[int, StepStarted] = {}
        self._told_at: dict[int, float] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            line = self._line(event)
            if line:
                print(line, file=self._stream, flush=True)

    def _line(self, event: Event) -> str:
        if isinstance(event, StepStarted):
            self._steps[event.step] = event
            self._told_at[event.step] = time.monotonic()
            return f"{self._indent(event.step)}{event.title} ..."
        if isinstance(event, StepAdvanced):
            step = self._steps[event.step]
            if time.monotonic() - self._told_at[event.step] < _PLAIN_INTERVAL_S:
                return ""
            self._told_at[event.step] = time.monotonic()
            return f"{self._indent(event.step)}{step.title}: {amount(event.done, event.total, step.unit)}"
        if isinstance(event, StepFinished):
            indent, step = self._indent(event.step), self._steps.pop(event.step)
            return f"{indent}{step.title}: {ending(event)}"
        return f"warning: {event.message}" if event.level == "warning" else event.message

    def _indent(self, number: int) -> str:
        depth, step = 0, self._steps.get(number)
        while step is not None and step.parent is not None:
            depth, step = depth + 1, self._steps.get(step.parent)
        return "  " * depth

    def close(self) -> None:
        pass


class Bars:
    """Bars with elapsed time on a terminal; a finished step becomes a plain line above them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._lock = threading.Lock()
        self._steps: dict[int, tuple[StepStarted, TaskID]] = {}
        self._started = False

    def __call__(self, event: Event) -> None:
        with self._lock:
            if not self._started:
                self._progress.start()
                self._started = True
            self._show(event)
            if not self._steps:
                # Nothing is going on: the terminal may be wanted for something else, such as a guest's console.
                self._stop()

    def _show(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            title = "  " * self._depth(event) + event.title
            task = self._progress.add_task(title, total=event.total, amount="")
            self._steps[event.step] = (event, task)
        elif isinstance(event, StepAdvanced):
            step, task = self._steps[event.step]
            text = amount(event.done, event.total, step.unit)
            self._progress.update(task, completed=event.done, total=event.total, amount=text)
        elif isinstance(event, StepFinished):
            step, task = self._steps.pop(event.step)
            self._progress.remove_task(task)
            mark = "✓" if event.outcome == "done" else "✗"
            line = f"{'  ' * self._depth(step)}{mark} {step.title}: {ending(event)}"
            self._progress.console.print(line, markup=False)
        else:
            prefix = "warning: " if event.level == "warning" else ""
            self._progress.console.print(prefix + event.message, markup=False)

    def _depth(self, step: StepStarted) -> int:
        depth, parent = 0, step.parent
        while parent is not None and parent in self._steps:
            depth, parent = depth + 1, self._steps[parent][0].parent
        return depth

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._started:
            self._progress.stop()
            self._started = False


def ending(event: StepFinished) -> str:
    """How a step ended, in words: "done in 1.2 s, 52 MB"."""
    word = "done" if event.outcome == "done" else "failed"
    return f"{word} in {event.elapsed_s:.1f} s" + (f", {event.detail}" if event.detail else "")


def amount(done: int, total: int | None, unit: Unit) -> str:
    """How much is done, in words: "12 of 52 MB", "300 files"."""
    if unit == "bytes":
        return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
    return f"{done} of {total} {unit}".rstrip() if total else f"{done} {unit}".rstrip()
