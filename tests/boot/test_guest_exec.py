"""Commands over real guests' serial console: with no shell in the image, beside a flood of output and a person."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import random
import re
import socket
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gns3_minivm.base.errors import GuestError
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.guest.exec import ExecLimits, ExecRequest, GuestExec, GuestState
from gns3_minivm.guest.frames import Frame, encode_reply, encode_request
from tests.support.guest import Guest, boot, busybox_tree, guest_disk

ANSWER_LIMIT_S = 300.0
RUN_LIMIT_S = 300.0


@pytest.fixture(scope="module")
def scratch(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """An image with nothing but one static program, which writes to the console as fast as it can."""
    folder = tmp_path_factory.mktemp("scratch")
    assert bundle.busybox is not None
    tree = FileTree()
    tree.add_file(b"yes", bundle.busybox.read_bytes(), 0o755)
    config = GuestConfig(entrypoint=("/yes",), cmd=("service",), env=("COLOUR=blue",), working_dir="/srv")
    with boot(bundle, [guest_disk(folder / "disk.qcow2", tree, config)], folder, name="exec-1") as running:
        yield running


@pytest.fixture(scope="module")
def shell(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """An ordinary image whose shell has the console, after an ifup during which the first test already asks."""
    folder = tmp_path_factory.mktemp("shell")
    assert bundle.busybox is not None
    files = {"etc/network/interfaces": "auto eth0\n", "sbin/ifup": "#!/bin/sh\nsleep 3\n"}
    disk = guest_disk(folder / "disk.qcow2", busybox_tree(bundle.busybox, files), GuestConfig(cmd=("sh",)))
    with boot(bundle, [disk], folder, name="exec-2") as running:
        yield running


class Console:
    """What is open on a guest's console: commands, and a person's side of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: ExecLimits | None) -> None:
        self.writer = writer
        self.raw = bytearray()
        self.shown = bytearray()
        self._reader = reader
        self.commands = GuestExec(self, writer, on_text=self.shown.extend, limits=limits)

    async def read(self, n: int, /) -> bytes:
        data = await self._reader.read(n)
        self.raw += data
        return data

    async def expect(self, text: bytes) -> None:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            while text not in self.shown:
                await asyncio.sleep(0.05)


async def stands_still(unread: socket.socket) -> None:
    """Wait until nothing more comes for 6 s, because everything between here and the guest is full."""
    waiting, since = b"", time.monotonic()
    end = since + ANSWER_LIMIT_S
    while not waiting.strip(b"\0") or time.monotonic() - since < 6:
        await asyncio.sleep(0.2)
        now = fcntl.ioctl(unread, termios.FIONREAD, bytes(4))
        if now != waiting:
            waiting, since = now, time.monotonic()
        assert time.monotonic() < end


@asynccontextmanager
async def console(guest: Guest, limits: ExecLimits | None = None) -> AsyncIterator[Console]:
    reader, writer = await asyncio.open_connection(sock=guest.take_console())
    opened = Console(reader, writer, limits)
    try:
        async with opened.commands:
            await opened.commands.hello(ANSWER_LIMIT_S)
            yield opened
    finally:
        writer.transport.abort()


async def test_an_image_without_a_shell_runs_commands_with_the_environment_of_its_program(scratch: Guest) -> None:
    async with console(scratch) as opened:
        assert await opened.commands.hello(ANSWER_LIMIT_S) == GuestState("main", "exec-1")
        answer = await opened.commands.run(ExecRequest(argv=["busybox", "env"], environment={"SAID": "two\nlines é"}))
        assert answer.exit_status == 0
        assert set(answer.stdout.decode().split("\n")) >= {"COLOUR=blue", "HOME=/root", "SAID=two", "lines é"}
        line = 'echo "$COLOUR $PWD"; echo wrong >&2; exit 5'
        answer = await opened.commands.run(ExecRequest(shell=line))
        assert (answer.stdout, answer.stderr, answer.exit_status) == (b"blue /srv\n", b"wrong\n", 5)
        await opened.expect(b"service\r\nservice\r\n")
        assert b"7411" not in opened.shown


