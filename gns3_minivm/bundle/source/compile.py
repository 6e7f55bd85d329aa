"""Compiles a kernel from a distribution's source package: configuration, initramfs, progress, the same bytes each time.

What would make two builds differ is set: time, user, host and number of the build (Linux,
Documentation/kbuild/reproducible-builds.rst), the environment, and the folder, of which only relative names are used.
"""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass
from pathlib import Path

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import PackageError
from gns3_minivm.base.events import Events, Step
from gns3_minivm.bundle.source.toolchain import LINUX, Workplace

OBJECTS = 1950
"""About how many files are compiled, for the progress bar."""
_NAME = "gns3-minivm"
_INITRAMFS = "minivm.cpio"
_CONFIGURATION = "minivm.config"
_ESSENTIAL = ("VIRTIO_PCI", "VIRTIO_BLK", "EXT4_FS", "DEVTMPFS", X86_64.console_option, "BLK_DEV_INITRD", "BINFMT_ELF")
"""Without one of these there is no guest."""
_OPTION = re.compile(r"(?:CONFIG_(?P<set>\w+)=.*|# CONFIG_(?P<unset>\w+) is not set)$")
_UNSET = re.compile(r"# CONFIG_\w+ is not set")
_COMPILED = re.compile(r"\s+(?:CC|AS|HOSTCC)\s+\S+")
_TOLD = re.compile(r"\s+[A-Z][A-Z0-9_ ]*\S*\s+\S+$")
_HINT = "The lines above are the last that the compiler printed."


@dataclass(frozen=True)
class Compiled:
    """``configuration`` is the whole one, as the kernel's own programs have completed it."""

    image: bytes
    version: str
    configuration: bytes


def read_configuration(path: Path) -> list[str]:
    """The options of a commented configuration, as ``make`` takes them.  Raises PackageError for any other line."""
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        unset = _UNSET.match(text)
        line = unset[0] if unset else text.partition("#")[0].rstrip()
        if not line:
            continue
        if not _OPTION.match(line):
            raise PackageError(f"{path}, line {number}: {text!r} does not set an option")
        lines.append(line)
    return lines


def compile_kernel(
    workplace: Workplace,
    tarball: Path,
    configuration: list[str],
    initramfs: bytes,
    *,
    local_version: str,
    timestamp: int,
    events: Events,
) -> Compiled:
    """Compile a kernel with an initramfs inside (blocking).

    ``local_version`` is added to the version that the source has; ``timestamp`` is what the kernel says about when it
    was made.  Raises PackageError if the source does not fit, ToolError if compiling fails.
    """
    workplace.unpack(tarball, events)
    lines = [*configuration, f'CONFIG_INITRAMFS_SOURCE="{_INITRAMFS}"', "CONFIG_INITRAMFS_COMPRESSION_NONE=y"]
    workplace.write(f"{LINUX}/{_INITRAMFS}", initramfs)
    workplace.write(f"{LINUX}/{_CONFIGURATION}", "".join(f"{line}\n" for line in lines).encode())
    make = (
        "make",
        f"ARCH={X86_64.make}",
        f"LOCALVERSION={local_version}",
        f"KBUILD_BUILD_TIMESTAMP={email.utils.formatdate(timestamp)}",
        "KBUILD_BUILD_VERSION=1",
        f"KBUILD_BUILD_USER={_NAME}",
        f"KBUILD_BUILD_HOST={_NAME}",
    )
    with events.step("Configuring the kernel"):
        workplace.run((*make, "-s", f"KCONFIG_ALLCONFIG={_CONFIGURATION}", "allnoconfig"), hint=_HINT)
        completed = workplace.read(f"{LINUX}/.config")
        _check(lines, completed.decode(), events)
        version = workplace.run((*make, "-s", "kernelrelease")).strip().splitlines()[-1]
    with events.step("Compiling the kernel", total=OBJECTS, unit="files") as step:
        workplace.run((*make, f"-j{workplace.jobs}", X86_64.image.name), on_line=_Progress(step).see, hint=_HINT)
        step.detail = version
    return Compiled(workplace.read(f"{LINUX}/{X86_64.image_path}"), version, completed)


class _Progress:
    """Counts what is compiled; keeps make's lines about finished work out of error messages."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._done = 0

    def see(self, line: str) -> bool:
        if _COMPILED.match(line):
            self._done += 1
            if self._done > OBJECTS:
                self._step.expect(self._done)
            self._step.advance(1)
        return bool(_TOLD.match(line))


def _check(wanted: list[str], completed: str, events: Events) -> None:
    """Compare what is wanted with what the kernel's own configuration program made of it."""
    has = set(completed.splitlines())
    # An option that a source does not know is not even mentioned: as good as not set.
    lacking = [
        line for line in wanted if line not in has and not (line.startswith("#") and _name(line) not in completed)
    ]
    essential = [name for line in lacking if (name := _name(line)) in _ESSENTIAL]
    if essential:
        raise PackageError(
            f"this kernel source refuses {', '.join(essential)}, without which no guest starts",
            hint="kernel/monolithic.config is written for the linux-source package of Debian 12.",
        )
    if lacking:
        shown = ", ".join(map(_name, lacking[:8])) + (f" and {len(lacking) - 8} more" if len(lacking) > 8 else "")
        events.warn(
            f"this kernel source does not know {shown}: the kernel lacks these features (kernel/monolithic.config)"
        )


def _name(line: str) -> str:
    found = _OPTION.match(line)
    return (found["set"] or found["unset"]) if found else line
