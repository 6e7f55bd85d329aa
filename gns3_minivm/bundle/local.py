"""A kernel that does not come from a package: an image file and the folder of its modules.

Busybox and e2fsck come from packages.  The image is a bzImage (Linux, Documentation/arch/x86/boot.rst), whose header
tells its version; the folder is what ``make modules_install`` or a distribution leaves at /lib/modules/VERSION.  The
modules' ``vermagic`` tells whether the two belong together.  Not supported: images without that header (ELF, zboot).
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import PackageError
from gns3_minivm.base.events import Events, Step
from gns3_minivm.bundle.model import PackageRecord
from gns3_minivm.bundle.packages.deb import DebMember, sha256_of
from gns3_minivm.bundle.packages.owner import Owner, owning_package
from gns3_minivm.bundle.packages.package_set import Package, PackageSet, PackageSource, ResolvedPackages
from gns3_minivm.bundle.unpack import MODULE_FILE, MODULE_LISTS

IMAGE, MODULES = "linux-image", "linux-modules"
"""Names of the two parts in a bundle's manifest."""
LICENCE = "GPL-2.0-only"
"""Of Linux as a whole (its file COPYING); what a package says of it, or the modules say of themselves, goes first."""
_HEADER_SIZE = 0x10000
_VERSION = re.compile(rb"[0-9][\x21-\x7e]*")


@dataclass(frozen=True)
class LocalKernel(PackageSource):
    """``modules`` is None for a kernel that has all built in; ``programs`` has busybox and e2fsck."""

    image: Path
    modules: Path | None
    programs: PackageSource

    @contextmanager
    def resolve(self, events: Events) -> Iterator[ResolvedPackages]:
        version = image_version(self.image)
        image = _Image(self.image, version, owning_package(self.image))
        records = [_record(IMAGE, image, self.image.name, _sha256(self.image), self.image.stat().st_size)]
        packages: dict[str, Package] = {IMAGE: image}
        if self.modules is not None:
            folder = _Modules(module_folder(self.modules, version), version)
            with events.step("Reading the kernel modules", total=folder.size_bytes, unit="bytes") as step:
                records.append(_modules_record(folder, step))
            packages[MODULES] = folder
        with self.programs.resolve(events) as found:
            complete = replace(found.packages, kernel=tuple(records))
            yield _Resolved(complete, found, packages)


class _Resolved(ResolvedPackages):
    def __init__(self, packages: PackageSet, programs: ResolvedPackages, kernel: Mapping[str, Package]) -> None:
        self.packages = packages
        self._programs = programs
        self._kernel = kernel

    def fetch(self, folder: Path, events: Events) -> Mapping[str, Package]:
        return {**self._programs.fetch(folder, events), **self._kernel}


@dataclass(frozen=True)
class _Image(Package):
    path: Path
    version: str
    owner: Owner | None

    def members(self, _wanted: Callable[[str], bool]) -> Iterator[DebMember]:
        yield DebMember(f"boot/vmlinuz-{self.version}", functools.partial(_content, self.path))
        yield from _licence(self.owner)


class _Modules(Package):
    """What a bundle takes from a folder of modules; links that lead elsewhere are not followed."""

    def __init__(self, folder: Path, version: str) -> None:
        self.folder = folder
        self.version = version
        self.paths = tuple(sorted(_module_paths(folder)))
        self.size_bytes = sum((folder / path).stat().st_size for path in self.paths)
        self.owner = owning_package(folder / self.paths[0])

    def members(self, _wanted: Callable[[str], bool]) -> Iterator[DebMember]:
        for path in self.paths:
            yield DebMember(f"lib/modules/{self.version}/{path}", functools.partial(_content, self.folder / path))
        yield from _licence(self.owner)


def _licence(owner: Owner | None) -> Iterator[DebMember]:
    if owner and owner.copyright.is_file():
        yield DebMember(str(owner.copyright).lstrip("/"), functools.partial(_content, owner.copyright))


def image_version(path: Path) -> str:
    """The version of a kernel image, as ``uname -r`` would print it.  Raises PackageError if it is not one."""
    try:
        with path.open("rb") as stream:
            header = stream.read(_HEADER_SIZE)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not X86_64.image.is_start_of(header):
        what = "an ELF file" if header.startswith(b"\x7fELF") else "something else"
        raise PackageError(
            f"{path} is not an {X86_64.label} kernel image ({X86_64.image.name}) but {what}",
            hint=f"Name the file that a boot loader starts: /boot/vmlinuz-VERSION, or {X86_64.image_path} of a build.",
        )
    version_at = X86_64.image.version_at(header)
    found = _VERSION.match(header, version_at) if version_at else None
    if found is None:
        raise PackageError(f"{path} does not state the version of its kernel")
    return found[0].decode("ascii")


def module_folder(path: Path, version: str) -> Path:
    """The folder of this version's modules: ``path`` itself, or below it (/lib/modules, INSTALL_MOD_PATH)."""
    if not path.is_dir():
        raise PackageError(f"the folder {path} for the kernel modules does not exist", hint=_modules_hint(version))
    for folder in (path / version, path / "lib/modules" / version, path):
        if folder.is_dir() and any(_module_paths(folder)):
            return folder
    raise PackageError(
        f"{path} has neither kernel modules nor modules.builtin; the kernel is {version}", hint=_modules_hint(version)
    )


def _modules_hint(version: str) -> str:
    return (
        f"Name the folder that is /lib/modules/{version} where this kernel runs, or leave out --modules if the kernel "
        "has everything built in."
    )


def _module_paths(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = Path(place, name)
            relative = str(path.relative_to(folder))
            if (relative in MODULE_LISTS or MODULE_FILE.fullmatch(name)) and not path.is_symlink():
                yield relative


def _modules_record(folder: _Modules, step: Step) -> PackageRecord:
    """The folder's digest is that of the list that sha256sum(1) prints for the files that are taken."""
    digest = hashlib.sha256()
    for path in folder.paths:
        digest.update(f"{_sha256(folder.folder / path)}  {path}\n".encode())
        step.advance((folder.folder / path).stat().st_size)
    return _record(MODULES, folder, folder.folder.name, digest.hexdigest(), folder.size_bytes)


def _record(name: str, part: _Image | _Modules, filename: str, sha256: str, size_bytes: int) -> PackageRecord:
    return PackageRecord(
        name=name,
        version=part.owner.version if part.owner else part.version,
        architecture=X86_64.debian,
        source=part.owner.source if part.owner else f"linux {part.version}",
        filename=filename,
        sha256=sha256,
        size_bytes=size_bytes,
        licences=(LICENCE,),
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _sha256(path: Path) -> str:
    if not os.access(path, os.R_OK):
        raise _unreadable(path, PermissionError(13, os.strerror(13)))
    return sha256_of(path)


def _unreadable(path: Path, error: OSError) -> PackageError:
    hint = "Name a kernel image with --vmlinuz FILE, and the folder of its modules with --modules DIR."
    if isinstance(error, PermissionError):
        hint = f"On some systems only root can read it. Make a copy: `sudo install -m 644 {path} .`, then --vmlinuz."
    return PackageError(f"cannot read {path}: {error.strerror}", hint=hint)
