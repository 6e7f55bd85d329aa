"""A console on this terminal: bytes in both directions, and the key that leaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from gns3_minivm.base.errors import UsageError
from gns3_minivm.base.terminal import raw_terminal, relay
from gns3_minivm.gns3.console import open_console

# As GNS3's telnet server greets for VPCS: WILL ECHO, WILL SGA, WILL BINARY, DO BINARY.
GREETING = b"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00"


@dataclass
class Terminal:
    """What stands for keyboard and screen."""

    keyboard: int
    source: int
    screen: int
    target: int

    def type(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    async def read_until(self, words: bytes) -> bytes:
        seen = b""
        while words not in seen:
            seen += await asyncio.to_thread(os.read, self.screen, 1024)
        return seen


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    source, keyboard = os.pipe()
    screen, target = os.pipe()
    yield Terminal(keyboard, source, screen, target)
    for descriptor in (source, keyboard, screen, target):
        os.close(descriptor)


@asynccontextmanager
async def device(*, says_goodbye: bool) -> AsyncIterator[int]:
    """A device with a prompt that echoes what is typed, as VPCS does."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING + b"PC1> ")
        while data := await reader.read(100):
            writer.write(data.replace(b"\r", b"\r\nPC1> "))
            if says_goodbye:
                break
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def leave(_presses: int) -> bool:
    return False


async def test_keys_and_output_are_carried_without_telnets_own_bytes_until_the_escape_key(terminal: Terminal) -> None:
    async with device(says_goodbye=False) as port, open_console("127.0.0.1", port) as console:
        relaying = asyncio.create_task(relay(console, console, terminal.source, terminal.target, leave))
        assert await terminal.read_until(b"> ") == b"PC1> "
        terminal.type(b"ping 10.0.0.1\r")
        assert await terminal.read_until(b"> ") == b"ping 10.0.0.1\r\nPC1> "
        terminal.type(b"\x03")
        assert await terminal.read_until(b"\x03") == b"\x03"
        terminal.type(b"\x1d")
        await asyncio.wait_for(relaying, 10)


async def test_the_escape_key_may_mean_something_else_first(terminal: Terminal) -> None:
    pressed: list[int] = []

    async def second_leaves(presses: int) -> bool:
        pressed.append(presses)
        return presses < 2

    async with device(says_goodbye=False) as port, open_console("127.0.0.1", port) as console:
        relaying = asyncio.create_task(relay(console, console, terminal.source, terminal.target, second_leaves))
        terminal.type(b"a\x1db\x1dnever sent")
        await asyncio.wait_for(relaying, 10)
    assert pressed == [1, 2]


async def test_a_console_that_closes_ends_it(terminal: Terminal) -> None:
    async with device(says_goodbye=True) as port, open_console("127.0.0.1", port) as console:
        terminal.type(b"exit\r")
        await asyncio.wait_for(relay(console, console, terminal.source, terminal.target, leave), 10)


def test_a_pipe_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        with (
            pytest.raises(UsageError, match="needs a terminal") as caught,
            raw_terminal("it needs a terminal", hint="Do."),
        ):
            pytest.fail("it is none")
    assert caught.value.hint == "Do."
