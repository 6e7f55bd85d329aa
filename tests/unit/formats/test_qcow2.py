"""What is written to a qcow2 image is read back, and its bytes depend on nothing but the input."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path

import pytest

from gns3_minivm.base.errors import BugError, DamagedImageError, DiskFullError, HostError
from gns3_minivm.formats.qcow2 import Compression, Qcow2Reader, Qcow2Writer, structs

CLUSTER = structs.CLUSTER_SIZE
MIB = 1 << 20
COMPRESSIONS: list[Compression] = ["zstd", "zlib", "none"]


def pattern(size: int, seed: int = 1) -> bytes:
    """Bytes that compress to about half."""
    source = random.Random(seed)
    return b"".join(bytes([source.randrange(256)]) * 8 if n % 3 else source.randbytes(8) for n in range(size // 8))


# A mixture of all that a cluster can be: compressible, not compressible, zeros, and parts of a cluster.
WRITES = [
    (5 * MIB, pattern(3 * CLUSTER)),
    (0, random.Random(2).randbytes(4 * CLUSTER)),
    (8 * MIB, bytes(5 * CLUSTER)),
    (9 * MIB + 1000, pattern(100_000, 3)),
    (9 * MIB, b"x" * 1000),
    (20 * MIB - 8, b"the end!"),
    (12 * MIB, pattern(40 * CLUSTER, 4) + random.Random(5).randbytes(3 * CLUSTER) + pattern(20 * CLUSTER, 6)),
]
SIZE = 20 * MIB


def written(compression: Compression, threads: int = 2, writes: list[tuple[int, bytes]] = WRITES) -> bytes:
    stream = io.BytesIO()
    with Qcow2Writer(stream, SIZE, compression, threads) as disk:
        for offset, data in writes:
            disk.write(offset, data)
    return stream.getvalue()


def expected() -> bytes:
    disk = bytearray(SIZE)
    for offset, data in WRITES:
        disk[offset : offset + len(data)] = data
    return bytes(disk)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_everything_is_read_back(compression: Compression) -> None:
    reader = Qcow2Reader(io.BytesIO(written(compression)))
    assert reader.read(0, SIZE) == expected()
    assert reader.read(12 * MIB + CLUSTER - 7, 14) == expected()[12 * MIB + CLUSTER - 7 :][:14]
    assert reader.info.virtual_size == SIZE
    assert reader.info.compression == ("zstd" if compression == "zstd" else "zlib")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_bytes_do_not_depend_on_the_count_of_threads(compression: Compression) -> None:
    assert len({written(compression, threads) for threads in (1, 2, 3, 8)}) == 1


def test_the_bytes_are_the_same_on_every_machine() -> None:
    # A change here makes every published checksum wrong: it needs another number of the disk format.
    digests = {compression: hashlib.md5(written(compression)).hexdigest() for compression in COMPRESSIONS}
    assert digests == {
        "zstd": "54d720c9f4d46c09f53e9ad27fbcec51",
        "zlib": "6ed16ebafdebb6435acebf7dbfa56ee4",
        "none": "7a0e14112a6d587d7c75d214a4d945b7",
    }


def test_clusters_of_zeros_take_no_space() -> None:
    empty = written("zstd", writes=[])
    assert written("zstd", writes=[(0, bytes(10 * MIB)), (11 * MIB, bytes(5))]) == empty
    assert len(empty) == 4 * CLUSTER


def test_data_that_does_not_shrink_is_stored_as_it_is() -> None:
    data = random.Random(7).randbytes(CLUSTER)
    assert data in written("zstd", writes=[(CLUSTER, data)])


def test_plain_clusters_between_compressed_ones_waste_little() -> None:
    noise = random.Random(8)
    writes = []
    for number in range(0, 100, 2):
        writes.append((number * CLUSTER, pattern(CLUSTER, number)))
        writes.append((number * CLUSTER + CLUSTER, noise.randbytes(CLUSTER)))
    together = len(written("zstd", writes=writes))
    apart = len(written("zstd", writes=writes[::2])) + len(written("zstd", writes=writes[1::2]))
    assert together < apart * 1.15


def test_a_large_disk_costs_nothing_until_it_is_written() -> None:
    stream = io.BytesIO()
    with Qcow2Writer(stream, 16 << 40) as disk:
        disk.write((16 << 40) - 5, b"there")
    assert len(stream.getvalue()) < 2 * MIB
    assert Qcow2Reader(stream).read((16 << 40) - 10, 10) == bytes(5) + b"there"


@pytest.mark.parametrize(("offset", "data"), [(SIZE - 1, b"xx"), (-1, b"x")])
def test_writing_outside_the_disk_is_a_bug(offset: int, data: bytes) -> None:
    with pytest.raises(BugError, match="outside the disk"):
        written("none", writes=[(offset, data)])


def test_writing_a_cluster_twice_is_a_bug() -> None:
    data = pattern(CLUSTER)
    with pytest.raises(BugError, match="written twice"):
        written("zstd", writes=[(0, data), (0, data)])


def test_a_full_device_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="/dev/full"), Qcow2Writer("/dev/full", SIZE) as disk:
        disk.write(0, pattern(CLUSTER))
    with pytest.raises(DiskFullError, match="no/such"):
        Qcow2Writer(tmp_path / "no" / "such", SIZE)


def test_an_error_inside_is_passed_on_and_ends_the_threads(tmp_path: Path) -> None:
    def fail() -> None:
        with Qcow2Writer(tmp_path / "disk", SIZE) as disk:
            disk.write(0, pattern(40 * CLUSTER))
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    with pytest.raises(DamagedImageError):
        Qcow2Reader(tmp_path / "disk")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, b"QCOW", "not a qcow2 file"),
        (4, b"\0\0\0\4", "version 4"),
        (8, b"\0\0\0\0\0\0\0\1", "backing file"),
        (72, b"\0\0\0\0\0\0\0\x19", "not supported"),
        (104, b"\7", "compression type 7"),
        (36, b"\0\0\0\0", "L1 table"),
        (36, b"\0\x10\0\0", "ends at"),
    ],
)
def test_a_damaged_header_is_an_error(place: int, value: bytes, message: str) -> None:
    data = written("zstd")
    with pytest.raises(DamagedImageError, match=message):
        Qcow2Reader(io.BytesIO(data[:place] + value + data[place + len(value) :]))


@pytest.mark.parametrize("compression", ["zstd", "zlib"])
def test_a_damaged_cluster_is_an_error(compression: Compression) -> None:
    data = bytearray(written(compression, writes=[(0, pattern(CLUSTER))]))
    data[CLUSTER : CLUSTER + 2000] = b"\xff" * 2000
    with pytest.raises(DamagedImageError, match="cluster"):
        Qcow2Reader(io.BytesIO(data)).read(0, 10)


def test_a_truncated_file_is_an_error() -> None:
    data = written("none", writes=[(0, pattern(CLUSTER))])
    with pytest.raises(DamagedImageError):
        Qcow2Reader(io.BytesIO(data[: 2 * CLUSTER])).read(0, 10)
    with pytest.raises(HostError, match="cannot read"):
        Qcow2Reader("/no/such/file")