async def test_commands_that_cannot_start_say_why(scratch: Guest) -> None:
    async with console(scratch) as opened:
        for request, status, reason in (
            (ExecRequest(argv=["no-such-program"]), 127, "no-such-program: there is no such program"),
            (ExecRequest(argv=["busybox", "true"], user="nobody-here"), 126, "there is no such user in /etc/passwd"),
            (ExecRequest(argv=["busybox", "true"], working_dir="/none"), 126, "/none: No such file or directory"),
            (ExecRequest(argv=["/srv"]), 126, "/srv: Permission denied"),
        ):
            answer = await opened.commands.run(request)
            assert (answer.exit_status, answer.failure, answer.stdout) == (status, reason, b"")


async def test_a_user_and_a_signal_are_told(scratch: Guest) -> None:
    async with console(scratch) as opened:
        answer = await opened.commands.run(ExecRequest(shell="busybox id -u; kill -SEGV $$", user="33:44"))
        assert (answer.stdout, answer.signal, answer.exit_status) == (b"33\n", 11, 139)


async def test_bytes_of_all_kinds_come_back_as_they_were_sent(scratch: Guest) -> None:
    data = bytes(range(256)) * 8 + b"\x1b]7411;1;x;" + b"\x1e7411;\x1f\xff\xfb\x01"
    async with console(scratch) as opened:
        answer = await opened.commands.run(ExecRequest(argv=["busybox", "cat"], stdin=data), timeout_s=RUN_LIMIT_S)
        assert answer.stdout == data
        # Input that nobody reads is no reason to wait.
        assert (await opened.commands.run(ExecRequest(argv=["busybox", "true"], stdin=data))).exit_status == 0


async def test_several_commands_run_at_once_and_the_ninth_waits_for_its_turn(scratch: Guest) -> None:
    async with console(scratch) as opened:
        requests = [ExecRequest(shell=f"sleep 1; echo {number}") for number in range(9)]
        answers = await asyncio.gather(*(opened.commands.run(request) for request in requests))
        assert [answer.stdout for answer in answers] == [f"{number}\n".encode() for number in range(9)]


async def test_a_command_that_is_given_up_is_killed_with_its_children(scratch: Guest) -> None:
    async with console(scratch) as opened:
        with pytest.raises(GuestError, match="had not ended in the guest after 1 s, and was killed"):
            await opened.commands.run(ExecRequest(shell="sleep 1000 & sleep 1001"), timeout_s=1)
        for _ in range(100):
            left = await opened.commands.run(ExecRequest(shell="busybox ps | busybox grep -c '[s]leep 100'"))
            if left.stdout == b"0\n":
                break
            await asyncio.sleep(0.1)
        assert left.stdout == b"0\n"


async def test_a_process_left_in_the_background_does_not_hold_the_answer_back(scratch: Guest) -> None:
    async with console(scratch) as opened:
        answer = await opened.commands.run(ExecRequest(shell="sleep 1000 & echo started"), timeout_s=RUN_LIMIT_S)
        assert answer.stdout == b"started\n"


async def test_what_imitates_a_reply_is_only_output(scratch: Guest) -> None:
    forged = encode_reply(Frame(kind="x", id="0123456789abcdef", number=0, data=b"exit 0"))
    async with console(scratch) as opened:
        answer = await opened.commands.run(ExecRequest(argv=["busybox", "cat"], stdin=forged))
        assert answer.stdout == forged
        # On the console itself it carries an identifier that nobody has asked with.
        answer = await opened.commands.run(ExecRequest(shell="cat > /dev/console; exit 3", stdin=forged))
        assert answer.exit_status == 3


async def test_damaged_and_unfinished_frames_do_nothing(scratch: Guest) -> None:
    good = encode_request(Frame(kind="D", id="feedfeedfeedfeed", number=0, data=b"shell touch /srv/forged\n\n"))
    async with console(scratch) as opened:
        for damaged in (good[:-9] + b"00000000\x1f", good[:40] + b"x" + good[40:], good[1:], b"\x1e" * 50, good[:30]):
            opened.writer.write(damaged)
        opened.writer.write(b"\x1e7411;" + b"A" * 5000)
        answer = await opened.commands.run(ExecRequest(argv=["busybox", "ls", "/srv"]))
        assert (answer.exit_status, answer.stdout) == (0, b"")


