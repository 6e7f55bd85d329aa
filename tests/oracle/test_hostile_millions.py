"""Layers of a million entries: linear time, the promised memory, and a clean disk."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gns3_minivm.formats import ext4, qcow2
from tests.support.disks import judge

MILLION = 1_000_000
# 150 MB, and 1 KiB for each name: what docs/internals/disk.md promises for files.
MEMORY_KIB = 150_000 + MILLION
TIME_LIMIT_S = 900

CONVERT = """
import sys
from pathlib import Path
from gns3_minivm.base.cache import Cache
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.base.events import Events
from gns3_minivm.images.files.rootfs import find_rootfs
disk = convert(find_rootfs(sys.argv[1]), DiskOptions(16 << 30, "none"), Cache(Path(sys.argv[2])), Events())
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")), disk.path)
"""


def header(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime = kind, target, 1
    return info.tobuf(tarfile.USTAR_FORMAT)


def numbered(template: bytes, place: int, count: int) -> Iterator[bytes]:
    """The header ``count`` times, with a number of seven digits at ``place`` instead of zeros."""
    block = bytearray(template)
    total = sum(block[:148]) + sum(block[156:]) + 8 * 32
    for number in range(count):
        digits = b"%07d" % number
        block[place : place + 7] = digits
        block[148:156] = b"%06o\0 " % (total + sum(digits) - 7 * 48)
        yield bytes(block)


def files_in_one_folder() -> Iterator[bytes]:
    yield from numbered(header("folder/a name 0000000"), 14, MILLION)


def one_name() -> Iterator[bytes]:
    block = header("folder/name")
    for _ in range(MILLION):
        yield block


def links() -> Iterator[bytes]:
    yield header("file")
    yield from numbered(header("folder/0000000", tarfile.LNKTYPE, "file"), 7, MILLION)


def symlinks_through_symlinks() -> Iterator[bytes]:
    """Every name leads through forty links, as many as the kernel would follow."""
    for number in range(39):
        yield header(f"l{number}", tarfile.SYMTYPE, f"l{number + 1}")
    yield header("l39", tarfile.DIRTYPE)
    yield from numbered(header("l0/0000000"), 3, MILLION)


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (files_in_one_folder, [f"folder/a name {number:07}" for number in (0, 777_777, MILLION - 1)]),
        (one_name, ["folder/name"]),
        (links, [f"folder/{number:07}" for number in (0, 777_777, MILLION - 1)]),
        (symlinks_through_symlinks, [f"l39/{number:07}" for number in (0, 777_777, MILLION - 1)]),
    ],
)
def test_a_million_entries(tmp_path: Path, make: Callable[[], Iterator[bytes]], names: list[str]) -> None:
    layer = tmp_path / "layer.tar"
    with layer.open("wb") as stream:
        stream.writelines(make())
        stream.write(bytes(1024))
    command = [sys.executable, "-c", CONVERT, str(layer), str(tmp_path / "cache")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S)
    assert finished.returncode == 0, finished.stderr[-3000:]
    peak_kib, disk = finished.stdout.split()
    assert int(peak_kib) <= MEMORY_KIB
    layer.unlink()
    (tmp_path / "disk.qcow2").symlink_to(disk)
    judge(tmp_path / "disk.qcow2").unlink()
    with qcow2.Qcow2Reader(Path(disk)) as source:
        reader = ext4.Ext4Reader(source)
        assert all(reader.lookup(name.encode()) for name in names)
