"""Takes out of the packages what a bundle needs."""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import zstandard

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import PackageError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.model import BUSYBOX_FILE, KERNEL_FILE, PackageRecord
from gns3_minivm.bundle.modules import elf
from gns3_minivm.bundle.modules.depmod import Module, read_module
from gns3_minivm.bundle.packages.deb import DebMember
from gns3_minivm.bundle.packages.package_set import BUSYBOX, DEB_HINT, E2FSCK, KERNEL_PREFIXES, Package, PackageSet
from gns3_minivm.formats.content import Slice

LICENCES_FOLDER = "licences"
_KERNEL = re.compile(r"boot/vmlinuz-(?P<version>[^/]+)")
_MODULES = re.compile(r"(?:usr/)?lib/modules/(?P<version>[^/]+)/(?P<path>.+)")
MODULE_FILE = re.compile(r"(?P<plain>.+\.ko)(?:\.(?P<compression>xz|gz|zst))?")
MODULE_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
_PROGRAMS = {BUSYBOX: ("bin/busybox", "usr/bin/busybox"), E2FSCK: ("sbin/e2fsck.static", "usr/sbin/e2fsck.static")}
_COPYRIGHT = re.compile(r"usr/share/doc/(?P<name>[^/]+)/copyright")


@dataclass(kw_only=True)
class Unpacked:
    """The parts of a bundle, as the packages have them.

    ``contents`` says where each module's uncompressed file lies; ``lists`` are the files of /lib/modules/VERSION that
    the kernel's build wrote.
    """

    kernel_version: str = ""
    has_kernel: bool = False
    modules: list[Module] = field(default_factory=list)
    contents: dict[str, Slice] = field(default_factory=dict)
    lists: dict[str, bytes] = field(default_factory=dict)
    programs: dict[str, bytes] = field(default_factory=dict)
    packages: list[PackageRecord] = field(default_factory=list)


def unpack(packages: PackageSet, sources: Mapping[str, Package], folder: Path, spool: Path, events: Events) -> Unpacked:
    """Write kernel image, busybox and licences to ``folder``, and all modules into the file ``spool`` (blocking).

    A set without kernel packages has just the programs.

    Raises PackageError if a package is damaged or does not hold what its name says.
    """
    (folder / LICENCES_FOLDER).mkdir()
    found = Unpacked()
    total = sum(package.size_bytes for package in packages.all)
    with events.step("Unpacking the packages", total=total, unit="bytes") as step, spool.open("wb") as stream:
        for package in packages.all:
            record = package
            for member in sources[package.name].members(_is_wanted):
                step.advance(0)
                if _COPYRIGHT.fullmatch(member.path):
                    record = with_licence(package, member, folder)
                elif package in packages.kernel:
                    _take_kernel_file(member, package, folder, stream, found)
                elif member.path in _PROGRAMS[package.name]:
                    data = found.programs[package.name] = member.read()
                    elf.check_static_program(data, f"{member.path} of {package.filename}", X86_64)
            found.packages.append(record)
            step.advance(package.size_bytes)
    _check_complete(found, packages)
    (folder / BUSYBOX_FILE).write_bytes(found.programs[BUSYBOX])
    return found


def _is_wanted(path: str) -> bool:
    if any(pattern.fullmatch(path) for pattern in (_KERNEL, _MODULES, _COPYRIGHT)):
        return True
    return any(path in paths for paths in _PROGRAMS.values())


def _check_complete(found: Unpacked, packages: PackageSet) -> None:
    # A kernel that somebody built may have everything built in, a distribution's has not.
    is_packaged = any(package.name.startswith(KERNEL_PREFIXES) for package in packages.kernel)
    lacking = "kernel modules (lib/modules)" if is_packaged and not found.modules else ""
    lacking = lacking if found.has_kernel or not packages.kernel else "kernel image (boot/vmlinuz-*)"
    if lacking:
        names = ", ".join(package.filename for package in packages.kernel)
        raise PackageError(
            f"{names}: no {lacking} in the package",
            hint=f"A package without a version in its name only points to another one. {DEB_HINT}",
        )
    for package in (packages.busybox, packages.e2fsck):
        if package.name not in found.programs:
            raise PackageError(f"{package.filename} has no {' or '.join(_PROGRAMS[package.name])}", hint=DEB_HINT)


def _take_kernel_file(
    member: DebMember, package: PackageRecord, folder: Path, spool: IO[bytes], found: Unpacked
) -> None:
    if kernel := _KERNEL.fullmatch(member.path):
        _same_version(found, kernel["version"], package)
        found.has_kernel = True
        (folder / KERNEL_FILE).write_bytes(member.read())
    elif place := _MODULES.fullmatch(member.path):
        if module := MODULE_FILE.fullmatch(place["path"]):
            _same_version(found, place["version"], package)
            _add_module(module["plain"], _plain(member, module["compression"], package), spool, found)
        elif place["path"] in MODULE_LISTS:
            found.lists[place["path"]] = member.read()


def _same_version(found: Unpacked, version: str, package: PackageRecord) -> None:
    if found.kernel_version not in ("", version):
        raise PackageError(
            f"{package.filename} is for the kernel {version}, but another package is for {found.kernel_version}",
            hint="Name the packages of one kernel.",
        )
    found.kernel_version = version


def _add_module(path: str, data: bytes, spool: IO[bytes], found: Unpacked) -> None:
    module = read_module(path, data)
    for magic in module.values("vermagic"):
        if magic.split()[:1] != [found.kernel_version]:
            raise PackageError(
                f"the module {path} is for the kernel {magic.split()[0]}, but the kernel is {found.kernel_version}",
                hint="Name the kernel image and the modules of one build.",
            )
    found.modules.append(module)
    found.contents[path] = Slice(spool.name, spool.tell(), len(data))
    spool.write(data)


def _plain(member: DebMember, compression: str | None, package: PackageRecord) -> bytes:
    """A module's bytes; compressed ones would depend on what the image's modprobe can read."""
    data = member.read()
    try:
        if compression == "xz":
            return lzma.decompress(data)
        if compression == "gz":
            return gzip.decompress(data)
        if compression == "zst":
            with zstandard.ZstdDecompressor().stream_reader(data) as stream:
                return stream.read()
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError, OSError) as error:
        raise PackageError(f"{package.filename}: {member.path} is damaged: {error}") from error
    return data


def with_licence(package: PackageRecord, member: DebMember, folder: Path) -> PackageRecord:
    text = member.read()
    path = folder / LICENCES_FOLDER / f"{package.name}.txt"
    path.write_bytes(text)
    names = licence_names(text.decode("utf-8", "replace"))
    return replace(package, licences=names, licence_file=str(path.relative_to(folder)))


def licence_names(text: str) -> tuple[str, ...]:
    """The short names in a Debian copyright file.

    The machine-readable form (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/) has them in License
    fields; older files point to /usr/share/common-licenses.
    """
    names = re.findall(r"^License:[ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE)
    names = names or re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9+])", text)
    return tuple(sorted(set(names)))
