"""A dirty journal is replayed in memory, as the kernel would do it at the next mount."""

from __future__ import annotations

import io
import struct
from functools import lru_cache

import pytest

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.reader_replay import open_replayed
from gns3_minivm.formats.raw import RawDisk
from gns3_minivm.formats.tree import FileTree
from tests.support.disks import MIB, options
from tests.support.journals import BITS64, BLOCK, CSUM_V2, CSUM_V3, MAGIC, Transaction, reader, with_journal

SIZE = 16 * MIB
OLD = b"old" * 4000


@lru_cache
def raw() -> bytes:
    tree = FileTree()
    tree.add_file(b"data", OLD)
    stream = io.BytesIO()
    with qcow2.Qcow2Writer(stream, SIZE, "none") as sink:
        ext4.write(ext4.plan(tree, options(SIZE)), sink)
    return qcow2.Qcow2Reader(stream).read(0, SIZE)


@lru_cache
def data_block() -> int:
    """The first block of the file."""
    disk = reader(raw())
    ino = disk.lookup(b"data")
    assert ino is not None
    return next(disk.extents(ino))[1]


def block(letter: bytes) -> bytes:
    return letter * BLOCK


def seen(disk: bytes) -> tuple[bytes, int | None]:
    """What the file holds now, and the transactions replayed."""
    found, count = open_replayed(RawDisk(io.BytesIO(disk), "disk"))
    ino = found.lookup(b"data")
    assert ino is not None
    return found.read_file(ino), count


def test_a_clean_disk_is_read_as_it_is() -> None:
    assert seen(raw()) == (OLD, None)
    assert seen(with_journal(raw(), [], start=0)) == (OLD, 0)


@pytest.mark.parametrize("features", [0, BITS64, CSUM_V2, CSUM_V3, BITS64 | CSUM_V3])
def test_the_last_finished_transaction_counts(features: int) -> None:
    first = data_block()
    done = [Transaction({first: block(b"1"), first + 2: block(b"x")}), Transaction({first: block(b"2")})]
    unfinished = Transaction({first + 1: block(b"3")}, is_committed=False)
    disk = with_journal(raw(), [*done, unfinished], features=features)
    assert seen(disk) == ((block(b"2") + OLD[BLOCK : 2 * BLOCK] + block(b"x"))[: len(OLD)], 2)


def test_the_journal_runs_round_its_end() -> None:
    ((_, _, length),) = reader(raw()).extents(s.JOURNAL_INO)
    first = data_block()
    disk = with_journal(raw(), [Transaction({first + n: block(b"%d" % n) for n in range(3)})], start=length - 2)
    assert seen(disk)[0] == (block(b"0") + block(b"1") + block(b"2"))[: len(OLD)]


@pytest.mark.parametrize("features", [0, BITS64])
def test_a_revoked_block_stays_as_it_is_unless_it_is_written_again(features: int) -> None:
    first = data_block()
    one = Transaction({first: block(b"1"), first + 1: block(b"1")})
    both = Transaction(revokes=[first, first + 1])
    disk = with_journal(raw(), [one, both, Transaction({first: block(b"2")})], features=features)
    assert seen(disk) == (block(b"2") + OLD[BLOCK:], 3)


def test_a_block_that_looks_like_the_journals_own_is_escaped() -> None:
    content = MAGIC + b"m" * (BLOCK - 4)
    assert seen(with_journal(raw(), [Transaction({data_block(): content})]))[0] == content + OLD[BLOCK:]


def test_what_an_earlier_round_has_left_in_the_journal_is_no_change() -> None:
    stale = with_journal(raw(), [Transaction({data_block(): block(b"s")}) for _ in range(3)], sequence=5)
    disk = with_journal(stale, [Transaction({data_block(): block(b"n")})], sequence=40)
    assert seen(disk) == (block(b"n") + OLD[BLOCK:], 1)


def test_the_superblock_and_folders_are_those_of_the_journal() -> None:
    top = bytearray(raw()[:BLOCK])
    top[1024 + 120 : 1024 + 125] = b"label"
    found, _ = open_replayed(RawDisk(io.BytesIO(with_journal(raw(), [Transaction({0: bytes(top)})])), "disk"))
    assert found.label == "label" and reader(raw()).label == ""


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, 1, "superblock is wrong"),
        (12, 1024, "superblock is wrong"),
        (16, 0, "superblock is wrong"),
        (20, 0, "superblock is wrong"),
        (28, 1 << 30, "superblock is wrong"),
    ],
)
def test_a_damaged_journal_is_an_error(at: int, value: int, message: str) -> None:
    disk = bytearray(with_journal(raw(), [Transaction({data_block(): block(b"1")})]))
    ((_, first, _),) = reader(raw()).extents(s.JOURNAL_INO)
    struct.pack_into(">I", disk, first * BLOCK + at, value)
    with pytest.raises(DamagedImageError, match=f"the journal \\(inode 8\\) is damaged: .*{message}"):
        seen(bytes(disk))


def test_a_change_outside_the_file_system_is_an_error() -> None:
    with pytest.raises(DamagedImageError, match=r"it changes block 4096; the file system has 4096"):
        seen(with_journal(raw(), [Transaction({SIZE // BLOCK: block(b"1")})]))
    with pytest.raises(DamagedImageError, match=r"it has no block"):
        longer = bytearray(with_journal(raw(), [Transaction({data_block(): block(b"1")})]))
        ((_, first, length),) = reader(raw()).extents(s.JOURNAL_INO)
        struct.pack_into(">I", longer, first * BLOCK + 16, length * 2)
        struct.pack_into(">I", longer, first * BLOCK + 28, length + 5)
        seen(bytes(longer))
