"""The host's side of the exec protocol against guests that answer late, wrongly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gns3_minivm.base.errors import GuestError
from gns3_minivm.guest.exec import Channel, Exchange, ExecLimits, ExecRequest, ExecResult, GuestExec, GuestState
from gns3_minivm.guest.frames import ANNOUNCEMENT, KNOCK, REQUEST_DATA_MAX, Frame, decode_body, encode_reply

FAST = ExecLimits(ask_again_s=0.05, silence_s=0.5)
Answer = Callable[[Frame], list[Frame]]


class Line:
    """A console with ``answer`` behind it; ``typed`` is what would have reached a person's program."""

    def __init__(self, answer: Answer, announced: bool = True) -> None:
        self.reader = asyncio.StreamReader()
        self._answer = answer
        self.announced = announced
        self.sent: list[Frame] = []
        self.knocks = 0

    def write(self, data: bytes) -> None:
        if data == KNOCK:
            self.knocks += 1
            if self.announced:
                self.show(Frame(kind="h", id=ANNOUNCEMENT))
            return
        frame = decode_body(data[1:-1])
        assert frame is not None
        self.sent.append(frame)
        for answer in self._answer(frame):
            self.show(answer)

    def show(self, frame: Frame) -> None:
        self.reader.feed_data(encode_reply(frame))

    async def drain(self) -> None:
        pass


@asynccontextmanager
async def guest(answer: Answer, limits: ExecLimits = FAST) -> AsyncIterator[tuple[GuestExec, Line]]:
    line = Line(answer)
    async with GuestExec(line.reader, line, limits=limits) as commands:
        yield commands, line


def obedient(frame: Frame) -> list[Frame]:
    """Answers as a guest whose command prints two words and ends."""
    if frame.kind == "H":
        return [Frame(kind="h", id=frame.id, number=0, data=b"state main\nname r1\n")]
    if frame.kind == "D":
        output = [
            Frame(kind="o", id=frame.id, number=0, data=b"one "),
            Frame(kind="e", id=frame.id, number=1, data=b"two"),
            Frame(kind="x", id=frame.id, number=2, data=b"exit 4"),
        ]
        return [Frame(kind="a", id=frame.id, number=frame.number + 1), *output]
    return [Frame(kind="b", id=frame.id)] if frame.kind == "B" else []


async def test_a_command_is_asked_for_answered_and_forgotten() -> None:
    async with guest(obedient) as (commands, line):
        assert await commands.run(ExecRequest(argv=["x"])) == ExecResult(
            status=4, signal=0, failure="", stdout=b"one ", stderr=b"two"
        )
        assert [frame.kind for frame in line.sent] == ["H", "D", "B"] and line.knocks == 1
        assert line.sent[0].id != line.sent[1].id


async def test_a_guest_that_says_later_that_it_is_there_is_asked_at_once() -> None:
    line = Line(obedient, announced=False)
    async with GuestExec(line.reader, line, limits=ExecLimits(ask_again_s=20)) as commands:
        waiting = asyncio.create_task(commands.hello(30))
        await asyncio.sleep(0.05)
        assert not line.sent
        line.show(Frame(kind="h", id=ANNOUNCEMENT, number=0, data=b"state main\nname other\n"))
        assert await asyncio.wait_for(waiting, 5) == GuestState("main", "r1")


async def test_nobody_there_is_told_with_the_last_lines_of_the_console() -> None:
    line = Line(lambda _: [], announced=False)
    line.reader.feed_data(b"Kernel panic\r\n")
    async with GuestExec(line.reader, line, limits=FAST) as commands:
        with pytest.raises(GuestError, match=r"nothing in the guest answered on its console within 0\.3 s") as caught:
            await commands.hello(0.3)
    assert "Kernel panic" in caught.value.message and not line.sent


async def test_a_guest_that_falls_silent_is_told() -> None:
    async with guest(lambda frame: obedient(frame) if frame.kind == "H" else []) as (commands, line):
        with pytest.raises(GuestError, match=r"has not answered for 0\.5 s while a command was running"):
            await commands.run(ExecRequest(argv=["x"]))
        assert line.sent[-1].kind == "B"


@pytest.mark.parametrize(
    ("reason", "said"), [(b"version", "does not speak version 1"), (b"unknown", "no longer knows the command")]
)
async def test_a_refusal_is_told(reason: bytes, said: str) -> None:
    def refuse(frame: Frame) -> list[Frame]:
        return obedient(frame) if frame.kind == "H" else [Frame(kind="n", id=frame.id, number=0, data=reason)]

    async with guest(refuse) as (commands, _):
        with pytest.raises(GuestError, match=said):
            await commands.run(ExecRequest(argv=["x"]))


async def test_another_version_is_told_at_the_first_question() -> None:
    async with guest(lambda frame: [Frame(kind="n", id=frame.id, number=0, data=b"version", version=2)]) as (
        commands,
        _,
    ):
        with pytest.raises(GuestError, match="does not speak version 1") as caught:
            await commands.hello(5)
    assert "Register the template again" in caught.value.hint


async def test_a_guest_that_is_busy_is_asked_again() -> None:
    refusals = 3

    def answer(frame: Frame) -> list[Frame]:
        nonlocal refusals
        if frame.kind == "D" and refusals:
            refusals -= 1
            return [Frame(kind="n", id=frame.id, number=0, data=b"busy")]
        return obedient(frame)

    async with guest(answer) as (commands, _):
        assert (await commands.run(ExecRequest(argv=["x"]))).exit_status == 4


