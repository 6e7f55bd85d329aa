"""QEMU's command line has what GNS3 would give it from the same template."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gns3_minivm.base.errors import ToolError, UsageError
from gns3_minivm.qemu.command import GuestMachine, command_line, find_qemu, machine_id

MACHINE = GuestMachine(
    name="web",
    kernel=Path("/k/vmlinuz"),
    initrd=Path("/k/initrd"),
    disks=(Path("/d/web.qcow2"), Path("/k/modules.qcow2")),
    append="console=ttyS0 quiet root=/dev/vda rw",
    ram_mb=128,
    cpus=2,
    adapters=2,
    options="-device virtio-rng-pci -smbios type=1,serial=%vm-name%",
)


def value(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def values(words: list[str], option: str) -> list[str]:
    return [words[place + 1] for place, word in enumerate(words) if word == option]


def test_a_template_becomes_the_words_that_gns3_gives_to_qemu() -> None:
    words = command_line(MACHINE)
    assert words[:9] == [
        "qemu-system-x86_64", "-name", "web", "-m", "128M", "-smp", "cpus=2,maxcpus=2,sockets=1", "-boot", "order=c",
    ]  # fmt: skip
    assert value(words, "-kernel") == "/k/vmlinuz"
    assert value(words, "-initrd") == "/k/initrd"
    assert value(words, "-append") == MACHINE.append
    assert values(words, "-drive") == [
        "file=/d/web.qcow2,index=0,media=disk,id=drive0,snapshot=on,if=virtio",
        "file=/k/modules.qcow2,index=1,media=disk,id=drive1,snapshot=on,if=virtio",
    ]
    assert words[-5:] == ["none", "-device", "virtio-rng-pci", "-smbios", "type=1,serial=web"]
    assert "-enable-kvm" not in words


def test_adapters_are_on_qemus_own_network() -> None:
    words = command_line(MACHINE)
    assert values(words, "-netdev") == ["user,id=gns3-0", "user,id=gns3-1"]
    assert values(words, "-device")[:2] == [
        "virtio-net-pci,mac=0c:00:00:00:00:00,speed=10000,duplex=full,netdev=gns3-0",
        "virtio-net-pci,mac=0c:00:00:00:00:01,speed=10000,duplex=full,netdev=gns3-1",
    ]
    assert value(command_line(replace(MACHINE, adapter_type="e1000")), "-netdev") == "user,id=gns3-0"
    assert "-netdev" not in command_line(replace(MACHINE, adapters=0))


def test_acceleration_is_asked_for_as_gns3_asks() -> None:
    words = command_line(MACHINE, accelerated=True)
    assert words[words.index("-enable-kvm") :][:3] == ["-enable-kvm", "-machine", "smm=off"]


def test_an_overlay_that_is_kept_takes_the_first_disks_place() -> None:
    drives = values(command_line(replace(MACHINE, keep=Path("/my/overlay"))), "-drive")
    assert drives[0] == "file=/my/overlay,index=0,media=disk,id=drive0,if=virtio"
    assert "snapshot=on" in drives[1]


def test_a_kernel_that_needs_no_initrd_gets_none() -> None:
    assert "-initrd" not in command_line(replace(MACHINE, initrd=None))


def test_commas_in_names_and_paths_are_doubled() -> None:
    words = command_line(replace(MACHINE, name="a,b", disks=(Path("/d/x,y"),)))
    assert value(words, "-name") == "a,,b"
    assert value(words, "-drive").startswith("file=/d/x,,y,")
    assert words[-1] == "type=1,serial=a,,b"


@pytest.mark.parametrize(
    ("interface", "device"), [("scsi", "scsi-hd,drive=drive0"), ("sata", "ide-hd,drive=drive0,bus=ahci0.0")]
)
def test_disks_behind_a_controller_bring_it(interface: str, device: str) -> None:
    words = command_line(replace(MACHINE, disk_interface=interface))
    assert device in values(words, "-device")
    assert value(words, "-drive").endswith(",if=none")


def test_the_machines_id_is_its_names_unless_the_options_have_one() -> None:
    assert value(command_line(MACHINE), "-uuid") == machine_id(MACHINE) == machine_id(replace(MACHINE, ram_mb=1))
    assert machine_id(replace(MACHINE, name="other")) != machine_id(MACHINE)
    assert values(command_line(replace(MACHINE, options="-uuid x")), "-uuid") == ["x"]


def test_options_that_no_shell_would_take_are_told() -> None:
    with pytest.raises(UsageError, match="malformed"):
        command_line(replace(MACHINE, options='-device "x'))


def test_a_missing_qemu_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ToolError, match="qemu-system-x86_64 is not installed") as caught:
        find_qemu()
    assert "apt install" in caught.value.hint
