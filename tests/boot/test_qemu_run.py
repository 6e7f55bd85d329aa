"""The local QEMU: a real guest, asked by a program and typed to on a terminal; acceleration that works or does not."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import stat
import sys
import termios
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import GuestError, ToolError, UsageError, UserError
from gns3_minivm.base.terminal import ESCAPE_KEY
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import CONFIG_PATH, GuestConfig, kernel_command_line, qemu_options
from gns3_minivm.guest.exec import ExecRequest, GuestState
from gns3_minivm.qemu import probe, run
from gns3_minivm.qemu.command import GuestMachine, find_qemu
from gns3_minivm.qemu.probe import ProbeLimits, acceleration_works, runs_kernel
from gns3_minivm.qemu.run import Guest, attach, prepare_overlay, running
from tests.support.disks import MIB, make_disk
from tests.support.tools import require_tool

SHELL_LIMIT_S = 300.0
"""A boot takes 2 to 4 s on an idle machine; the tests share theirs."""


@pytest.fixture(scope="session")
def qemu() -> str:
    require_tool("qemu-system-x86_64")
    return find_qemu()


@pytest.fixture(scope="session")
def root_disk(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with nothing but busybox."""
    assert bundle.busybox is not None
    tree = FileTree()
    tree.add_file(b"bin/busybox", bundle.busybox.read_bytes(), 0o755)
    for applet in (b"sh", b"cat", b"ls", b"mount", b"modprobe", b"sync", b"ip", b"uname", b"nproc"):
        tree.add_symlink(b"bin/" + applet, b"busybox")
    config = GuestConfig(cmd=("/bin/sh",), env=("PATH=/bin",))
    tree.add_file(CONFIG_PATH, config.encode())
    disk = tmp_path_factory.mktemp("root") / "root.qcow2"
    make_disk(tree, disk, 256 * MIB)
    disk.chmod(stat.S_IRUSR)
    return disk


@pytest.fixture
def machine(bundle: Bundle, root_disk: Path) -> GuestMachine:
    assert bundle.initrd is not None and bundle.modules is not None
    return GuestMachine(
        name="tester",
        kernel=bundle.kernel.path,
        initrd=bundle.initrd.path,
        disks=(root_disk, bundle.modules.path),
        append=kernel_command_line(),
        adapters=2,
        options="-device virtio-rng-pci -smbios type=1,serial=%vm-name%",
    )


async def test_a_guest_answers_commands_and_stops_at_its_power_button(machine: GuestMachine, qemu: str) -> None:
    async with running(machine, qemu, accelerated=False) as guest:
        async with guest.commands() as commands:
            assert await commands.hello(SHELL_LIMIT_S) == GuestState("main", "tester")
            line = "uname -n; cat /sys/class/dmi/id/product_serial; ls /sys/class/net"
            answer = await commands.run(ExecRequest(shell=line))
            assert answer.exit_status == 0
            assert answer.stdout.split() == [b"tester", b"tester", b"eth0", b"eth1", b"lo"]
        await guest.press_power_button()
        await guest.wait(SHELL_LIMIT_S)


@pytest.mark.parametrize("kind", X86_64.machines)
async def test_a_guest_runs_on_every_machine_type(machine: GuestMachine, qemu: str, kind: str) -> None:
    """Its disks, adapters and power button are there, and it learns its name; the board says which machine it is."""
    line = "cat /sys/class/dmi/id/product_name; uname -n; ls /sys/block /sys/class/net"
    async with running(replace(machine, options=qemu_options(X86_64, kind)), qemu, accelerated=False) as guest:
        async with guest.commands() as commands:
            said = (await commands.run(ExecRequest(shell=line))).stdout.decode()
        await guest.power_off(60)
    assert said.startswith("Standard PC (Q35" if kind == "q35" else "Standard PC (i440FX")
    assert {"tester", "vda", "vdb", "eth0", "eth1"} <= set(said.split())


async def test_a_guest_that_ignores_its_power_button_is_told_in_time(machine: GuestMachine, qemu: str) -> None:
    async with running(replace(machine, append="console=ttyS0 single"), qemu, accelerated=False) as guest:
        with pytest.raises(GuestError, match="not off after 0.5 s"):
            await guest.power_off(0.5)


