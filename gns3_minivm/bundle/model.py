"""A kernel bundle: the files that QEMU boots with, and where they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.artifacts import Artifact, Kind
from gns3_minivm.base.errors import DamagedImageError

MANIFEST_FORMAT = 1
KERNEL_FILE = "vmlinuz"
INITRD_FILE = "initrd"
MODULES_FILE = "modules.qcow2"
BUSYBOX_FILE = "busybox"
CONFIG_FILE = "config"
"""The kernel's configuration, where it was compiled for this bundle."""

_MIB = 1 << 20
_MARGIN_MB = 8
_HEADER_BYTES = 0x1000


@dataclass(frozen=True, kw_only=True)
class PackageRecord:
    """A distribution package that went into a bundle.

    ``filename`` is the package file's own name, ``source`` the source package as ``NAME VERSION``.  ``licences`` are
    the short names that its copyright file gives; the file itself is ``licence_file``, below the bundle's folder.
    """

    name: str
    version: str
    architecture: str
    source: str
    filename: str
    sha256: str
    size_bytes: int
    licences: tuple[str, ...] = ()
    licence_file: str = ""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A finished kernel bundle.  A flavour with everything in the kernel image has neither initrd nor modules.

    ``made_by`` says which guest sources, module list and formats it was made with: one made by another release of this
    program is not used.  ``busybox`` is the static busybox, where the bundle has one.  ``compiled`` says of a kernel
    that was compiled for the bundle with which ``compiler``, and has the sha256 of its ``configuration``.
    """

    id: str
    flavour: str
    kernel_version: str
    architecture: str
    kernel: Artifact
    initrd: Artifact | None
    modules: Artifact | None
    packages: tuple[PackageRecord, ...]
    made_by: Mapping[str, Any]
    folder: Path
    compiled: Mapping[str, str] = field(default_factory=dict)

    @property
    def busybox(self) -> Path | None:
        path = self.folder / BUSYBOX_FILE
        return path if path.is_file() else None

    @property
    def is_installed(self) -> bool:
        """Whether it was installed with pip; in the cache it lies under its id."""
        return self.folder.name != self.id

    @property
    def minimum_ram_mb(self) -> int:
        """With less memory the guest hangs before its first message.

        The kernel unpacks itself at its preferred address and QEMU puts the initrd at the end of the memory (Linux,
        Documentation/arch/x86/boot.rst, fields ``pref_address`` and ``init_size``); the margin is for what lies
        between (measured: 71.8 MiB of both hang with 72 MB and start with 80).
        """
        with self.kernel.path.open("rb") as kernel:
            header = kernel.read(_HEADER_BYTES)
        kernel_end = X86_64.image.memory_end(header) if X86_64.image.is_start_of(header) else None
        if kernel_end is None:
            return 0
        needed = kernel_end + (self.initrd.size_bytes if self.initrd else 0)
        return -(-needed // _MIB) + _MARGIN_MB

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All its artifacts, the kernel first."""
        return tuple(artifact for artifact in (self.kernel, self.initrd, self.modules) if artifact is not None)

    def as_dict(self) -> dict[str, Any]:
        """The bundle as its manifest and ``--json`` show it."""
        return {
            "manifest": MANIFEST_FORMAT,
            "id": self.id,
            "flavour": self.flavour,
            "kernel_version": self.kernel_version,
            "architecture": self.architecture,
            "artifacts": [artifact.as_dict() for artifact in self.artifacts],
            "packages": [asdict(package) | {"licences": list(package.licences)} for package in self.packages],
            "made_by": dict(self.made_by),
            "compiled": dict(self.compiled),
        }


def load(folder: Path) -> Bundle:
    """Read a bundle's manifest and check that its files are there.

    Raises DamagedImageError if it is incomplete.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["manifest"] != MANIFEST_FORMAT:
            raise ValueError(f"its manifest has the format {manifest['manifest']}, not {MANIFEST_FORMAT}")
        found = {row["kind"]: _artifact(folder, row) for row in manifest["artifacts"]}
        return Bundle(
            id=manifest["id"],
            flavour=manifest["flavour"],
            kernel_version=manifest["kernel_version"],
            architecture=manifest["architecture"],
            kernel=found[Kind.KERNEL],
            initrd=found.get(Kind.INITRD),
            modules=found.get(Kind.MODULES),
            packages=tuple(_package(row) for row in manifest["packages"]),
            made_by=manifest["made_by"],
            folder=folder,
            compiled=manifest.get("compiled", {}),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedImageError(
            f"the kernel bundle in {folder} is damaged: {error}",
            hint="Build it again: `gns3-minivm kernel build --rebuild`.",
        ) from error


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a whole bundle."""
    try:
        load(folder)
    except DamagedImageError:
        return False
    return True


def _artifact(folder: Path, row: Mapping[str, Any]) -> Artifact:
    kind = Kind(row["kind"])
    path = folder / {Kind.KERNEL: KERNEL_FILE, Kind.INITRD: INITRD_FILE, Kind.MODULES: MODULES_FILE}[kind]
    size_bytes = path.stat().st_size
    if size_bytes != row["size_bytes"]:
        raise ValueError(f"{path.name} has {size_bytes} bytes, not {row['size_bytes']}")
    return Artifact(
        kind=kind, path=path, filename=row["filename"], size_bytes=size_bytes, md5=row["md5"], sha256=row["sha256"]
    )


def _package(row: Mapping[str, Any]) -> PackageRecord:
    return PackageRecord(**{**row, "licences": tuple(row["licences"])})
