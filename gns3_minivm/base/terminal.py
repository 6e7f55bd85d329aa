"""This terminal as the keyboard and screen of something far away: a guest's console, a node's.

Linux and other systems with termios.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from gns3_minivm.base.errors import UsageError

ESCAPE_KEY = b"\x1d"
"""Ctrl-], as in telnet."""
_CHUNK_SIZE = 65536


class Reader(Protocol):
    """What a console is read from; an ``asyncio.StreamReader`` is one."""

    async def read(self, n: int, /) -> bytes: ...


class Writer(Protocol):
    """What a console is written to; an ``asyncio.StreamWriter`` is one."""

    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...


@contextmanager
def raw_terminal(complaint: str, *, hint: str) -> Iterator[tuple[int, int]]:
    """Descriptors of keyboard and screen, with every key going through, until the block has ended.

    Raises UsageError with ``complaint`` if standard input is not a terminal.
    """
    source = sys.stdin.fileno() if sys.stdin is not None else -1
    if source < 0 or not os.isatty(source):
        raise UsageError(complaint, hint=hint)
    target = sys.stdout.fileno()
    before = termios.tcgetattr(source)
    try:
        tty.setraw(source)
        yield source, target
    finally:
        termios.tcsetattr(source, termios.TCSAFLUSH, before)
        # What a program may have left: application keys, bracketed paste, colours, a hidden cursor.
        with suppress(OSError):
            os.write(target, b"\x1b[?1l\x1b[?2004l\x1b[0m\x1b[?25h\r\n")


async def relay(
    reader: Reader, writer: Writer, source: int, target: int, on_escape: Callable[[int], Awaitable[bool]]
) -> None:
    """Carry bytes between two file descriptors and a console, until the console ends.

    The escape key is not carried: ``on_escape`` gets how often it was pressed, and says whether to go on.
    """
    loop = asyncio.get_running_loop()
    keys: asyncio.Queue[bytes] = asyncio.Queue()

    def read_keys() -> None:
        data = os.read(source, 1024)
        if not data:
            loop.remove_reader(source)
        keys.put_nowait(data)

    loop.add_reader(source, read_keys)
    typing = asyncio.create_task(_type(writer, keys, on_escape))
    showing = asyncio.create_task(_show(reader, target))
    try:
        await asyncio.wait((typing, showing), return_when=asyncio.FIRST_COMPLETED)
        if typing.done() and not typing.result():
            return
        await showing
    finally:
        loop.remove_reader(source)
        for task in (typing, showing):
            task.cancel()
        await asyncio.gather(typing, showing, return_exceptions=True)


async def _show(reader: Reader, target: int) -> None:
    while data := await reader.read(_CHUNK_SIZE):
        await asyncio.to_thread(_write_all, target, data)


async def _type(writer: Writer, keys: asyncio.Queue[bytes], on_escape: Callable[[int], Awaitable[bool]]) -> bool:
    """Whether to go on when the keyboard has ended; False once the user has left."""
    presses = 0
    while data := await keys.get():
        for number, text in enumerate(data.split(ESCAPE_KEY)):
            if number:
                presses += 1
                if not await on_escape(presses):
                    return False
            if text:
                writer.write(text)
                with suppress(ConnectionError):
                    await writer.drain()
    return True


def _write_all(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]