async def test_a_console_that_closes_is_told_at_once() -> None:
    async with guest(lambda frame: obedient(frame) if frame.kind == "H" else [], ExecLimits()) as (commands, line):
        running = asyncio.create_task(commands.run(ExecRequest(argv=["x"])))
        await asyncio.sleep(0.05)
        line.reader.feed_eof()
        with pytest.raises(GuestError, match="the guest's console has closed"):
            await asyncio.wait_for(running, 5)


async def test_a_command_that_takes_too_long_and_one_that_is_cancelled_are_killed() -> None:
    def endless(frame: Frame) -> list[Frame]:
        return [Frame(kind="a", id=frame.id, number=1)] if frame.kind in "DR" else obedient(frame)

    async with guest(endless) as (commands, line):
        with pytest.raises(GuestError, match=r"had not ended in the guest after 0\.1 s, and was killed"):
            await commands.run(ExecRequest(argv=["x"]), timeout_s=0.1)
        assert line.sent[-1].kind == "B"
        running = asyncio.create_task(commands.run(ExecRequest(argv=["x"])))
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [frame.kind for frame in line.sent].count("B") == 2


def exchange(stdin: bytes | None = None) -> tuple[Exchange, list[tuple[Channel, bytes]]]:
    output: list[tuple[Channel, bytes]] = []
    made = Exchange(
        ExecRequest(argv=["x"], stdin=stdin), ExecLimits(), lambda channel, data: output.append((channel, data))
    )
    return made, output


def test_what_is_missing_is_asked_for_once_until_time_has_passed() -> None:
    made, output = exchange()
    made.begin(0)
    made.take(Frame(kind="a", id=made.id, number=1), 0)
    assert made.take(Frame(kind="o", id=made.id, number=1, data=b"b"), 0) == [Frame(kind="R", id=made.id, number=0)]
    assert made.take(Frame(kind="o", id=made.id, number=2, data=b"c"), 0.1) == []
    assert made.tick(1.2) == [Frame(kind="R", id=made.id, number=0)]
    for number, letter in enumerate((b"a", b"b", b"b", b"c")):
        made.take(Frame(kind="o", id=made.id, number=max(0, number - (number > 1)), data=letter), 1.3)
    assert output == [("stdout", b"a"), ("stdout", b"b"), ("stdout", b"c")]


def test_input_goes_piece_by_piece_and_waits_where_there_is_no_room() -> None:
    def numbers(frames: list[Frame]) -> list[tuple[str, int]]:
        return [(frame.kind, frame.number) for frame in frames]

    made, _ = exchange(b"x" * 6 * REQUEST_DATA_MAX)
    begun = made.begin(0)
    assert numbers(begun) == [("D", 0)]
    begun += made.take(Frame(kind="a", id=made.id, number=1), 0)
    assert numbers(begun) == [("D", 0), ("D", 1), ("D", 2), ("D", 3), ("D", 4)]
    assert {len(frame.data) for frame in begun} == {REQUEST_DATA_MAX}
    # The second piece found no room, and so those behind it are not taken either.
    for _ in range(4):
        assert made.take(Frame(kind="a", id=made.id, number=1, data=b"full"), 0) == []
    assert numbers(made.take(Frame(kind="a", id=made.id, number=1), 0)) == [("D", 1), ("D", 2), ("D", 3), ("D", 4)]
    assert numbers(made.take(Frame(kind="a", id=made.id, number=4), 0)) == [("D", 5), ("D", 6), ("E", 7)]
    # An answer that was on its way for long.
    assert made.take(Frame(kind="a", id=made.id, number=2), 0) == []
    assert made.take(Frame(kind="a", id=made.id, number=8), 0) == []


def test_a_busy_guest_is_asked_with_the_first_piece_alone() -> None:
    made, _ = exchange(b"x" * 6 * REQUEST_DATA_MAX)
    made.begin(0)
    assert made.take(Frame(kind="n", id=made.id, number=0, data=b"busy"), 0) == []
    assert made.ask_again(0.5) == []
    assert [(frame.kind, frame.number) for frame in made.tick(1.1)] == [("D", 0)]


def test_input_that_is_lost_is_sent_again_when_nothing_is_heard() -> None:
    made, _ = exchange(b"x" * 6 * REQUEST_DATA_MAX)
    made.begin(0)
    made.take(Frame(kind="a", id=made.id, number=1), 0)
    made.take(Frame(kind="a", id=made.id, number=2), 0)
    assert made.tick(0.9) == []
    assert [(frame.kind, frame.number) for frame in made.tick(1.1)] == [("R", 0), *(("D", n) for n in range(2, 6))]


def test_output_is_acknowledged_before_the_window_is_full_and_when_it_pauses() -> None:
    made, _ = exchange()
    made.begin(0)
    answers = [made.take(Frame(kind="o", id=made.id, number=number, data=b"x"), 0) for number in range(10)]
    assert [number for number, answer in enumerate(answers) if answer] == [7]
    assert made.tick(0.2) == [Frame(kind="A", id=made.id, number=10)] and made.tick(0.4) == []
