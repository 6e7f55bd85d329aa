"""Three renderings of the event stream: bars on a terminal, plain lines elsewhere, JSON Lines.

Bars and lines go to standard error, so that standard output holds results only; JSON Lines go to standard output,
with the result (or the error) as the last line.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from gns3_minivm.base.events import Event, Note, StepAdvanced, StepFinished, StepStarted, Unit

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

_PLAIN_INTERVAL_S = 10.0
_FRAME_S = 0.1
_WIDE = 72
"""Columns of a terminal that has room for a bar beside its title."""
_DUMB = ("dumb", "unknown")
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Renderer(Protocol):
    """Takes events from any thread; ``close`` leaves the terminal as it was."""

    def __call__(self, event: Event) -> None: ...

    def aside(self) -> AbstractContextManager[None]:
        """Keep the terminal free until the block ends, for something else to be written."""
        ...

    def close(self) -> None: ...


def choose(*, as_json: bool, quiet: bool) -> Renderer:
    """The renderer that fits the options and where standard error goes."""
    if as_json:
        return JsonLines(sys.stdout)
    if quiet:
        return Quiet(sys.stderr)
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") not in _DUMB
    return Bars() if is_terminal else PlainLines(sys.stderr)


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

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        pass


class Quiet:
    """Warnings only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note) and event.level == "warning":
            print(f"warning: {event.message}", file=self._stream, flush=True)

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

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

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        pass


class Bars:
    """Bars with elapsed time on a terminal; a finished step becomes a plain line above them.

    rich draws the bars, and this class places them: rich's own Live writes from a thread of its own what it has laid
    out at another moment, and takes away as many lines as it believes to stand there, so that a dead bar stays now and
    then.  Here everything is written under one lock, in one piece, by whoever has the lock.  The cursor waits at the
    left end of the last bar, where the ^C that a terminal echoes does not break the line.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column
        from rich.text import Text

        class Title(TextColumn):
            """What gets shorter where a line has no room."""

            def render(self, task: Task) -> Text:
                return Text(task.description, no_wrap=True, overflow="ellipsis")

        self._console = Console(stderr=True, highlight=False)
        title = Title("", table_column=Column(no_wrap=False))
        amount = TextColumn("{task.fields[amount]}", markup=False)
        bar = BarColumn(bar_width=30, table_column=Column(no_wrap=True))
        self._narrow = (SpinnerColumn(), title, amount, TimeElapsedColumn())
        self._wide = (SpinnerColumn(), title, bar, amount, TimeElapsedColumn())
        self._progress: Progress = Progress(console=self._console, auto_refresh=False)
        self._lock = threading.Lock()
        self._steps: dict[int, tuple[StepStarted, TaskID]] = {}
        self._shown: list[int] = []
        """The widths of the lines that the bars stand in."""
        self._done: threading.Event | None = None
        """Ends the thread that keeps the bars moving; None where none does."""

    def __call__(self, event: Event) -> None:
        with self._lock:
            line = self._take(event)
            if line or not self._steps:
                self._write(line)
            if self._steps and self._done is None:
                self._done = threading.Event()
                threading.Thread(target=self._move, args=(self._done,), name="bars", daemon=True).start()
            elif not self._steps:
                self._rest()

    def _take(self, event: Event) -> str:
        """Note an event; returns the line to be written above the bars, if any."""
        if isinstance(event, StepStarted):
            if event.parent is None or event.parent in self._steps:
                title = "  " * self._depth(event) + event.title
                task = self._progress.add_task(title, total=event.total, amount="")
                self._steps[event.step] = (event, task)
        elif isinstance(event, StepAdvanced):
            if event.step in self._steps:
                step, task = self._steps[event.step]
                text = amount(event.done, event.total, step.unit)
                self._progress.update(task, completed=event.done, total=event.total, amount=text)
        elif isinstance(event, StepFinished):
            if event.step in self._steps:
                step, task = self._steps.pop(event.step)
                self._progress.remove_task(task)
                mark = "✓" if event.outcome == "done" else "✗"
                return f"{'  ' * self._depth(step)}{mark} {step.title}: {ending(event)}"
        else:
            return ("warning: " if event.level == "warning" else "") + event.message
        return ""

    def _depth(self, step: StepStarted) -> int:
        depth, parent = 0, step.parent
        while parent is not None and parent in self._steps:
            depth, parent = depth + 1, self._steps[parent][0].parent
        return depth

    def _move(self, done: threading.Event) -> None:
        while not done.wait(_FRAME_S):
            with self._lock:
                if not done.is_set():
                    self._write()

    def _write(self, line: str = "", *, bars: bool = True) -> None:
        """Write a line where the bars stand, and the bars below it; called with the lock."""
        from rich.cells import cell_len

        frame = self._frame() if self._steps and bars else []
        text = self._erased() if self._shown else ""
        text += f"{line}\n" if line else ""
        if frame:
            text += _HIDE_CURSOR + "\n".join(frame) + "\r"
        elif self._shown:
            text += _SHOW_CURSOR
        self._shown = [cell_len(_COLORS.sub("", one)) for one in frame]
        if text:
            self._console.file.write(text)
            self._console.file.flush()

    def _erased(self) -> str:
        """What takes the bars away, line by line: some terminals keep what is erased from their top to their end."""
        # A terminal that was made narrower has wrapped them; the cursor is where the last one starts.
        rows = [max(1, -(-width // self._console.width)) for width in self._shown]
        below, above = rows[-1] - 1, sum(rows[:-1])
        return "\r\x1b[2K" + "\x1b[1B\x1b[2K" * below + "\x1b[1A" * below + "\x1b[1A\x1b[2K" * above

    def _frame(self) -> list[str]:
        """The bars as they are now, each in a line; those that do not fit the terminal are left out."""
        columns = self._console.width
        self._progress.columns = self._wide if columns >= _WIDE else self._narrow
        with self._console.capture() as capture:
            self._console.print(self._progress.make_tasks_table(self._progress.tasks))
        lines = capture.get().splitlines()
        return lines[: max(1, self._console.height - 1)]

    @contextmanager
    def aside(self) -> Iterator[None]:
        with self._lock:
            self._write(bars=False)
            yield

    def close(self) -> None:
        with self._lock:
            # What goes on all the same belongs to work that was given up: it has no bars any more.
            for _, task in self._steps.values():
                self._progress.remove_task(task)
            self._steps.clear()
            self._write()
            self._rest()

    def _rest(self) -> None:
        if self._done is not None:
            self._done.set()
            self._done = None


def ending(event: StepFinished) -> str:
    """How a step ended, in words: "done in 1.2 s, 52 MB"."""
    word = "done in" if event.outcome == "done" else "failed after"
    return f"{word} {event.elapsed_s:.1f} s" + (f", {event.detail}" if event.detail else "")


def amount(done: int, total: int | None, unit: Unit) -> str:
    """How much is done, in words: "12 of 52 MB", "300 files"."""
    if unit == "bytes":
        return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
    return f"{done} of {total} {unit}".rstrip() if total else f"{done} {unit}".rstrip()
