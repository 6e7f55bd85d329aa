"""A terminal for tests: a program runs in a pty, and what a person would see of it is kept, with what scrolled away."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pyte

_OWN_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Has Ctrl-C in the terminal reach the program, as a shell would arrange it."""


class _KeepsWhatIsCleared(pyte.HistoryScreen):
    """What is erased from the top of the screen to its end is not lost, but scrolls away, as in tmux and kitty."""

    def erase_in_display(self, how: int = 0, *more: Any, **other: Any) -> None:
        if how == 2 or (how == 0 and (self.cursor.x, self.cursor.y) == (0, 0)):
            shown = [row for row, line in enumerate(self.display) if line.strip()]
            self.history.top.extend(copy(self.buffer[row]) for row in range(max(shown, default=-1) + 1))
        super().erase_in_display(how, *more, **other)


class Screen:
    """A program in a terminal of its own; ``lines`` is all that it shows, from the first line that scrolled away."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 80, rows: int = 24, folder: Path | None = None,
        environment: Mapping[str, str] | None = None, stdout: int | None = None,
    ) -> None:  # fmt: skip
        self._screen = _KeepsWhatIsCleared(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, *command],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env=variables | {"TERM": "xterm-256color", **(environment or {})},
            cwd=folder,
            start_new_session=True,
        )
        os.close(slave)

    @property
    def lines(self) -> list[str]:
        above = [
            "".join(row[column].data for column in range(self._screen.columns)).rstrip()
            for row in self._screen.history.top
        ]
        lines = above + [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def cursor_is_shown(self) -> bool:
        return not self._screen.cursor.hidden

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, holds: Callable[[list[str]], bool], limit_s: float = 30) -> None:
        """Read until the lines are as they are wanted; the program is ended if they do not get so."""
        deadline = time.monotonic() + limit_s
        while not holds(self.lines):
            if time.monotonic() > deadline or not self._read(deadline):
                self._end()
                raise AssertionError("\n".join(self.lines))

    def finish(self, limit_s: float = 60) -> int:
        """Read until the program ends; returns its exit status."""
        deadline = time.monotonic() + limit_s
        try:
            while self._read(deadline):
                assert time.monotonic() < deadline, "\n".join(self.lines)
            return self._process.wait(limit_s)
        finally:
            self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        os.close(self._master)

    def _read(self, deadline: float) -> bool:
        """Take in what there is; False once the program has closed the terminal."""
        if not select.select([self._master], [], [], max(0.0, min(1.0, deadline - time.monotonic())))[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # as Linux tells that the other end is closed
            return False
        self._stream.feed(data)
        return bool(data)