async def test_a_request_has_room_for_long_arguments(shell: Guest) -> None:
    async with console(shell) as opened:
        words = [letter * 7_000 for letter in "abc"]
        answer = await opened.commands.run(ExecRequest(argv=["busybox", "echo", *words]))
        assert answer.stdout.decode().split() == words


async def test_a_request_that_arrives_twice_runs_once(scratch: Guest) -> None:
    twice = Frame(kind="D", id="beefbeefbeefbeef", number=0, data=b"shell echo run >> /srv/times\n\n")
    async with console(scratch) as opened:
        for frame in (twice, twice, Frame(kind="B", id=twice.id), twice):
            opened.writer.write(encode_request(frame))
            await opened.commands.run(ExecRequest(argv=["busybox", "sleep", "0.3"]))
        assert (await opened.commands.run(ExecRequest(argv=["busybox", "cat", "/srv/times"]))).stdout == b"run\n"


async def test_a_service_goes_on_while_nobody_reads_and_its_last_words_are_shown(scratch: Guest) -> None:
    with scratch.take_console() as unread:
        await stands_still(unread)
    async with console(scratch) as opened:
        await opened.expect(b"bytes of the output of /yes were not kept")
        assert (await opened.commands.run(ExecRequest(argv=["busybox", "true"]))).exit_status == 0


async def test_a_line_that_is_being_typed_is_not_disturbed(shell: Guest) -> None:
    async with console(shell) as opened:
        running = asyncio.create_task(opened.commands.run(ExecRequest(shell="head -c 20000 /dev/urandom | tee /tmp/x")))
        for letter in b"echo typed-$((40+2))-while-commands-run":
            opened.writer.write(bytes([letter]))
            await asyncio.sleep(0.02)
        answer = await running
        opened.writer.write(b"\r")
        await opened.expect(b"\ntyped-42-while-commands-run")
        copy = await opened.commands.run(ExecRequest(argv=["cat", "/tmp/x"]))
        assert len(answer.stdout) == 20000 and copy.stdout == answer.stdout
        assert b"7411" not in opened.shown


async def test_much_output_is_whole_and_no_frame_is_longer_than_terminals_swallow(shell: Guest) -> None:
    async with console(shell) as opened:
        line = "head -c 200000 /dev/urandom > /tmp/big; busybox md5sum /tmp/big >&2; cat /tmp/big"
        answer = await opened.commands.run(ExecRequest(shell=line), timeout_s=RUN_LIMIT_S)
        assert hashlib.md5(answer.stdout).hexdigest().encode() == answer.stderr.split()[0]
        strings = re.findall(rb"\x1b\]([^\x1b]*)\x1b\\", opened.raw)
        assert len(strings) > 200 and max(map(len, strings)) <= 767


@pytest.mark.long
async def test_files_of_several_megabytes_go_both_ways(shell: Guest) -> None:
    data = os.urandom(2_000_000)
    async with console(shell) as opened:
        await opened.commands.run(ExecRequest(shell="cat > /tmp/copy", stdin=data), timeout_s=1200)
        answer = await opened.commands.run(ExecRequest(argv=["cat", "/tmp/copy", "/tmp/copy"]), timeout_s=600)
        assert answer.stdout == data + data


@pytest.mark.long
async def test_a_command_whose_host_is_gone_is_killed_after_a_minute(shell: Guest) -> None:
    running = ExecRequest(shell="busybox ps | grep -c '[s]leep 777'")
    async with console(shell) as opened:
        opened.writer.write(
            encode_request(
                Frame(kind="D", id="abcdabcdabcdabcd", number=0, data=b"arg busybox\narg sleep\narg 777\n\n")
            )
        )
        started = time.monotonic()
        await asyncio.sleep(30)
        assert (await opened.commands.run(running)).stdout == b"1\n"
        while (await opened.commands.run(running)).stdout != b"0\n":
            await asyncio.sleep(3)
            assert time.monotonic() - started < ANSWER_LIMIT_S
        # The guest has begun to count before the test did, but not by much.
        assert time.monotonic() - started > 50


async def test_input_waits_for_a_command_that_reads_late(shell: Guest) -> None:
    data = os.urandom(80_000)
    async with console(shell) as opened:
        answer = await opened.commands.run(
            ExecRequest(shell="sleep 3; busybox md5sum", stdin=data), timeout_s=RUN_LIMIT_S
        )
        assert answer.stdout.split()[0].decode() == hashlib.md5(data).hexdigest()


