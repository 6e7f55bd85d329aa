"""A telnet client for consoles of nodes: strips telnet's own bytes, waits for text, runs shell commands."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_IAC, _SB, _SE = 255, 250, 240
_NEGOTIATION = range(251, 255)
# Cursor movements, colours and the questions for the window size that busybox's line editor writes.
_TERMINAL_CODES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[78=>])")


class Console:
    """One telnet connection; ``transcript`` is everything that came, for a failing test's message."""

    command_limit_s = 120.0
    """How long a shell command may take where nothing else is said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._raw = b""
        self._pending = ""
        self._commands = 0
        self.transcript = ""

    def send(self, text: str) -> None:
        self._writer.write(text.encode().replace(b"\xff", b"\xff\xff"))

    async def read_until(self, pattern: str, timeout_s: float = 120) -> re.Match[str]:
        """Wait for a regular expression; what comes after its match is kept for the next call."""
        deadline = time.monotonic() + timeout_s
        while not (match := re.search(pattern, self._pending)):
            await self._receive(deadline, f"{pattern!r} did not come within {timeout_s} s")
        self._pending = self._pending[match.end() :]
        return match

    async def wait_for_shell(self, timeout_s: float = 300) -> None:
        """Ask until a shell answers; what is typed before it runs is lost or answered late."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.send("echo shell-$((40+2))\n")
            try:
                # The echo of what was typed does not match.
                await self.read_until("shell-42", min(2, max(0.1, deadline - time.monotonic())))
                break
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
        # Earlier questions may still be answered now: start from a line that cannot be confused with them.
        await self.run("true")

    async def run(self, command: str, timeout_s: float | None = None) -> str:
        """Run a shell command, which has to end with 0, and return what it printed."""
        status, output = await self.run_unchecked(command, timeout_s)
        assert status == 0, f"{command!r} ended with {status}:\n{output}"
        return output

    async def run_unchecked(self, command: str, timeout_s: float | None = None) -> tuple[int, str]:
        """Run a shell command and return its exit status and what it printed."""
        self._commands += 1
        number = self._commands
        # The quotation marks keep the echo of the typed line from looking like the marks.
        self.send(f"echo be''gin-{number}; {command}; echo en''d-{number}-$?\n")
        # To the end of the line: of a status with several digits, the first ones may come alone.
        limit_s = self.command_limit_s if timeout_s is None else timeout_s
        match = await self.read_until(rf"(?s)begin-{number}\r*\n(.*?)end-{number}-(\d+)\r*\n", limit_s)
        return int(match[2]), match[1].replace("\r", "")

    async def _receive(self, deadline: float, complaint: str) -> None:
        try:
            data = await asyncio.wait_for(self._reader.read(4096), max(0.01, deadline - time.monotonic()))
        except TimeoutError:
            raise AssertionError(f"{complaint}; the console showed:\n{self.transcript[-4000:]}") from None
        assert data, f"the console was closed; it showed:\n{self.transcript[-4000:]}"
        text, self._raw = _without_telnet(self._raw + data)
        decoded = text.decode("utf-8", "replace")
        self.transcript += decoded
        self._pending = _TERMINAL_CODES.sub("", self._pending + decoded)

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass


@asynccontextmanager
async def console(host: str, port: int) -> AsyncIterator[Console]:
    """Connect; a console that refuses is tried again for a minute (GNS3 opens it after it has started QEMU)."""
    deadline = time.monotonic() + 60
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
    client = Console(reader, writer)
    try:
        yield client
    finally:
        await client.close()


def _without_telnet(data: bytes) -> tuple[bytes, bytes]:
    """Split received bytes into text and the rest, which is an incomplete telnet command."""
    text = bytearray()
    offset = 0
    while (found := data.find(_IAC, offset)) >= 0:
        text += data[offset:found]
        command = data[found + 1 : found + 2]
        if not command:
            return bytes(text), data[found:]
        if command[0] == _IAC:
            text.append(_IAC)
            offset = found + 2
        elif command[0] in _NEGOTIATION:
            if len(data) < found + 3:
                return bytes(text), data[found:]
            offset = found + 3
        elif command[0] == _SB:
            end = data.find(bytes([_IAC, _SE]), found)
            if end < 0:
                return bytes(text), data[found:]
            offset = end + 2
        else:
            offset = found + 2
    return bytes(text + data[offset:]), b""