async def test_the_bundles_busybox_loads_a_module_of_the_module_disk(machine: GuestMachine, qemu: str) -> None:
    async with running(machine, qemu, accelerated=False) as guest:
        async with guest.commands() as commands:
            answer = await commands.run(ExecRequest(shell="modprobe openvswitch && cat /proc/modules"))
        assert answer.exit_status == 0, answer.stderr
        assert b"openvswitch " in answer.stdout and b"nf_conntrack " in answer.stdout


async def test_what_a_guest_writes_is_thrown_away_unless_a_file_is_named(
    machine: GuestMachine, qemu: str, tmp_path: Path
) -> None:
    require_tool("qemu-img")
    before = machine.disks[0].read_bytes()
    kept = replace(machine, keep=tmp_path / "kept.qcow2", disks=machine.disks[:1], adapters=0)
    for turn in range(2):
        prepare_overlay(kept)
        async with running(kept, qemu, accelerated=False) as guest:
            async with guest.commands() as commands:
                answer = await commands.run(ExecRequest(shell="cat /file; echo kept > /file; sync"))
            assert answer.stdout.endswith(b"kept\n") is bool(turn)
            await guest.power_off(60)
    assert machine.disks[0].read_bytes() == before


def test_an_overlay_of_another_disk_is_refused(machine: GuestMachine, root_disk: Path, tmp_path: Path) -> None:
    require_tool("qemu-img")
    other = tmp_path / "other.qcow2"
    other.write_bytes(root_disk.read_bytes())
    prepare_overlay(replace(machine, keep=tmp_path / "kept.qcow2", disks=(other,)))
    with pytest.raises(UserError, match="is not an overlay of"):
        prepare_overlay(replace(machine, keep=tmp_path / "kept.qcow2"))


def test_keeping_needs_qemu_img(machine: GuestMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="qemu-img") as caught:
        prepare_overlay(replace(machine, keep=tmp_path / "kept.qcow2"))
    assert "qemu-utils" in caught.value.hint


async def test_a_qemu_that_fails_is_shown_with_its_own_words(machine: GuestMachine, qemu: str) -> None:
    broken = replace(machine, options="-device no-such-device")
    with pytest.raises(GuestError, match="no-such-device") as caught:
        async with running(broken, qemu, accelerated=False) as guest, guest.commands() as commands:
            await commands.hello(SHELL_LIMIT_S)
    assert "ended with status 1" in caught.value.message
    assert f"`{qemu} -name tester" in caught.value.message


async def test_a_guest_that_never_answers_is_told_in_time(machine: GuestMachine, qemu: str) -> None:
    silent = replace(machine, append="console=ttyS0 quiet init=/none root=/dev/none")
    started = time.monotonic()
    with pytest.raises(GuestError, match="within 1 s"):
        async with running(silent, qemu, accelerated=False) as guest, guest.commands() as commands:
            await commands.hello(1)
    assert time.monotonic() - started < 60


async def test_qemu_ends_when_the_caller_gives_up(machine: GuestMachine, qemu: str) -> None:
    guests: list[Guest] = []

    async def wait_for_ever() -> None:
        async with running(machine, qemu, accelerated=False) as guest:
            guests.append(guest)
            await asyncio.Event().wait()

    task = asyncio.create_task(wait_for_ever())
    while not guests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert guests[0].ended


