"""The scripted console, against shells and silences."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gns3_minivm.errors import GuestError
from gns3_minivm.qemu.console import Console, plain


class Typed:
    """Keeps what is written; ``answer`` gives what the other side prints for it."""

    def __init__(self, reader: asyncio.StreamReader, answer: Callable[[str], str]) -> None:
        self.reader = reader
        self.answer = answer

    def write(self, data: bytes) -> None:
        if answer := self.answer(data.decode()):
            self.reader.feed_data(answer.encode())

    async def drain(self) -> None:
        pass


def silent() -> tuple[Console, asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    return Console(reader, Typed(reader, lambda text: "")), reader


@asynccontextmanager
async def shell(*words: str, prompt: str = "# ") -> AsyncIterator[Console]:
    """A real shell on a terminal, as a guest has it on its serial port."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "PS1": prompt, "TERM": "vt102", "HOME": "/nonexistent"}
    process = await asyncio.create_subprocess_exec(
        *words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()

    def read() -> None:
        try:
            data = os.read(ours, 4096)
        except OSError:
            data = b""
        if data:
            reader.feed_data(data)
        else:
            loop.remove_reader(ours)
            reader.feed_eof()

    class Keys:
        def write(self, data: bytes) -> None:
            os.write(ours, data)

        async def drain(self) -> None:
            pass

    loop.add_reader(ours, read)
    try:
        yield Console(reader, Keys())
    finally:
        loop.remove_reader(ours)
        process.kill()
        await process.wait()
        os.close(ours)


SHELLS = [("/bin/sh", "-i"), ("bash", "--norc", "--noprofile", "-i")]


@pytest.mark.parametrize("words", SHELLS, ids=["sh", "bash"])
async def test_what_is_typed_before_the_prompt_is_there_is_answered_too(words: tuple[str, ...]) -> None:
    async with shell(*words) as console:
        await console.wait_for_shell(20)
        await console.send("sleep 0.3\n")
        assert (await console.command("echo late")).output == "late\n"


@pytest.mark.parametrize("words", SHELLS, ids=["sh", "bash"])
async def test_a_command_gives_its_output_and_its_status(words: tuple[str, ...]) -> None:
    async with shell(*words) as console:
        await console.wait_for_shell(20)
        answer = await console.command("echo one; echo two; false")
        assert (answer.output, answer.status) == ("one\ntwo\n", 1)
        assert (await console.command("printf 'no end of line'")).output == "no end of line"
        assert (await console.command("echo \"it's\" '$HOME'")).output == "it's $HOME\n"
        assert (await console.command("sleep 0 &")).status == 0
        assert (await console.command("exit_status() { return 42; }; exit_status")).status == 42


async def test_long_commands_and_long_output_come_whole() -> None:
    async with shell("bash", "--norc", "--noprofile", "-i") as console:
        await console.wait_for_shell(20)
        word = "x" * 700
        assert (await console.command(f"echo {word}")).output == f"{word}\n"
        lines = (await console.command("i=0; while [ $i -lt 3000 ]; do echo line$i; i=$((i+1)); done")).output.split()
        assert lines == [f"line{number}" for number in range(3000)]


async def test_a_prompt_without_a_shell_behind_it_is_not_enough() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"Welcome\r\nlogin name> ")
    console = Console(reader, Typed(reader, lambda text: text))
    with pytest.raises(GuestError, match=r"no shell answered on the guest's console within 1 s") as caught:
        await console.wait_for_shell(1)
    assert "login name>" in caught.value.message


async def expect(console: Console) -> None:
    await console.expect("never", 0.2)


async def type_a_command(console: Console) -> None:
    await console.command("uptime", 0.2)


async def wait_for_shell(console: Console) -> None:
    await console.wait_for_shell(0.2)


@pytest.mark.parametrize("wait", [expect, type_a_command, wait_for_shell])
async def test_a_silent_guest_is_told_with_its_last_lines(wait: Callable[[Console], Awaitable[None]]) -> None:
    console, reader = silent()
    reader.feed_data(b"".join(b"line %d\r\n" % number for number in range(40)))
    with pytest.raises(GuestError, match=r"within 0\.2 s") as caught:
        await wait(console)
    assert "line 39" in caught.value.message
    assert "line 5\n" not in caught.value.message


@pytest.mark.parametrize("wait", [expect, type_a_command, wait_for_shell])
async def test_a_console_that_closes_is_told_at_once(wait: Callable[[Console], Awaitable[None]]) -> None:
    console, reader = silent()
    reader.feed_data(b"Kernel panic\r\n")
    reader.feed_eof()
    with pytest.raises(GuestError, match="closed before") as caught:
        await asyncio.wait_for(wait(console), 5)
    assert "Kernel panic" in caught.value.message


async def test_expect_goes_on_where_it_stopped() -> None:
    console, reader = silent()
    reader.feed_data(b"a1 a2 a3")
    assert [(await console.expect(r"a\d", 1))[0] for _ in range(3)] == ["a1", "a2", "a3"]


@pytest.mark.parametrize("cut", range(1, 30))
async def test_control_sequences_and_characters_cut_in_two_are_put_together(cut: int) -> None:
    console, reader = silent()
    data = "\x1b[?2004h\x1b[1;32mgrün\x1b[0m\r\nz\r\n".encode()
    reader.feed_data(data[:cut])
    await console.expect("", 1)
    with pytest.raises(GuestError):
        await console.expect("never", 0.001)
    reader.feed_data(data[cut:])
    await console.expect("z\n", 1)
    assert console.transcript == "grün\nz\n"


def test_terminal_sequences_are_taken_out() -> None:
    assert plain("\x1b]0;title\x07a\x1b[6n\x1b[Jb\x1b(Bc\r\r\nd\x1b=") == "abc\nd"