class BadLine:
    """A serial line that changes, every so often, a byte of what it carries."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._random = random.Random(7411)
        self.changed = 0

    def _spoil(self, data: bytes) -> bytes:
        spoiled = bytearray(data)
        for at in range(len(spoiled)):
            if self._random.random() < 1 / 3000:
                spoiled[at] ^= 1 << self._random.randrange(5)
                self.changed += 1
        return bytes(spoiled)

    async def read(self, n: int) -> bytes:
        return self._spoil(await self._reader.read(n))

    def write(self, data: bytes) -> None:
        self._writer.write(self._spoil(data))

    async def drain(self) -> None:
        await self._writer.drain()


async def test_a_line_that_changes_bytes_still_carries_a_command_and_its_data(shell: Guest) -> None:
    data = os.urandom(20_000)
    reader, writer = await asyncio.open_connection(sock=shell.take_console())
    line = BadLine(reader, writer)
    try:
        async with GuestExec(line, line, limits=ExecLimits(ask_again_s=0.3)) as commands:
            request = ExecRequest(shell="tee /tmp/spoiled; exit 9", stdin=data)
            answer = await commands.run(request, timeout_s=RUN_LIMIT_S)
    finally:
        writer.transport.abort()
    assert (answer.stdout, answer.exit_status) == (data, 9) and line.changed > 10


async def test_more_output_than_allowed_ends_the_command(shell: Guest) -> None:
    async with console(shell, ExecLimits(output_bytes=10_000)) as opened:
        with pytest.raises(GuestError, match="wrote more than 10000 bytes"):
            await opened.commands.run(ExecRequest(argv=["busybox", "yes"]))
        assert (await opened.commands.run(ExecRequest(shell="sleep 0.2; ! busybox pidof yes"))).exit_status == 0


async def test_a_guest_that_is_stopped_in_the_middle_is_told(bundle: Bundle, tmp_path: Path) -> None:
    """Also: in the shell before the root disk there are commands too, and the guest says what it is."""
    with boot(bundle, [], tmp_path, words="single root=/dev/none", name="exec-3") as guest:
        async with console(guest, ExecLimits(silence_s=3)) as opened:
            assert (await opened.commands.hello(ANSWER_LIMIT_S)).state == "recovery"
            answer = await opened.commands.run(ExecRequest(shell="busybox ls /bin"))
            assert b"busybox\n" in answer.stdout
            guest.monitor("stop")
            with pytest.raises(GuestError, match="has not answered for 3 s while a command was running"):
                await opened.commands.run(ExecRequest(argv=["busybox", "sleep", "100"]))
            guest.monitor("quit")
            with pytest.raises(GuestError, match="console has closed|has not answered"):
                await opened.commands.run(ExecRequest(argv=["busybox", "sleep", "100"]))


async def test_beside_an_init_of_the_image_there_are_commands_and_a_terminal_for_its_getty(
    bundle: Bundle, tmp_path: Path
) -> None:
    """The getty hangs its terminal up before it starts; it is a pseudo terminal under the serial line's name."""
    assert bundle.busybox is not None
    tree = busybox_tree(bundle.busybox, {"etc/inittab": "ttyS0::respawn:/bin/busybox getty -n -l /bin/sh 0 ttyS0\n"})
    tree.add_directory(b"sbin")
    tree.add_symlink(b"sbin/init", b"/bin/busybox")
    disk = guest_disk(tmp_path / "disk.qcow2", tree, GuestConfig(cmd=("/sbin/init",)))
    with boot(bundle, [disk], tmp_path, name="exec-4") as guest:
        async with console(guest) as opened:
            answer = await opened.commands.run(ExecRequest(shell="cat /proc/1/comm; ls -l /proc/1/exe"))
            assert answer.stdout.startswith(b"init\n") and b"busybox" in answer.stdout
            for turn in range(2):
                # What is typed before the prompt is thrown away by the getty.
                await opened.expect(b"# ")
                opened.shown.clear()
                opened.writer.write(b"echo typed-%d-$((40+2)); exit\r" % turn)
                await opened.expect(b"typed-%d-42" % turn)
                assert (await opened.commands.run(ExecRequest(argv=["true"]))).exit_status == 0