async def test_a_terminal_is_given_to_the_console_and_taken_back(
    machine: GuestMachine, qemu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    seen = b""

    async def read_until(words: bytes, limit_s: float = SHELL_LIMIT_S) -> None:
        nonlocal seen
        end = time.monotonic() + limit_s
        while words not in seen:
            assert time.monotonic() < end, seen[-2000:]
            await asyncio.sleep(0.05)
            with suppress(BlockingIOError):
                seen += os.read(ours, 65536)

    os.set_blocking(ours, False)
    with os.fdopen(theirs, "rb", buffering=0, closefd=False) as stdin, os.fdopen(theirs, "wb", closefd=False) as stdout:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", stdout)
        async with running(machine, qemu, accelerated=False) as guest:
            attached = asyncio.create_task(attach(guest))
            await read_until(b"# ")
            assert not termios.tcgetattr(theirs)[3] & termios.ECHO
            # A tab and Ctrl-C are for the guest.
            os.write(ours, b"cat\r")
            await read_until(b"cat\r\n")
            # Ctrl-C is for what is in the foreground, and that is the shell until the program answers.
            os.write(ours, b"here\r")
            await read_until(b"here\r\nhere\r\n")
            os.write(ours, b"\x03")
            os.write(ours, b"\recho ty''ped\r")
            await read_until(b"typed\r\n")
            os.write(ours, ESCAPE_KEY)
            await read_until(b"power button pressed")
            while not attached.done():
                # A terminal that nobody reads would hold the guest up.
                with suppress(BlockingIOError):
                    os.read(ours, 65536)
                await asyncio.sleep(0.05)
            await attached
            await guest.wait(60)
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


async def test_the_escape_key_pressed_twice_ends_a_guest_that_does_not_stop(machine: GuestMachine, qemu: str) -> None:
    stuck = replace(machine, append="console=ttyS0 single root=/dev/none")
    keys, source = os.pipe()[::-1]
    shown, target = os.pipe()
    try:
        async with running(stuck, qemu, accelerated=False) as guest:
            os.write(keys, ESCAPE_KEY + ESCAPE_KEY)
            await asyncio.wait_for(run.relay(guest, source, target), SHELL_LIMIT_S)
            await guest.wait(60)
    finally:
        for descriptor in (keys, source, shown, target):
            os.close(descriptor)


async def test_without_a_terminal_there_is_no_console(
    machine: GuestMachine, qemu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with os.fdopen(os.open(os.devnull, os.O_RDONLY)) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        async with running(machine, qemu, accelerated=False) as guest:
            with pytest.raises(UsageError, match="needs a terminal") as caught:
                await attach(guest)
    assert "--run" in caught.value.hint


async def test_a_kernel_that_runs_to_its_end_is_taken_for_working(qemu: str, bundle: Bundle) -> None:
    assert await runs_kernel(
        qemu, "tcg", bundle.kernel.path, ProbeLimits(first_words_s=SHELL_LIMIT_S, end_s=SHELL_LIMIT_S)
    )


async def test_a_kernel_that_says_nothing_in_time_is_not(qemu: str, tmp_path: Path) -> None:
    mute = tmp_path / "vmlinuz"
    mute.write_bytes(bytes(4096))
    started = time.monotonic()
    assert not await runs_kernel(qemu, "tcg", mute, ProbeLimits(first_words_s=1, end_s=1))
    assert time.monotonic() - started < 30
    assert not await runs_kernel(qemu, "no-such-accelerator", mute)
    assert not await runs_kernel(str(tmp_path / "no-qemu"), "tcg", mute)


async def test_the_answer_is_kept_until_the_machine_boots_again(
    qemu: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def answer(_qemu: str, accelerator: str, _kernel: Path, _limits: ProbeLimits | None = None) -> bool:
        asked.append(accelerator)
        return True

    monkeypatch.setattr(probe, "_DEVICE", tmp_path)
    monkeypatch.setattr(probe, "runs_kernel", answer)
    memory = tmp_path / "cache"
    assert [await acceleration_works(qemu, bundle.kernel.path, memory) for _ in range(3)] == [True] * 3
    assert asked == ["kvm"]
    note = memory / "acceleration.json"
    known = json.loads(note.read_text())
    note.write_text(json.dumps({**known, "key": ["another boot", qemu]}))
    assert await acceleration_works(qemu, bundle.kernel.path, memory)
    note.write_text("{")
    assert await acceleration_works(qemu, bundle.kernel.path, memory)
    assert asked == ["kvm"] * 3
    monkeypatch.setattr(probe, "_DEVICE", tmp_path / "no-kvm")
    assert not await acceleration_works(qemu, bundle.kernel.path, memory)


async def test_this_machines_answer_comes_within_the_limits(qemu: str, bundle: Bundle, tmp_path: Path) -> None:
    started = time.monotonic()
    first = await acceleration_works(qemu, bundle.kernel.path, tmp_path)
    assert time.monotonic() - started < ProbeLimits().first_words_s + ProbeLimits().end_s + 20
    started = time.monotonic()
    assert await acceleration_works(qemu, bundle.kernel.path, tmp_path) is first
    assert time.monotonic() - started < ProbeLimits().first_words_s
