"""Runs commands in a guest over its serial console, beside whatever people do there (``kernel/CONTRACT.md``, "Exec").

``GuestExec`` works on any stream of bytes that leads to the console: QEMU's own, or a node's console on a GNS3 server.
Commands need no shell in the image, and several may run at once.  Only this side asks for anything again: the guest
keeps what was not acknowledged, and forgets a command that nobody has asked about for a minute.

``Exchange`` is the conversation about one command, without I/O or clock.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from gns3_minivm.base.errors import GuestError, UsageError
from gns3_minivm.base.terminal import Reader, Writer
from gns3_minivm.guest.contract import escape
from gns3_minivm.guest.frames import ANNOUNCEMENT, KNOCK, REQUEST_DATA_MAX, VERSION, Frame, ReplyReader, encode_request
from gns3_minivm.guest.transcript import Transcript

REQUEST_MAX = 65536
"""Bytes of a request with its empty line, without the standard input behind it, which may be of any length; as
``kernel/init/exec_command.h`` says."""
Channel = Literal["stdout", "stderr"]
_CHANNELS: dict[str, Channel] = {"o": "stdout", "e": "stderr"}
_ACKNOWLEDGE_EVERY = 8
_INPUT_WINDOW = 4
_CHUNK_SIZE = 65536


@dataclass(frozen=True, kw_only=True)
class ExecLimits:
    """Times in seconds: an unanswered question is asked again, then given up; output beyond the limit is an error."""

    ask_again_s: float = 1.0
    silence_s: float = 30.0
    output_bytes: int = 64 << 20


@dataclass(frozen=True, kw_only=True)
class ExecRequest:
    """Either ``argv`` or ``shell``, a line for the image's sh (else busybox's).

    ``environment`` is added to that of the main program; ``user`` is as Docker's ``--user``, root if empty;
    ``working_dir`` is the main program's if empty.  ``stdin`` None: nothing to read.
    """

    argv: Sequence[str] = ()
    shell: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    stdin: bytes | None = None

    def encode(self) -> bytes:
        """The request as the guest reads it, followed by the standard input.

        Raises UsageError if it has no command, or is too long.
        """
        if bool(self.argv) == bool(self.shell):
            raise UsageError("a command for a guest must be either words or a line for its shell")
        pairs = [("arg", word) for word in self.argv]
        pairs += [("env", f"{name}={value}") for name, value in self.environment.items()]
        pairs += [(key, text) for key, text in self._texts() if text]
        lines = [f"{key} {escape(value)}\n" for key, value in pairs]
        if self.stdin is not None:
            lines.append("stdin\n")
        document = "".join(lines).encode("ascii") + b"\n"
        if len(document) > REQUEST_MAX:
            raise UsageError(
                f"the command has {len(document)} bytes with its environment; a guest accepts at most {REQUEST_MAX}",
                hint="Send long texts as the command's standard input.",
            )
        return document + (self.stdin or b"")

    def _texts(self) -> tuple[tuple[str, str], ...]:
        return ("shell", self.shell), ("user", self.user), ("workdir", self.working_dir)


@dataclass(frozen=True, kw_only=True)
class ExecResult:
    """How a command ended: ``signal`` is 0 unless one has killed it; ``failure`` says why it was not started."""

    status: int
    signal: int
    failure: str
    stdout: bytes
    stderr: bytes

    @property
    def exit_status(self) -> int:
        """What a shell would show: 128 + signal for a killed one, 127 for one that is not there."""
        return 128 + self.signal if self.signal else self.status


@dataclass(frozen=True)
class GuestState:
    """What a guest says about itself: ``recovery`` is a shell in place of the main program."""

    state: str
    name: str


class Exchange:
    """The conversation about one command.  Every method returns the frames that are to be sent; times are seconds."""

    def __init__(self, request: ExecRequest, limits: ExecLimits, on_output: Callable[[Channel, bytes], object]) -> None:
        stream = request.encode()
        self.id = secrets.token_hex(8)
        self._limits = limits
        self._on_output = on_output
        self._input = [stream[at : at + REQUEST_DATA_MAX] for at in range(0, len(stream), REQUEST_DATA_MAX)]
        self._pieces = len(self._input) + (request.stdin is not None)
        self._arrived = self._sent = 0
        self._expected = self._acknowledged = 0
        self._asked_for = -1
        self._received_bytes = 0
        self._heard_at = self._asked_at = 0.0
        self.ending = ""

    def begin(self, now: float) -> list[Frame]:
        self._heard_at = self._asked_at = now
        return self._send_on()

    def take(self, frame: Frame, now: float) -> list[Frame]:
        """Take a frame with this conversation's identifier.  Raises GuestError if the guest refuses."""
        self._heard_at = self._asked_at = now
        if frame.kind == "a":
            return self._take_answer(frame)
        if frame.kind == "n":
            return self._take_refusal(frame)
        if frame.kind not in (*_CHANNELS, "x") or frame.number < self._expected:
            return []
        if frame.number > self._expected:
            return self.ask_again(now)
        self._expected += 1
        if frame.kind == "x":
            self.ending = frame.data.decode("utf-8", "replace")
            return []
        self._received_bytes += len(frame.data)
        if self._received_bytes > self._limits.output_bytes:
            raise GuestError(
                f"the command wrote more than {self._limits.output_bytes} bytes",
                hint="Let it write less, or into a file in the guest.",
            )
        self._on_output(_CHANNELS[frame.kind], frame.data)
        return self._acknowledge() if self._expected - self._acknowledged >= _ACKNOWLEDGE_EVERY else []

    def ask_again(self, now: float) -> list[Frame]:
        """Something is missing or was damaged: ask for it, once until it comes or time has passed."""
        # A guest that has taken nothing yet, as a busy one, would not know what this is about.
        if not self._arrived or self._asked_for == self._expected or self.ending:
            return []
        self._asked_for, self._asked_at, self._acknowledged = self._expected, now, self._expected
        return [Frame(kind="R", id=self.id, number=self._expected)]

    def tick(self, now: float) -> list[Frame]:
        """What is due because of the time.  Raises GuestError if the guest has been silent for too long."""
        if now - self._heard_at > self._limits.silence_s:
            raise GuestError(
                f"the guest has not answered for {self._limits.silence_s:g} s while a command was running",
                hint="Look at its console: it may have stopped, or be busy.",
            )
        if now - self._asked_at < self._limits.ask_again_s:
            return self._acknowledge()
        self._asked_for = -1
        again = self.ask_again(now)
        self._sent = self._arrived
        return again + self._send_on()

    def _acknowledge(self) -> list[Frame]:
        if self._acknowledged == self._expected:
            return []
        self._acknowledged = self._expected
        return [Frame(kind="A", id=self.id, number=self._expected)]

    def _send_on(self) -> list[Frame]:
        # A guest that is busy knows nothing of a second piece, so the first one goes alone until it is taken.
        window = _INPUT_WINDOW if self._arrived else 1
        first, self._sent = self._sent, min(self._arrived + window, self._pieces)
        return [self._piece(number) for number in range(first, self._sent)]

    def _piece(self, number: int) -> Frame:
        if number < len(self._input):
            return Frame(kind="D", id=self.id, number=number, data=self._input[number])
        return Frame(kind="E", id=self.id, number=number)

    def _take_answer(self, frame: Frame) -> list[Frame]:
        if not self._arrived <= frame.number <= self._sent:
            return []
        self._arrived = frame.number
        if frame.data == b"full":
            # The command reads too slowly; the guest says when there is room.
            self._sent = self._arrived
            return []
        return self._send_on()

    def _take_refusal(self, frame: Frame) -> list[Frame]:
        reason = frame.data.decode("ascii", "replace")
        if reason == "busy":
            return []  # it is asked again
        if reason == "version":
            raise _wrong_version()
        raise GuestError(
            "the guest no longer knows the command",
            hint="It was restarted, or its console was cut off for more than a minute.",
        )


