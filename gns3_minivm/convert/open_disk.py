"""Opens the disk in a file: qcow2 with its backing files, or raw."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from gns3_minivm.base.errors import DamagedImageError, HostError, UsageError
from gns3_minivm.formats.qcow2 import Qcow2Info, Qcow2Reader
from gns3_minivm.formats.qcow2.reader import SizedSource
from gns3_minivm.formats.raw import RawDisk

Format = Literal["qcow2", "raw"]

_QCOW2_MAGIC = b"QFI\xfb"
_CHAIN_MAX = 32
# Other disk image formats, told from raw by their first bytes.
_OTHER_FORMATS = {
    b"KDMV": "a VMDK disk image",
    b"COWD": "a VMDK disk image",
    b"# Disk DescriptorFile": "a VMDK descriptor",
    b"<<< Oracle VM VirtualBox": "a VDI disk image",
    b"conectix": "a VHD disk image",
    b"vhdxfile": "a VHDX disk image",
    b"QED\0": "a QED disk image",
    b"\x1f\x8b": "a gzip file",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"BZh": "a bzip2 file",
    b"PK\3\4": "a zip archive",
}


@dataclass(frozen=True)
class DiskFile:
    """One file of a chain; ``info`` is what a qcow2 header says."""

    path: Path
    format: Format
    size_bytes: int
    info: Qcow2Info | None


@dataclass(frozen=True)
class OpenDisk:
    """The disk as a guest would see it, and the files that it is in: the named one, then its backing files."""

    source: SizedSource
    files: tuple[DiskFile, ...]
    top: Qcow2Reader | None


@contextmanager
def open_disk(path: Path) -> Iterator[OpenDisk]:
    """Open the disk in a file for reading, with its backing files.

    Raises UsageError for what is no file, DamagedImageError for other formats, damage, and missing backing files,
    HostError if a file cannot be read.
    """
    with ExitStack() as stack:
        files: list[DiskFile] = []
        source, top = _open(path, None, stack, files)
        reader = top
        while reader is not None and reader.info.backing_file:
            parent = files[-1]
            if len(files) >= _CHAIN_MAX:
                raise DamagedImageError(f"{path} has more than {_CHAIN_MAX - 1} backing files in a row")
            backing = _backing_path(parent.path, reader.info.backing_file)
            if any(_same(backing, file.path) for file in files):
                raise DamagedImageError(f"{parent.path}: its backing file {backing} leads back to itself")
            reader.backing, following = _open(backing, reader.info.backing_format, stack, files)
            reader = following
        yield OpenDisk(source, tuple(files), top)


def _open(
    path: Path, told: str | None, stack: ExitStack, files: list[DiskFile]
) -> tuple[SizedSource, Qcow2Reader | None]:
    """Open one file; ``told`` is the format that an overlay names for it ("" if it names none)."""
    stream = stack.enter_context(_stream(path))
    size_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    start = stream.read(64)
    if not start:
        raise DamagedImageError(f"{path} is empty")
    if start.startswith(_QCOW2_MAGIC) and told in (None, "", "qcow2"):
        reader = Qcow2Reader(stream, str(path))
        files.append(DiskFile(path, "qcow2", size_bytes, reader.info))
        return reader, reader
    if told not in (None, "", "raw"):
        raise DamagedImageError(
            f"{path} is a backing file of the format {told!r}; it is not, or its format is not supported"
        )
    for magic, what in _OTHER_FORMATS.items():
        if start.startswith(magic) and told != "raw":
            raise DamagedImageError(
                f"{path} is {what}; disks in qcow2 or raw files can be read",
                hint=f"`qemu-img convert -O qcow2 {path} disk.qcow2` reads most disk images.",
            )
    files.append(DiskFile(path, "raw", size_bytes, None))
    return RawDisk(stream, str(path)), None


def _stream(path: Path) -> BinaryIO:
    try:
        # Opening a pipe would wait for somebody to write into it.
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
            raise UsageError(f"{path} is {'a folder' if stat.S_ISDIR(kind) else 'not a regular file'}")
        return path.open("rb", buffering=0)
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}") from error


def _backing_path(overlay: Path, name: str) -> Path:
    """The path that an overlay names, relative to its own folder."""
    name = name.removeprefix("file:")
    if name.startswith("json:") or "://" in name or name.partition(":")[0] in ("nbd", "rbd", "ssh", "iscsi", "fat"):
        raise DamagedImageError(
            f"{overlay}: its backing file {name!r} is not a local file; gns3-minivm reads local files only"
        )
    path = overlay.parent / name
    if not path.exists():
        raise DamagedImageError(
            f"{overlay}: its backing file {path} does not exist",
            hint="Put it there (for a disk of gns3-minivm, convert the image again), or tell the overlay where it is: "
            f"`qemu-img rebase -u -F qcow2 -b FILE {overlay}`.",
        )
    return path


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
