"""QEMU's command line, as GNS3 forms it from the same values of a template.

Follows ``_build_command`` of gns3server/compute/qemu/qemu_vm.py (2.2.61 and 3.0.6), in its order.  Different here: the
console is QEMU's standard input and output, adapters end in QEMU's user-mode network instead of a link, and disks are
snapshots that QEMU throws away (GNS3 makes linked clones).  Adapters lie on the root bus as on 2.2; 3.0 puts them
behind a bridge, with the guest seeing them in the same order.
"""

from __future__ import annotations

import shlex
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ToolError, UsageError

PROGRAM = X86_64.qemu_program
_MACHINE_IDS = uuid.UUID("7d1a2bd0-27ac-5d52-9b2e-6c2f64e0cb0b")


@dataclass(frozen=True, kw_only=True)
class GuestMachine:
    """A template's machine; ``append`` is the kernel command line.

    ``disks`` are hda, hdb ...; ``options`` is the template's line of further QEMU options, in which GNS3 replaces
    ``%vm-name%`` and its like.  ``keep`` is an overlay file that replaces the first disk and is written to.
    """

    name: str
    kernel: Path
    initrd: Path | None
    disks: tuple[Path, ...]
    append: str
    ram_mb: int = 256
    cpus: int = 1
    adapters: int = 1
    adapter_type: str = "virtio-net-pci"
    disk_interface: str = "virtio"
    options: str = ""
    keep: Path | None = None


def find_qemu() -> str:
    """The path of QEMU.  Raises ToolError if it is not installed."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise ToolError(f"{PROGRAM} is not installed", hint=f"Run `sudo apt install {X86_64.qemu_package}`.")
    return path


def command_line(
    machine: GuestMachine, *, qemu: str = PROGRAM, accelerated: bool = False, qmp: Path | None = None
) -> list[str]:
    """The words that start ``machine``; ``qmp`` is where QEMU's control socket goes."""
    name = _quoted(machine.name)
    words = [qemu, "-name", name, "-m", f"{machine.ram_mb}M"]
    words += ["-smp", f"cpus={machine.cpus},maxcpus={machine.cpus},sockets=1"]
    if accelerated:
        words += ["-enable-kvm", "-machine", "smm=off"]
    words += ["-boot", "order=c"]
    for index, disk in enumerate(machine.disks):
        words += _disk_words(machine, index, disk)
    if machine.initrd is not None:
        words += ["-initrd", _quoted(str(machine.initrd))]
    words += ["-kernel", _quoted(str(machine.kernel)), "-append", machine.append]
    options = _option_words(machine)
    if "-uuid" not in options:
        words += ["-uuid", machine_id(machine)]
    words += ["-serial", "stdio", "-monitor", "none"]
    if qmp is not None:
        words += ["-qmp", f"unix:{_quoted(str(qmp))},server=on,wait=off"]
    words += ["-net", "none"]
    for number in range(machine.adapters):
        words += _adapter_words(machine.adapter_type, number)
    return [*words, "-display", "none", *options]


def machine_id(machine: GuestMachine) -> str:
    """The machine's UUID: the same for the same name, as a GNS3 node keeps its own."""
    return str(uuid.uuid5(_MACHINE_IDS, machine.name))


def _disk_words(machine: GuestMachine, index: int, disk: Path) -> list[str]:
    kept = machine.keep if index == 0 else None
    drive = f"file={_quoted(str(kept or disk))},index={index},media=disk,id=drive{index}"
    if kept is None:
        # QEMU writes to a file in TMPDIR that has no name any more; the disk itself is only read.
        drive += ",snapshot=on"
    kinds = {"scsi": f"virtio-scsi-pci,id=scsi{index}", "sata": f"ahci,id=ahci{index}"}
    devices = {"scsi": f"scsi-hd,drive=drive{index}", "sata": f"ide-hd,drive=drive{index},bus=ahci{index}.0"}
    if machine.disk_interface in kinds:
        interface = machine.disk_interface
        return ["-device", kinds[interface], "-drive", f"{drive},if=none", "-device", devices[interface]]
    return ["-drive", f"{drive},if={machine.disk_interface}"]


def _adapter_words(kind: str, number: int) -> list[str]:
    device = f"{kind},mac=0c:00:00:00:00:{number:02x}"
    if kind == "virtio-net-pci":
        device += ",speed=10000,duplex=full"
    return ["-device", f"{device},netdev=gns3-{number}", "-netdev", f"user,id=gns3-{number}"]


def _option_words(machine: GuestMachine) -> list[str]:
    text = machine.options.strip()
    quoted_name = _quoted(machine.name).replace('"', '\\"')
    for what, value in (("%vm-name%", f'"{quoted_name}"'), ("%vm-id%", machine_id(machine))):
        text = text.replace(what, value)
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"the QEMU options {machine.options!r} are malformed: {error}") from error


def _quoted(text: str) -> str:
    """A value for QEMU's comma-separated options."""
    return text.replace(",", ",,")
