"""Where a kernel is compiled: on this machine, or wherever somebody else provides the same few things.

Source: Linux, Documentation/process/changes.rst, cut down to what ``kernel/monolithic.config`` needs: objtool needs
libelf, ``bc`` makes the table of clock frequencies, perl the ciphers in assembler, lz4 packs the image.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from gns3_minivm.base.architecture import X86_64, host_architecture
from gns3_minivm.base.command import run
from gns3_minivm.base.errors import PackageError, ToolError
from gns3_minivm.base.events import Events, Step
from gns3_minivm.bundle.packages.package_set import KernelPart, PackageSource, deb_hint

PROGRAMS = {
    "gcc": "gcc",
    "ld": "binutils",
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "lz4": "lz4",
    "perl": "perl",
}
"""The programs that compiling takes, and the Debian packages that have them."""
HEADERS = {"stdio.h": "libc6-dev", "gelf.h": "libelf-dev"}
"""The C headers that programs of the build include, in the same way."""
_IDENTITY = (("gcc", "--version"), ("ld", "--version"), ("lz4", "--version"))
"""What decides the bytes, besides the source."""
_NOT_FOR_MAKE = re.compile(r"[^\w+./-]")
"""A comma ends a word in the options that the kernel's makefiles give the compiler, and a percent sign is a pattern."""
LINUX = "linux"
"""The folder of the unpacked source, below the workplace."""

OnLine = Callable[[str], bool]


class Workplace(ABC):
    """A folder with the tools for compiling; names of files are relative to it."""

    compiler: str
    """Compiler, linker and packer with their versions, as they say it themselves."""
    jobs: int
    """How many programs are run at once."""

    def packages(self) -> PackageSource:
        """Where packages come from if this machine has no apt.  Raises PackageError if there is no such source."""
        raise PackageError("this machine has no apt to get the kernel's source with", hint=deb_hint(KernelPart.SOURCE))

    @abstractmethod
    def unpack(self, tarball: Path, events: Events) -> None:
        """Unpack the kernel's source into ``linux`` (blocking).  Raises PackageError, ToolError."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a file."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file."""

    @abstractmethod
    def run(self, words: Sequence[str], *, on_line: OnLine | None = None, hint: str = "") -> str:
        """Run a program in ``linux``, with nothing of the user's environment but PATH; as ``command.run``."""


class Toolchain(ABC):
    """Tools for compiling a kernel, which may first have to be brought."""

    @abstractmethod
    def open(self, scratch: Path, events: Events) -> AbstractContextManager[Workplace]:
        """A workplace for the time of the block (blocking); ``scratch`` is a folder on this machine for its use."""


def missing_tools() -> list[str]:
    """The Debian packages of the tools that this machine lacks; raises ToolError if its CPU is of another kind."""
    if host_architecture() is not X86_64:
        raise ToolError(
            f"the kernel is for {X86_64.label}; gns3-minivm does not compile it on {platform.machine()}",
            hint=f"Build it on an {X86_64.label} machine, and bring it here as a wheel: `gns3-minivm kernel pack`.",
        )
    missing = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if "gcc" not in missing:
        missing |= {package for header, package in HEADERS.items() if not _has_header(header)}
    return sorted(missing)


class HostTools(Toolchain):
    """The tools of this machine."""

    @contextmanager
    def open(self, scratch: Path, _events: Events) -> Iterator[Workplace]:
        if missing := missing_tools():
            raise ToolError(
                f"this machine lacks packages that are needed to compile a kernel: {', '.join(missing)}",
                hint=f"Run `sudo apt install {' '.join(missing)}`, or compile in a container: --container "
                "debian:bookworm-slim.",
            )
        if _NOT_FOR_MAKE.search(str(scratch)):
            raise ToolError(
                f"no kernel can be compiled below {str(scratch.parent)!r}: "
                "make does not accept spaces, commas, colons or quotes in a path",
                hint="Choose another cache folder with --cache DIR, or compile in a container: --container "
                "debian:bookworm-slim.",
            )
        yield _Host(scratch)


class _Host(Workplace):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / LINUX).mkdir()
        self.compiler = identity(self.run)
        self.jobs = len(os.sched_getaffinity(0))

    def unpack(self, tarball: Path, events: Events) -> None:
        with events.step("Unpacking the source", total=tarball.stat().st_size, unit="bytes") as step:
            try:
                with tarball.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:*") as archive:
                    _extract(archive, self._folder / LINUX, lambda: stream.tell(), step)
            except (tarfile.TarError, EOFError) as error:
                raise PackageError(f"the source {tarball.name} is damaged: {error}") from error

    def write(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def run(self, words: Sequence[str], *, on_line: OnLine | None = None, hint: str = "") -> str:
        # Settings of the user's (KCFLAGS, CROSS_COMPILE, MAKEFLAGS ...) would give other bytes.  HOME is where
        # nobody can make a folder: root would make any other.
        clean = ("env", "-i", f"PATH={os.environ.get('PATH', os.defpath)}", "LC_ALL=C", "TZ=UTC", "HOME=/dev/null")
        return run((*clean, *words), folder=self._folder / LINUX, on_line=on_line, hint=hint, group=True)


def identity(run_tool: Callable[[Sequence[str]], str]) -> str:
    """The versions of the tools that decide the bytes, as the tools print them."""
    return "; ".join(run_tool(words).strip().splitlines()[0].strip("* \t") for words in _IDENTITY)


def is_needed(path: str) -> bool:
    """Whether a file of the source is needed to compile it for guests: a third of it is not."""
    first, _, rest = path.partition("/")
    if first == "Documentation":
        return "Kconfig" in rest or "Makefile" in rest
    if first == "arch":
        return "/" not in rest or rest.startswith((f"{X86_64.source_folder}/", "um/")) or "Kconfig" in rest
    return True


def _extract(archive: tarfile.TarFile, folder: Path, position: Callable[[], int], step: Step) -> None:
    """Unpack what is below the only folder of the archive."""
    done = 0
    for member in archive:
        step.advance(position() - done)
        done = position()
        _, _, path = member.name.partition("/")
        if path and is_needed(path):
            member.name = path
            if member.islnk():
                member.linkname = member.linkname.partition("/")[2]
            _extract_member(archive, member, folder)


def _extract_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Unpack a file, folder or link that stays in the folder, as the user's own."""
    if hasattr(tarfile, "data_filter"):
        return archive.extract(member, folder, filter="data")
    # Python before 3.11.4, which is Debian 12's.
    places = [member.name]
    if member.issym():
        places.append(os.path.join(os.path.dirname(member.name), member.linkname))
    elif member.islnk():
        places.append(member.linkname)
    if any(os.path.normpath(place).startswith(("/", "..")) for place in places):
        raise tarfile.ExtractError(f"{member.name!r} leads out of its folder")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise tarfile.ExtractError(f"{member.name!r} is not a file, folder or link")
    member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    archive.extract(member, folder)


def _has_header(name: str) -> bool:
    words = ("gcc", "-E", "-x", "c", "-include", name, os.devnull)
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