class GuestExec:
    """A guest's console, for commands.  Use it as an async context manager: it reads the stream all the while.

    ``on_text`` gets everything else that the console shows; its last lines stand in the message of a GuestError.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        *,
        on_text: Callable[[bytes], object] = lambda _: None,
        limits: ExecLimits | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_text = on_text
        self._limits = limits or ExecLimits()
        self._frames = ReplyReader()
        self._transcript = Transcript()
        self._greeting: set[str] = set()
        self._inboxes: dict[str, asyncio.Queue[Frame | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._answered = False
        self.ended = False

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reading is not None
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading

    async def hello(self, timeout_s: float) -> GuestState:
        """Ask until the guest answers.  Raises GuestError if it does not in time, or the console closes.

        A guest that boots says when it is there, so the questions before that are short and become rare.
        """
        frame = Frame(kind="H", id=secrets.token_hex(8))
        deadline, wait_s, question = time.monotonic() + timeout_s, self._limits.ask_again_s, KNOCK
        inbox = self._open(frame.id)
        self._greeting.add(frame.id)
        try:
            while (left := deadline - time.monotonic()) > 0:
                await self._write(question)
                answer = await self._next(inbox, min(wait_s, left))
                wait_s = min(2 * wait_s, self._limits.silence_s)
                if answer is None:
                    continue
                if answer.kind == "n":
                    raise _wrong_version()
                if answer.id == frame.id:
                    self._answered = True
                    return _state(answer.data)
                question = encode_request(frame)
        except GuestError as error:
            raise self._with_last_lines(error) from error
        finally:
            self._greeting.discard(frame.id)
            del self._inboxes[frame.id]
        raise self._with_last_lines(
            GuestError(
                f"nothing in the guest answered on its console within {timeout_s:g} s",
                hint="It may still be booting, run an init of its own (init=PATH), or not be a MiniVM.",
            )
        )

    async def run(
        self,
        request: ExecRequest,
        *,
        timeout_s: float | None = None,
        on_output: Callable[[Channel, bytes], object] | None = None,
    ) -> ExecResult:
        """Run a command and wait for its end; it is killed if this is cancelled or the time is over.

        ``on_output`` gets the output as it comes, instead of the result.  Raises GuestError.
        """
        parts: dict[Channel, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        exchange = Exchange(request, self._limits, on_output or (lambda channel, data: parts[channel].extend(data)))
        if not self._answered:
            await self.hello(self._limits.silence_s)
        inbox = self._open(exchange.id)
        try:
            async with asyncio.timeout(timeout_s):
                await self._converse(exchange, inbox)
        except TimeoutError as error:
            raise GuestError(f"the command had not ended in the guest after {timeout_s:g} s, and was killed") from error
        except GuestError as error:
            raise self._with_last_lines(error) from error
        finally:
            await self._say_goodbye(exchange, inbox)
            del self._inboxes[exchange.id]
        return _result(exchange.ending, bytes(parts["stdout"]), bytes(parts["stderr"]))

    async def _converse(self, exchange: Exchange, inbox: asyncio.Queue[Frame | None]) -> None:
        tick_s = self._limits.ask_again_s / 5
        await self._send(exchange.begin(time.monotonic()))
        damaged = self._frames.damaged
        while not exchange.ending:
            frame = await self._next(inbox, tick_s)
            now = time.monotonic()
            to_send = exchange.take(frame, now) if frame is not None else exchange.tick(now)
            if self._frames.damaged > damaged:
                damaged = self._frames.damaged
                to_send += exchange.ask_again(now)
            await self._send(to_send)

    async def _say_goodbye(self, exchange: Exchange, inbox: asyncio.Queue[Frame | None]) -> None:
        """Let the guest forget the command, which kills it if it has not ended; not waited for if it has."""
        tries = 1 if exchange.ending else 4
        for _ in range(tries):
            if self.ended:
                return
            with suppress(GuestError):
                await self._send([Frame(kind="B", id=exchange.id)])
                while not exchange.ending:
                    answer = await self._next(inbox, self._limits.ask_again_s / 2)
                    if answer is None:
                        break
                    if answer.kind == "b":
                        return

    def _open(self, identifier: str) -> asyncio.Queue[Frame | None]:
        return self._inboxes.setdefault(identifier, asyncio.Queue())

    async def _next(self, inbox: asyncio.Queue[Frame | None], timeout_s: float) -> Frame | None:
        """The next frame; None if none comes in time.  Raises GuestError when the console has closed."""
        if self.ended and inbox.empty():
            raise GuestError("the guest's console has closed")
        try:
            async with asyncio.timeout(timeout_s):
                frame = await inbox.get()
        except TimeoutError:
            return None
        if frame is None:
            raise GuestError("the guest's console has closed")
        return frame

    def _deliver(self, frame: Frame) -> None:
        identifiers = list(self._greeting) if frame.id == ANNOUNCEMENT else [frame.id]
        for identifier in identifiers:
            if identifier in self._inboxes:
                self._inboxes[identifier].put_nowait(frame)

    def _with_last_lines(self, error: GuestError) -> GuestError:
        lines = self._transcript.last_lines()
        told = f"; its last lines:\n{lines}" if lines else "; nothing was printed on its console"
        return GuestError(error.message + told, hint=error.hint)

    async def _send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            await self._write(encode_request(frame))

    async def _write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise GuestError("the guest's console has closed") from error

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(_CHUNK_SIZE):
                text, frames = self._frames.feed(data)
                if text:
                    self._transcript.feed(text)
                    self._on_text(text)
                for frame in frames:
                    self._deliver(frame)
        except OSError:
            pass  # as its end
        finally:
            self.ended = True
            for inbox in self._inboxes.values():
                inbox.put_nowait(None)


def _wrong_version() -> GuestError:
    return GuestError(
        f"the guest does not speak version {VERSION} of the exec protocol",
        hint="Register the template again, so that its kernel bundle comes from the same release.",
    )


def _state(data: bytes) -> GuestState:
    lines = dict(line.partition(" ")[::2] for line in data.decode("utf-8", "replace").splitlines())
    return GuestState(lines.get("state", ""), lines.get("name", ""))


def _result(ending: str, stdout: bytes, stderr: bytes) -> ExecResult:
    how, _, rest = ending.partition(" ")
    number, _, reason = rest.partition(" ")
    if how not in ("exit", "signal", "failed") or not number.isdecimal():
        raise GuestError(f"the guest says that the command ended with {ending!r}, which is not an exit status")
    if how == "signal":
        return ExecResult(status=0, signal=int(number), failure="", stdout=stdout, stderr=stderr)
    return ExecResult(
        status=int(number), signal=0, failure=reason if how == "failed" else "", stdout=stdout, stderr=stderr
    )
