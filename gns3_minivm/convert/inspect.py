"""What is on a disk: the file, the file system, the guest's configuration, and the recipe that it was made by.

Nothing is mounted.  Changes that wait in a dirty journal are shown, but not written.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gns3_minivm.base.errors import DamagedImageError, UsageError
from gns3_minivm.base.plurals import counted
from gns3_minivm.convert.open_disk import OpenDisk, open_disk
from gns3_minivm.convert.options import SIZE_DEFAULT, Compression
from gns3_minivm.convert.recipe import find_recipe
from gns3_minivm.convert.report import DiskReport, FileSystem, FoundFile
from gns3_minivm.formats.ext4.reader import LINKS_FOLLOWED_MAX, Ext4Reader
from gns3_minivm.formats.ext4.reader_journal import read_journal
from gns3_minivm.formats.ext4.reader_replay import open_replayed
from gns3_minivm.formats.ext4.reader_superblock import Superblock
from gns3_minivm.formats.tree import Node, printable
from gns3_minivm.guest.contract import CONFIG_PATH, MODULES_LABEL, decode_config

NODE_PATH = b".minivm/node"
_CONFIG_SIZE_MAX = 4 << 20
_NODE_SIZE_MAX = 4096
_EXT4_MAGIC_AT, _EXT4_MAGIC = 1024 + 56, b"\x53\xef"
_START_SIZE = 256 << 10

# (offset, bytes there, what it is), of what is found on disks instead of ext4.
_CONTENTS = (
    (512, b"EFI PART", "a partition table (GPT)"),
    (0, b"XFSB", "an XFS file system"),
    (0x10040, b"_BHRfS_M", "a Btrfs file system"),
    (0, b"hsqs", "a SquashFS file system"),
    (32769, b"CD001", "an ISO 9660 file system"),
    (0, b"LUKS\xba\xbe", "LUKS encryption"),
    (512, b"LABELONE", "an LVM physical volume"),
    (4086, b"SWAPSPACE2", "swap space"),
    (3, b"NTFS    ", "an NTFS file system"),
    (54, b"FAT", "a FAT file system"),
    (82, b"FAT32", "a FAT file system"),
    (510, b"\x55\xaa", "a partition table (MBR)"),
)


def inspect_disk(path: Path) -> DiskReport:
    """Look at the disk in a file (blocking).

    Raises UsageError if it is not a file, DamagedImageError if it is damaged or not a disk, HostError.
    """
    with _opened(path) as disk:
        report = DiskReport(
            files=disk.files, virtual_size=disk.source.size, compression=_compression(disk), warnings=_warnings(disk)
        )
        start = disk.source.read(0, min(_START_SIZE, disk.source.size))
        if start[_EXT4_MAGIC_AT:][:2] != _EXT4_MAGIC:
            content = _content(start)
            if disk.top is None and not content:
                raise DamagedImageError(
                    f"{path} is not a qcow2 file, and as a raw disk it holds nothing that gns3-minivm recognises",
                    hint="Name a disk image, such as the output of `gns3-minivm convert`.",
                )
            missing = ("an ext4 file system without partitions",)
            return replace(report, content=content or "nothing that gns3-minivm recognises", missing=missing)
        superblock = Superblock(disk.source)
        if superblock.size_bytes > disk.source.size:
            raise DamagedImageError(
                f"the disk has {disk.source.size} bytes, but its file system has {superblock.size_bytes}",
                hint="The file was cut off, or the disk was shrunk below the size of its file system.",
            )
        report = replace(report, kind="ext4 file system", content="an ext4 file system")
        if superblock.unreadable:
            missing = (f"files that can be read: the file system has {' and '.join(superblock.unreadable)}",)
            return replace(report, filesystem=_filesystem(superblock), missing=missing)
        return _with_files(report, *open_replayed(disk.source), needs_recovery=superblock.needs_recovery)


def list_files(path: Path, top: bytes) -> Iterator[FoundFile]:
    """The files below a folder of the disk (or the one file that it names), a folder before its content (blocking).

    A link to a folder stands for the folder, any other link for itself.  Raises what ``inspect_disk`` raises, and
    UsageError if there is no such path.
    """
    with _opened(path) as disk:
        reader, _ = open_replayed(disk.source)
        prefix = top.strip(b"/")
        folder = reader.find(top).ino
        if folder is None or not Node(reader.stat(folder).mode, None).is_directory:
            yield _found(reader, prefix, _find(reader, path, top, follow=False))
            return
        for name, number in reader.walk(folder):
            yield _found(reader, prefix + b"/" + name if prefix else name, number)


def file_chunks(path: Path, name: bytes) -> Iterator[bytes]:
    """The bytes of a file on the disk, in pieces (blocking); links are followed.  Raises as ``list_files`` does."""
    with _opened(path) as disk:
        reader, _ = open_replayed(disk.source)
        ino = _find(reader, path, name)
        node = Node(reader.stat(ino).mode, None)
        if node.is_directory:
            shown = printable(name)
            raise UsageError(f"{path}: {shown} is a folder", hint=f"`--files {shown}` lists what is in it.")
        if not node.is_file:
            raise UsageError(
                f"{path}: {printable(name)} is a device, a pipe or a socket, so it has no content",
                hint="--cat prints regular files only; `--files /` shows the type of each file.",
            )
        yield from reader.chunks(ino)


@contextmanager
def _opened(path: Path) -> Iterator[OpenDisk]:
    """Open a disk; errors of the readers are raised with the name of the file."""
    try:
        with open_disk(path) as disk:
            yield disk
    except DamagedImageError as error:
        if str(path) in error.message:
            raise
        raise DamagedImageError(f"{path}: {error.message}", hint=error.hint) from error


def _compression(disk: OpenDisk) -> Compression | None:
    """What the clusters of the named file are compressed with; None for a raw file."""
    if disk.top is None:
        return None
    return "none" if disk.top.has_compressed_clusters() is False else disk.top.info.compression


def _warnings(disk: OpenDisk) -> tuple[str, ...]:
    found = []
    for file in disk.files:
        if file.info and file.info.is_corrupt:
            found.append(f"{file.path} is marked as corrupt; `qemu-img check` shows more")
        if file.info and file.info.is_dirty:
            found.append(f"{file.path} was not closed; `qemu-img check -r all` repairs its reference counts")
    return tuple(found)


def _content(start: bytes) -> str:
    """What a disk holds, judged by its first bytes; empty if unknown."""
    for offset, magic, what in _CONTENTS:
        if start[offset : offset + len(magic)] == magic:
            return what
    return "" if start.strip(b"\0") else "nothing but zeros at its start"


def _filesystem(superblock: Superblock) -> FileSystem:
    fields, counts = superblock.fields, superblock.counts
    return FileSystem(
        label=superblock.label,
        uuid=str(uuid.UUID(bytes=superblock.uuid)),
        features=superblock.features,
        state=superblock.state,
        size_bytes=superblock.size_bytes,
        block_size=superblock.block_size,
        free_bytes=counts.free_blocks * superblock.allocation_size,
        inodes=fields["s_inodes_count"],
        used_inodes=fields["s_inodes_count"] - counts.free_inodes,
        directories=counts.directories,
        needs_recovery=superblock.needs_recovery,
        journal=None,
        replayed=None,
    )


def _with_files(report: DiskReport, reader: Ext4Reader, replayed: int | None, *, needs_recovery: bool) -> DiskReport:
    """The report on a readable file system, of whose journal ``replayed`` transactions were replayed."""
    filesystem = replace(
        _filesystem(reader.super), needs_recovery=needs_recovery, journal=read_journal(reader), replayed=replayed
    )
    warnings = list(report.warnings)
    if needs_recovery:
        shown = "the report leaves out the changes in the journal"
        if replayed is not None:
            changes = counted(replayed, "transaction")
            shown = f"the report includes the changes in the journal ({changes}), as the next boot will find them"
        warnings.append(f"the journal is dirty: the guest is running, or was not shut down; {shown}")
    if "errors" in filesystem.state:
        warnings.append("the file system is marked as damaged; the guest will check it at its next boot")
    report = replace(report, filesystem=filesystem, warnings=tuple(warnings))
    if reader.label == MODULES_LABEL:
        names = sorted(name.decode("utf-8", "replace") for name, _ in reader.entries(_find(reader, Path(), b"/")))
        versions = tuple(name for name in names if name != "lost+found")
        return replace(report, kind="module disk", kernel_versions=versions)
    data = _small_file(reader, CONFIG_PATH, _CONFIG_SIZE_MAX)
    if data is None:
        return replace(report, missing=(f"the guest configuration /{CONFIG_PATH.decode()}",))
    try:
        config, diff_ids = decode_config(data)
    except ValueError as error:
        raise DamagedImageError(f"the guest configuration is damaged: {error}") from error
    sizes = [report.virtual_size, filesystem.size_bytes, SIZE_DEFAULT]
    sizes += [file.info.virtual_size for file in report.files if file.info]
    node_id = _small_file(reader, NODE_PATH, _NODE_SIZE_MAX) or b""
    return replace(
        report,
        kind="root disk",
        config=config,
        diff_ids=diff_ids,
        recipe=find_recipe(reader.uuid, config, diff_ids, sizes),
        node_id=node_id.decode("utf-8", "replace").strip(),
    )


def _small_file(reader: Ext4Reader, path: bytes, size_max: int) -> bytes | None:
    """A regular file's bytes; None if there is none."""
    ino = reader.lookup(path)
    if ino is None or not Node(reader.stat(ino).mode, None).is_file:
        return None
    size = reader.stat(ino).size
    if size > size_max:
        raise DamagedImageError(f"the file /{path.decode()} has {size} bytes; at most {size_max} are allowed")
    return reader.read_file(ino)


def _find(reader: Ext4Reader, path: Path, name: bytes, *, follow: bool = True) -> int:
    place = reader.find(name, follow=follow)
    if place.ino is not None:
        return place.ino
    shown, end = printable(name), printable(b"/" + place.path)
    if place.why == "too many links":
        raise UsageError(
            f"{path}: {shown} leads through more than {LINKS_FOLLOWED_MAX} symbolic links, which may be a circle",
            hint=f"`--files {end}` shows where one of them points.",
        )
    if place.why == "not a folder":
        raise UsageError(f"{path} has no {shown}: {end} is not a folder", hint="`--files /` lists all that it has.")
    if not place.links_followed:
        raise UsageError(f"{path} has no {shown}", hint="`--files /` lists all that it has.")
    raise UsageError(
        f"{path}: symbolic links lead from {shown} to {end}, which is not on the disk",
        hint="A guest may create it when it boots; `--files /` lists what is there now.",
    )


def _found(reader: Ext4Reader, path: bytes, ino: int) -> FoundFile:
    found = reader.stat(ino)
    return FoundFile(path, found, reader.read_symlink(ino) if Node(found.mode, None).is_symlink else b"")
