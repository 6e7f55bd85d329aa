"""The guest's main loop (kernel/init) on this machine, under sanitizers, as process 1 of namespaces of its own."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gns3_minivm.base.errors import GuestError
from gns3_minivm.guest.exec import ExecLimits, ExecRequest, GuestExec
from tests.support.parsers import compile_guest
from tests.support.tools import require_tool

LIMIT_S = 60.0
_NAMESPACES = ("--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
# The serial line is a pseudo terminal; the kernel's list of consoles names it as in a guest.
_SCRIPT = """\
set -e
mount --make-rprivate / 2>/dev/null || [ -z "$(grep ' shared:' /proc/self/mountinfo)" ]
hostname loop
mount -t tmpfs dev "$1"
mkdir "$1/pts"
mount -t devpts -o newinstance,ptmxmode=0666,gid=5,mode=0620 devpts "$1/pts"
ln -s pts/ptmx "$1/ptmx"
for name in null zero random urandom; do touch "$1/$name"; mount --bind "/dev/$name" "$1/$name"; done
for name in ttyS0 console; do touch "$1/$name"; mount --bind "$2" "$1/$name"; done
echo ttyS0 >"$1/active"
mount --bind "$1/active" /sys/class/tty/console/active
mount --move "$1" /dev
shift 2
exec "$@"
"""


class GuestLoop:
    """A running loop; everything that its line has shown to people is in ``shown``."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self.write = writer.write
        self.shown = bytearray()
        self.commands = GuestExec(reader, writer, on_text=self.shown.extend, limits=ExecLimits(silence_s=LIMIT_S))

    async def expect(self, text: bytes) -> None:
        """Wait until the line shows this, and forget what came before its end."""
        async with asyncio.timeout(LIMIT_S):
            while (at := self.shown.find(text)) < 0:
                assert self.process.returncode is None, (bytes(self.shown), await self.ended())
                await asyncio.sleep(0.02)
        del self.shown[: at + len(text)]

    async def ask_for_end(self, command: ExecRequest) -> str:
        """Run a command that ends the machine, and wait for that; returns the report."""
        asked = asyncio.create_task(self.commands.run(command, timeout_s=LIMIT_S))
        report = await self.ended()
        # Whether it is answered before it is killed is a matter of luck.
        asked.cancel()
        with suppress(asyncio.CancelledError, GuestError):
            await asked
        return report

    async def ended(self) -> str:
        """Wait for the end, which must be clean: no memory fault, nothing undefined or lost.  Returns the report."""
        assert self.process.stderr is not None
        async with asyncio.timeout(LIMIT_S):
            report = (await self.process.stderr.read()).decode(errors="replace")
            assert await self.process.wait() == 0, report
        return report


def _is_mounted(place: str) -> bool:
    """Whether this is a mount point, as proc(5) has them; ``os.path.ismount`` takes any root for one."""
    return any(line.split()[4] == place for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _namespaces() -> list[str]:
    """The words that start a program as process 1 of its own namespaces, with the users and groups that it needs."""
    words = [require_tool("unshare"), *_NAMESPACES]
    if not _is_mounted("/"):
        # As in a chroot: there is nothing to make private, and the script looks that nothing is shared.
        words.append("--propagation=unchanged")
    if os.geteuid():
        words += ["--map-root-user", "--map-auto"]
        tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            pytest.skip(f"namespaces need root, or user namespaces with subordinate users: {tried.stderr.strip()}")
    return words


@asynccontextmanager
async def guest_loop(program: Path, folder: Path, words: str, command: Sequence[str]) -> AsyncIterator[GuestLoop]:
    """Run ``command`` as the main program of the loop."""
    unshare = _namespaces()
    mount_point = folder / "dev"
    mount_point.mkdir(exist_ok=True)
    line, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *unshare, "sh", "-c", _SCRIPT, "loop", mount_point, os.ttyname(terminal), program, words, *command,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0"},
    )  # fmt: skip
    reader, loop = asyncio.StreamReader(), asyncio.get_running_loop()
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(line), "rb", buffering=0)
    )
    writing, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(line, "wb", buffering=0)
    )
    running = GuestLoop(process, reader, asyncio.StreamWriter(writing, protocol, None, loop))
    try:
        async with running.commands:
            yield running
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        reading.close()
        writing.abort()
        os.close(terminal)


def compile_loop(folder: Path) -> Path:
    """Compile the loop with the host's compiler, under the address and undefined-behaviour sanitizers."""
    return compile_guest(folder / "guest_loop", "guest_loop.c", without=("main.c", "mounts.c"))
