"""A guest's console for programs: waits for a shell, types commands, returns what they print."""

from __future__ import annotations

import asyncio
import codecs
import re
import secrets
import shlex
import time
from dataclasses import dataclass
from typing import Protocol

from gns3_minivm.errors import GuestError

_LINES_SHOWN = 15
_QUIET_S = 0.3
_ESCAPE_MAX = 64
_KNOCK_INTERVAL_S = 5.0
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()*+][A-Z0-9]|[@-Z\\-_=>])")
_PROMPT = re.compile(r"(?:^|\n)[^\n]{0,200}[#$%>][ \t]*$")


class Writer(Protocol):
    """What a console is written to; an ``asyncio.StreamWriter`` is one."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...


@dataclass(frozen=True)
class Answer:
    """What a command printed (lines end in a newline only) and its exit status."""

    output: str
    status: int


class Console:
    """A serial console with a shell on it; time limits are in seconds.

    ``transcript`` is everything that has been seen, with the terminal's control sequences taken out.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._cut_off = ""
        self._seen = 0
        self.transcript = ""
        self.ended = False

    async def send(self, text: str) -> None:
        """Type ``text``; a line ends in "\\n"."""
        try:
            self._writer.write(text.replace("\n", "\r").encode())
            await self._writer.drain()
        except (ConnectionError, BrokenPipeError) as error:
            raise self._error("the guest's console has closed") from error

    async def expect(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """Wait until ``pattern`` appears in what was not matched before.

        Raises GuestError with the console's last lines when the time is over or the console closes.
        """
        compiled = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout_s
        while True:
            match = compiled.search(self.transcript, self._seen)
            if match:
                self._seen = match.end()
                return match
            if self.ended:
                raise self._error(f"the guest's console closed before {pattern!r} appeared on it")
            if not await self._read(deadline - time.monotonic()):
                raise self._error(f"{pattern!r} did not appear on the guest's console within {timeout_s:g} s")

    async def wait_for_shell(self, timeout_s: float) -> None:
        """Wait until a shell answers.

        A line that ends like a prompt, and then nothing more, is taken for a shell and is asked.
        """
        deadline = time.monotonic() + timeout_s
        knock_at = 0.0
        while True:
            quiet = not await self._read(min(_QUIET_S, max(0.0, deadline - time.monotonic())))
            now = time.monotonic()
            if quiet and now >= knock_at and _PROMPT.search(self.transcript):
                knock_at = now + _KNOCK_INTERVAL_S
                if await self._answers(min(_KNOCK_INTERVAL_S, deadline - now)):
                    return
            if self.ended:
                raise self._error("the guest's console closed before a shell answered on it")
            if now >= deadline:
                raise self._error(f"no shell answered on the guest's console within {timeout_s:g} s")

    async def command(self, command: str, timeout_s: float = 30.0) -> Answer:
        """Run one line in the shell and return what it printed.

        The shell must be waiting for a command (``wait_for_shell``).
        """
        mark = secrets.token_hex(4)
        # The quotes keep what is typed (and echoed) apart from what is printed.
        await self.send(f'echo "<"{mark}; eval {shlex.quote(command)}; echo "{mark}"">"$?\n')
        # Not at the start of a line: a shell that was still busy prints its prompt after the echo of what is typed.
        start = (await self.expect(rf"<{mark}\n", timeout_s)).end()
        end = await self.expect(rf"{mark}>(\d+)\n", timeout_s)
        return Answer(self.transcript[start : end.start()], int(end[1]))

    async def _answers(self, timeout_s: float) -> bool:
        try:
            await self.command(":", timeout_s)
        except GuestError:
            if self.ended:
                raise
            return False
        return True

    async def _read(self, timeout_s: float) -> bool:
        """Take in what comes next; False if nothing does in time."""
        if self.ended:
            return False
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                data = await self._reader.read(65536)
        except TimeoutError:
            return False
        except ConnectionError:
            data = b""
        self.ended = not data
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        text = self._cut_off + self._decoder.decode(data, final=not data)
        whole = len(text)
        escape = text.rfind("\x1b", max(0, whole - _ESCAPE_MAX))
        if data and escape >= 0 and not _ESCAPES.match(text, escape):
            whole = escape
        elif data and text.endswith("\r"):
            whole -= 1
        self._cut_off = text[whole:]
        self.transcript += plain(text[:whole])

    def _error(self, message: str) -> GuestError:
        lines = [line for line in self.transcript.splitlines() if line.strip()][-_LINES_SHOWN:]
        shown = "\n".join(f"  {line}" for line in lines)
        return GuestError(
            f"{message}; its last lines:\n{shown}" if lines else f"{message}; nothing was printed on it",
            hint="Look at the whole boot with `gns3-minivm boot IMAGE` and, without the word quiet, at the kernel's own messages.",
        )


def plain(text: str) -> str:
    """Terminal output without control sequences, with newlines as line ends."""
    return _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "").replace("\x07", "")
