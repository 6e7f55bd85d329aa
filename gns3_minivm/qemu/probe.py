"""Finds out whether hardware acceleration really works.

/dev/kvm may be there, may be opened, and may even run a guest's first instructions, and a kernel still hangs (nested
virtualisation, emulators).  So a kernel is started, without disks, until it panics for want of a root file system.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

from gns3_minivm.base.architecture import X86_64

_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The panic is quiet's only line; the earlier ones show that it lives.
_APPEND = f"console={X86_64.console} {X86_64.early_console} rdinit=/none root=/dev/none panic=-1"
_FIRST_WORDS = b"Linux version"


@dataclass(frozen=True, kw_only=True)
class ProbeLimits:
    """How long the kernel may take to print its first words, and to end.

    With working acceleration these take about 0.5 and 1.5 seconds.
    """

    first_words_s: float = 2.5
    end_s: float = 10.0


async def acceleration_works(qemu: str, kernel: Path, memory: Path) -> bool:
    """Whether QEMU runs ``kernel`` with KVM.

    The answer is kept in the folder ``memory`` and holds until the machine boots again.
    """
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return False
    note = memory / "acceleration.json"
    key = [_boot_id(), qemu]
    try:
        known = json.loads(note.read_text())
        if known["key"] == key:
            return bool(known["works"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no answer yet, or one that cannot be read
    works = await runs_kernel(qemu, "kvm", kernel)
    _remember(note, {"key": key, "works": works})
    return works


async def runs_kernel(qemu: str, accelerator: str, kernel: Path, limits: ProbeLimits | None = None) -> bool:
    """Whether a kernel runs to its end under this accelerator, within the limits."""
    limits = limits or ProbeLimits()
    words = ["-accel", accelerator, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "192"]
    try:
        process = await asyncio.create_subprocess_exec(
            qemu, *words, "-serial", "stdio", "-kernel", str(kernel).replace(",", ",,"), "-append", _APPEND,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return False
    assert process.stdout is not None
    try:
        async with asyncio.timeout(limits.first_words_s):
            await process.stdout.readuntil(_FIRST_WORDS)
        async with asyncio.timeout(limits.end_s):
            await process.stdout.read()
            return await process.wait() == 0
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _remember(note: Path, answer: object) -> None:
    temporary = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(answer))
        temporary.replace(note)
    except OSError:
        pass  # it is only a saving of time
