"""Where the packages of a bundle come from, and which is which."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import PackageError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.model import PackageRecord
from gns3_minivm.bundle.packages.deb import DebMember, members, open_deb, sha256_of

BUSYBOX = "busybox-static"
E2FSCK = "e2fsck-static"
KERNEL_PREFIXES = ("linux-image-", "linux-modules-", "linux-binary-")
"""Names of packages that hold a kernel image or its modules; how they are split differs between distributions."""
SOURCE_PREFIX = "linux-source-"
"""Names of packages that hold a kernel's source, as the distribution has patched it."""


class KernelPart(Enum):
    """What of a kernel the packages of a bundle bring."""

    IMAGE = "image"
    SOURCE = "source"
    NONE = "none"
    """It comes from elsewhere."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """How the names of these packages start."""
        return {KernelPart.IMAGE: KERNEL_PREFIXES, KernelPart.SOURCE: (SOURCE_PREFIX,)}.get(self, ())


@dataclass(frozen=True)
class PackageSet:
    """The packages of one bundle: one or more with the kernel and its modules (or its source), busybox, e2fsck."""

    kernel: tuple[PackageRecord, ...]
    busybox: PackageRecord
    e2fsck: PackageRecord

    @property
    def all(self) -> tuple[PackageRecord, ...]:
        return (*self.kernel, self.busybox, self.e2fsck)


class Package(ABC):
    """A package that is here."""

    @abstractmethod
    def members(self, wanted: Callable[[str], bool]) -> Iterator[DebMember]:
        """The files whose path is wanted.  Raises PackageError if it is damaged."""


@dataclass(frozen=True)
class DebPackage(Package):
    path: Path

    def members(self, wanted: Callable[[str], bool]) -> Iterator[DebMember]:
        return members(open_deb(self.path), wanted)


class PackageSource(ABC):
    """Finds out which packages there are, and then gives their files."""

    @abstractmethod
    def resolve(self, events: Events) -> AbstractContextManager[ResolvedPackages]:
        """Find the packages (blocking); what comes out is good inside the block.  Raises PackageError."""


class ResolvedPackages(ABC):
    """Packages that are known, with digests, but perhaps not yet here."""

    packages: PackageSet

    @abstractmethod
    def fetch(self, folder: Path, events: Events) -> Mapping[str, Package]:
        """Bring the packages (blocking), by name; they are verified, and lie in ``folder`` or elsewhere."""


class DebFiles(PackageSource):
    """Packages from files that the user names; their control fields say what they are.

    There must be none with another part of a kernel than ``kernel``.
    """

    def __init__(self, paths: Sequence[Path], *, kernel: KernelPart = KernelPart.IMAGE) -> None:
        self._paths = tuple(paths)
        self._kernel = kernel

    def resolve(self, events: Events) -> AbstractContextManager[ResolvedPackages]:
        with events.step("Reading the packages", total=len(self._paths), unit="files") as step:
            records: list[tuple[PackageRecord, Path]] = []
            for path in self._paths:
                records.append((read_record(path), path))
                step.advance(1)
        return nullcontext(_Files(choose([record for record, _ in records], kernel=self._kernel), _by_name(records)))


class _Files(ResolvedPackages):
    def __init__(self, packages: PackageSet, paths: Mapping[str, Path]) -> None:
        self.packages = packages
        self._paths = paths

    def fetch(self, _folder: Path, _events: Events) -> Mapping[str, Package]:
        return {name: DebPackage(path) for name, path in self._paths.items()}


def read_record(path: Path) -> PackageRecord:
    """The record of a .deb file.  Raises PackageError if it is not one, or is for another CPU."""
    control = open_deb(path).control
    return make_record(control, filename=path.name, sha256=sha256_of(path), size_bytes=path.stat().st_size)


def make_record(control: Mapping[str, str], *, filename: str, sha256: str, size_bytes: int) -> PackageRecord:
    """A record from control fields; the source is the package itself where there is no Source field."""
    try:
        name, version, architecture = control["Package"], control["Version"], control["Architecture"]
    except KeyError as error:
        raise PackageError(f"{filename} has no field {error.args[0]}") from error
    if architecture not in (X86_64.debian, "all"):
        raise PackageError(
            f"{filename} is for the architecture {architecture}; a bundle needs {X86_64.debian} packages",
            hint=f"Download the {X86_64.debian} package of the same name.",
        )
    source, _, source_version = control.get("Source", name).partition(" ")
    return PackageRecord(
        name=name,
        version=version,
        architecture=architecture,
        source=f"{source} {source_version.strip('()') or version}",
        filename=filename,
        sha256=sha256,
        size_bytes=size_bytes,
    )


def choose(records: Sequence[PackageRecord], *, kernel: KernelPart = KernelPart.IMAGE) -> PackageSet:
    """Tell which package is which.  Raises PackageError that names what is missing, superfluous or duplicated."""
    found_kernel = tuple(record for record in records if record.name.startswith((*KERNEL_PREFIXES, SOURCE_PREFIX)))
    wrong = [record for record in found_kernel if not record.name.startswith(kernel.prefixes)]
    if wrong:
        what = "the source of a kernel" if wrong[0].name.startswith(SOURCE_PREFIX) else "a kernel"
        raise PackageError(
            f"{wrong[0].filename} holds {what}, but another one is named already"
            if kernel is KernelPart.NONE
            else f"{wrong[0].filename} holds {what}, which this flavour does not use",
            hint="Name one kernel: packages (--deb), this machine's (--from-host) or a file (--vmlinuz); with "
            "--flavour monolithic, the package of its source.",
        )
    found = {record.name: record for record in records}
    missing = [name for name in (BUSYBOX, E2FSCK) if name not in found]
    if kernel is KernelPart.IMAGE and not any(record.name.startswith("linux-image-") for record in found_kernel):
        missing.insert(0, f"linux-image-VERSION-cloud-{X86_64.debian} (or another linux-image package)")
    if kernel is KernelPart.SOURCE and not found_kernel:
        missing.insert(0, f"{SOURCE_PREFIX}VERSION")
    if missing:
        raise PackageError(
            f"of the packages for a kernel bundle, missing: {', '.join(missing)}; "
            f"given: {', '.join(record.filename for record in records) or 'none'}",
            hint=deb_hint(kernel),
        )
    extra = [record for record in records if record not in found_kernel and record.name not in (BUSYBOX, E2FSCK)]
    if extra:
        raise PackageError(
            f"{extra[0].filename} holds the package {extra[0].name}, which is not part of a kernel bundle",
            hint=deb_hint(kernel),
        )
    names = [record.name for record in records]
    for name in names:
        if names.count(name) > 1:
            raise PackageError(f"the package {name} is given {names.count(name)} times", hint="Use only one of them.")
    if kernel is KernelPart.SOURCE and len(found_kernel) > 1:
        raise PackageError(
            f"{' and '.join(record.filename for record in found_kernel)} are sources of several kernels",
            hint="Use only one of them.",
        )
    return PackageSet(found_kernel, found[BUSYBOX], found[E2FSCK])


DEB_HINT = (
    f"Name the kernel, busybox-static and e2fsck-static packages ({X86_64.debian}) of Debian or Ubuntu: "
    "`gns3-minivm kernel build --deb linux-image-....deb --deb busybox-static_....deb --deb e2fsck-static_....deb`."
)
_SOURCE_HINT = (
    f"Name the linux-source, busybox-static and e2fsck-static packages ({X86_64.debian}) of Debian: "
    "`gns3-minivm kernel build --flavour monolithic --deb linux-source-....deb --deb busybox-static_....deb --deb "
    "e2fsck-static_....deb`."
)


def deb_hint(kernel: KernelPart) -> str:
    """The hint for missing packages."""
    return _SOURCE_HINT if kernel is KernelPart.SOURCE else DEB_HINT


def _by_name(records: Sequence[tuple[PackageRecord, Path]]) -> dict[str, Path]:
    return {record.name: path for record, path in records}
