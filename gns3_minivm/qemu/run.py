"""Runs a guest under the local QEMU, for a program (``Guest.commands``) or for a person (``attach``)."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gns3_minivm.base import terminal
from gns3_minivm.base.errors import DiskFullError, GuestError, ToolError, UserError
from gns3_minivm.base.terminal import raw_terminal
from gns3_minivm.guest.exec import GuestExec
from gns3_minivm.qemu.command import GuestMachine, command_line

POWER_OFF_LIMIT_S = 60.0
_PRESS_INTERVAL_S = 3.0
_CHUNK_SIZE = 65536


class Guest:
    """A running guest.  ``reader`` and ``writer`` are its serial console; ``commands`` wraps them for programs."""

    def __init__(self, words: list[str], process: asyncio.subprocess.Process, qmp: Path, complaints: Path) -> None:
        assert process.stdout is not None and process.stdin is not None
        self.words = words
        self.reader = process.stdout
        self.writer = process.stdin
        self._process = process
        self._qmp = qmp
        self._complaints = complaints
        self._killed = False

    @property
    def ended(self) -> bool:
        """Whether QEMU has ended."""
        return self._process.returncode is not None

    def commands(self) -> GuestExec:
        """Commands in the guest; in the meantime nobody else may read the console."""
        return GuestExec(self.reader, self.writer)

    async def press_power_button(self) -> None:
        """Press the ACPI power button, as GNS3's shutdown signal does."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._qmp))
        except OSError:
            return  # QEMU has ended, or is about to
        try:
            for command in ("qmp_capabilities", "system_powerdown"):
                await reader.readline()
                writer.write(json.dumps({"execute": command}).encode() + b"\n")
                await writer.drain()
            await reader.readline()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the guest is off; its console is read on meanwhile.

        Raises GuestError if it is not in time, or if QEMU has failed.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while await self.reader.read(_CHUNK_SIZE):
                    pass
                status = await self._process.wait()
        except TimeoutError as error:
            raise GuestError(f"the guest was not off after {timeout_s:g} s") from error
        if status and not self._killed:
            raise self.failure(status)

    async def power_off(self, timeout_s: float = POWER_OFF_LIMIT_S) -> None:
        """Press the power button until the guest is off; raises GuestError as ``wait`` does.

        A single press is lost on a guest that has just begun to answer: the button's driver may not be loaded yet.
        """
        pressing = asyncio.create_task(self._press_again_and_again())
        try:
            await self.wait(timeout_s)
        finally:
            pressing.cancel()
            with suppress(asyncio.CancelledError):
                await pressing

    async def _press_again_and_again(self) -> None:
        while True:
            await self.press_power_button()
            await asyncio.sleep(_PRESS_INTERVAL_S)

    def kill(self) -> None:
        """End QEMU at once, like a power cut."""
        self._killed = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def failure(self, status: int) -> GuestError:
        """What to raise when QEMU has ended with ``status``."""
        said = self._complaints.read_text(errors="replace").strip() if self._complaints.exists() else ""
        shown = "\n".join(f"  {line}" for line in said.splitlines()[-10:])
        how = f"status {status}" if status > 0 else f"signal {-status}"
        return GuestError(
            f"`{shlex.join(self.words)}` ended with {how}" + (f":\n{shown}" if shown else ""),
            hint="Read QEMU's own words above; try another version of QEMU, or other --ram and --adapters.",
        )


@asynccontextmanager
async def running(machine: GuestMachine, qemu: str, *, accelerated: bool) -> AsyncIterator[Guest]:
    """Start QEMU; it has ended when the block has, whatever happens in it."""
    with tempfile.TemporaryDirectory(prefix="gns3-minivm-") as folder:
        qmp, complaints = Path(folder) / "qmp", Path(folder) / "stderr"
        words = command_line(machine, qemu=qemu, accelerated=accelerated, qmp=qmp)
        with complaints.open("wb") as stderr:
            try:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=stderr,
                    # A Ctrl-C on the terminal is for the guest, or for us to clean up.
                    start_new_session=True,
                )
            except OSError as error:
                raise ToolError(f"cannot run {qemu}: {error.strerror}") from error
        guest = Guest(words, process, qmp, complaints)
        try:
            yield guest
        except GuestError as error:
            # A console that closed because QEMU failed: QEMU's words are the better ones.
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 1)
            if process.returncode:
                raise guest.failure(process.returncode) from error
            raise
        finally:
            guest.kill()
            await process.wait()
            guest.writer.close()


async def attach(guest: Guest) -> None:
    """Give this terminal to the guest's console until the guest is off, or the escape key is pressed twice.

    Raises UsageError if standard input is not a terminal.
    """
    complaint = "the guest's console needs a terminal, but standard input is not one"
    hint = "Run one command in the guest with `gns3-minivm boot IMAGE --run COMMAND`."
    with raw_terminal(complaint, hint=hint) as (source, target):
        await relay(guest, source, target)


async def relay(guest: Guest, source: int, target: int) -> None:
    """Carry bytes between two file descriptors and the guest's console."""

    async def leave(presses: int) -> bool:
        """Once presses the power button, twice ends QEMU."""
        if presses > 1:
            guest.kill()
        else:
            os.write(target, b"\r\n[power button pressed; Ctrl-] again ends the guest at once]\r\n")
            await guest.press_power_button()
        return True

    await terminal.relay(guest.reader, guest.writer, source, target, leave)


def prepare_overlay(machine: GuestMachine) -> None:
    """Make the overlay file ``machine.keep`` over its first disk, if it is not there yet (blocking).

    Raises ToolError if qemu-img is missing, UserError if the file is there and belongs to another disk.
    """
    keep, disk = machine.keep, machine.disks[0].resolve()
    if keep is None:
        return
    program = shutil.which("qemu-img")
    if program is None:
        raise ToolError("--keep needs qemu-img, which is not installed", hint="Run `sudo apt install qemu-utils`.")
    if keep.exists():
        info = _qemu_img(program, "info", "--output=json", str(keep))
        backing = json.loads(info).get("full-backing-filename", "")
        if not backing or Path(backing).resolve() != disk:
            raise UserError(
                f"{keep} is not an overlay of {disk} but {'of ' + backing if backing else 'a disk of its own'}",
                hint="Name a new file with --keep, or remove this one.",
            )
        return
    if not keep.parent.is_dir():
        raise DiskFullError(
            f"cannot write {keep}: the folder {keep.parent} does not exist", hint="Name another file with --keep."
        )
    _qemu_img(program, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(disk), str(keep))


def _qemu_img(*words: str) -> str:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ToolError(f"`{shlex.join(words)}` ended with status {result.returncode}:\n  {result.stderr.strip()}")
    return result.stdout
