"""Damaged and hostile disks: one clear error, or a report; never a crash, a hang, or a lot of memory."""

from __future__ import annotations

import io
import re
import stat
import struct
import time
import tracemalloc
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gns3_minivm.base.errors import DamagedImageError, MiniVMError
from gns3_minivm.convert.inspect import file_chunks, inspect_disk, list_files
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.ext4 import structs as e
from gns3_minivm.formats.qcow2 import structs as q
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import CONFIG_PATH, GuestConfig
from tests.support.disks import MIB, options
from tests.support.journals import BLOCK, Transaction, reader, with_journal

SIZE = 16 * MIB
FUZZ = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SECONDS_MAX = 20.0
MEMORY_MAX = 96 * MIB


@lru_cache
def disk(compression: qcow2.Compression) -> bytes:
    """A qcow2 file with some of everything: deep folders, links, devices, attributes, a large indexed folder."""
    tree = FileTree()
    tree.add_file(CONFIG_PATH, GuestConfig(cmd=("sh",), env=("A=1",)).encode(["sha256:" + "a" * 64]))
    tree.add_file(b"a/b/c/file", b"content" * 3000, xattrs={b"user.a": b"x" * 60, b"user.b": b"y" * 300})
    tree.add_symlink(b"a/short", b"b")
    tree.add_symlink(b"a/long", b"b/" * 60)
    tree.add_node(b"dev/null", stat.S_IFCHR | 0o666, 1, 3)
    for number in range(400):
        tree.add_file(b"many/%04d" % number, b"")
    stream = io.BytesIO()
    with qcow2.Qcow2Writer(stream, SIZE, compression) as sink:
        ext4.write(ext4.plan(tree, options(SIZE)), sink)
    return stream.getvalue()


@lru_cache
def raw() -> bytes:
    return qcow2.Qcow2Reader(io.BytesIO(disk("zstd"))).read(0, SIZE)


@lru_cache
def dirty() -> bytes:
    """The raw disk with changes in its journal: the first blocks as they are, some twice, one revoked."""
    blocks = {number: raw()[number * BLOCK : (number + 1) * BLOCK] for number in range(60)}
    return with_journal(raw(), [Transaction(blocks), Transaction(blocks, revokes=[7]), Transaction({1: blocks[1]})])


def explore(path: Path) -> str:
    """Do everything that a user can ask for; returns the error's message, or nothing."""
    started = time.monotonic()
    tracemalloc.start()
    try:
        inspect_disk(path).as_dict()
        for file in list_files(path, b"/"):
            file.as_dict()
        for name in (b"a/b/c/file", b"many/0007"):
            for number, _ in enumerate(file_chunks(path, name)):
                if number > 100:
                    break
    except MiniVMError as error:
        assert error.message and "\n" not in error.message
        return error.message
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MEMORY_MAX
        assert time.monotonic() - started < SECONDS_MAX
    return ""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.qcow2"


def test_the_disk_itself_is_explored_without_an_error(path: Path) -> None:
    for data in (disk("zstd"), disk("zlib"), disk("none"), raw(), dirty()):
        path.write_bytes(data)
        assert explore(path) == ""


@FUZZ
@given(compression=st.sampled_from(["zstd", "zlib", "none"]), cut=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_an_error(path: Path, compression: qcow2.Compression, cut: float) -> None:
    data = disk(compression)
    path.write_bytes(data[: int(cut * len(data))])
    assert explore(path)


@FUZZ
@given(
    compression=st.sampled_from(["zstd", "zlib", "none"]),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_damaged_bytes_anywhere_are_an_error_or_a_report(
    path: Path, compression: qcow2.Compression, damage: list[tuple[float, bytes]]
) -> None:
    data = bytearray(disk(compression))
    for place, value in damage:
        at = int(place * (len(data) - len(value)))
        data[at : at + len(value)] = value
    path.write_bytes(data)
    explore(path)


@FUZZ
@given(
    damage=st.lists(
        st.tuples(
            st.integers(0, 130),
            st.integers(0, 90),
            st.sampled_from([b"\xff", b"\0", b"\x05", b"\xff" * 4, b"\x80\0\0\1"]),
        ),
        max_size=5,
    )
)
def test_a_damaged_journal_is_an_error_or_a_report(path: Path, damage: list[tuple[int, int, bytes]]) -> None:
    data = bytearray(dirty())
    ((_, first, _),) = reader(raw()).extents(e.JOURNAL_INO)
    for block, within, value in damage:
        at = (first + block) * BLOCK + within
        data[at : at + len(value)] = value
    path.write_bytes(data)
    explore(path)


WORDS = st.one_of(
    st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 62, 1 << 63, (1 << 64) - 1, 0x00FFFFFFFFFFFE00]),
    st.integers(0, (1 << 64) - 1),
)


@FUZZ
@given(place=st.integers(0, 14), value=WORDS, size=st.sampled_from([4, 8]))
def test_any_number_in_the_qcow2_header_is_an_error_or_a_report(path: Path, place: int, value: int, size: int) -> None:
    data = bytearray(disk("zstd"))
    data[4 + 8 * place : 4 + 8 * place + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "big")
    path.write_bytes(data)
    explore(path)


@FUZZ
@given(table=st.sampled_from(["L1", "L2"]), index=st.integers(0, 12), value=WORDS)
def test_any_entry_of_a_qcow2_table_is_an_error_or_a_report(path: Path, table: str, index: int, value: int) -> None:
    data = bytearray(disk("none"))
    place = int.from_bytes(data[40:48], "big")
    if table == "L2":
        place = int.from_bytes(data[place : place + 8], "big") & q.OFFSET_MASK
    data[place + 8 * index : place + 8 * index + 8] = value.to_bytes(8, "big")
    path.write_bytes(data)
    explore(path)


def metadata_places() -> list[int]:
    """The blocks of a raw disk that hold metadata: superblock, descriptors, inodes, folders, extent trees."""
    reader = ext4.Ext4Reader(qcow2.Qcow2Reader(io.BytesIO(disk("none"))))
    inodes = reader.super.inode_table(0)
    places = [0, 1, *range(inodes, inodes + 45)]
    for _, ino in reader.walk():
        if stat.S_ISDIR(reader.stat(ino).mode):
            places += [start for _, start, _ in reader.extents(ino)]
    return places


@FUZZ
@given(data=st.data())
def test_damaged_metadata_of_the_file_system_is_an_error_or_a_report(path: Path, data: st.DataObject) -> None:
    content = bytearray(raw())
    places = metadata_places()
    for _ in range(data.draw(st.integers(1, 8))):
        block = data.draw(st.sampled_from(places))
        at = block * 4096 + (1024 if not block else 0) + 2 * data.draw(st.integers(0, 1500))
        value = data.draw(st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\xff\xff", b"\0\0\0\0"])))
        content[at : at + len(value)] = value
    path.write_bytes(content)
    explore(path)


def inode_place(name: bytes) -> int:
    reader = ext4.Ext4Reader(qcow2.Qcow2Reader(io.BytesIO(disk("none"))))
    ino = reader.lookup(name)
    assert ino is not None
    return reader.super.inode_table(0) * 4096 + (ino - 1) * 256


def set_inode(content: bytearray, name: bytes, **values: int) -> None:
    offset = {"i_size_lo": 4, "i_flags": 32, "i_size_high": 108}
    for key, value in values.items():
        struct.pack_into("<I", content, inode_place(name) + offset[key], value)


def set_tree(content: bytearray, name: bytes, tree: bytes) -> None:
    place = inode_place(name)
    content[place + 40 : place + 40 + len(tree)] = tree


def circle(content: bytearray) -> None:
    """An extent tree whose inner block leads to itself."""
    block = 3000
    content[block * 4096 : block * 4096 + 24] = e.EXTENT_HEADER.pack(e.EXTENT_MAGIC, 1, 340, 1, 0) + e.EXTENT_IDX.pack(
        0, block, 0, 0
    )
    set_tree(
        content, b"a/b/c/file", e.EXTENT_HEADER.pack(e.EXTENT_MAGIC, 1, 4, 2, 0) + e.EXTENT_IDX.pack(0, block, 0, 0)
    )


def wide_tree(content: bytearray) -> None:
    """A tree of four levels whose 340 entries in each block lead to the same block below: 340^4 leaves."""
    content[3100 * 4096 : 3101 * 4096] = e.DIR_ENTRY.pack(0, 4096, 0, 0).ljust(4096, b"\0")
    for depth in range(4):
        block = 3000 + depth
        entry = e.EXTENT_IDX.pack(0, block - 1, 0, 0) if depth else e.EXTENT.pack(0, 1, 0, 3100)
        content[block * 4096 : block * 4096 + 4092] = (
            e.EXTENT_HEADER.pack(e.EXTENT_MAGIC, 340, 340, depth, 0) + entry * 340
        )
    set_tree(content, b"many", e.EXTENT_HEADER.pack(e.EXTENT_MAGIC, 1, 4, 4, 0) + e.EXTENT_IDX.pack(0, 3003, 0, 0))


def endless_folder(content: bytearray) -> None:
    """A folder of 4 GiB, all of whose blocks are one empty block."""
    content[3000 * 4096 : 3001 * 4096] = e.DIR_ENTRY.pack(0, 4096, 0, 0).ljust(4096, b"\0")
    tree = e.EXTENT_HEADER.pack(e.EXTENT_MAGIC, 4, 4, 0, 0)
    for number in range(4):
        tree += e.EXTENT.pack(number, 1, 0, 3000)
    set_tree(content, b"many", tree)
    set_inode(content, b"many", i_size_lo=0xFFFFF000)


def huge_file(content: bytearray) -> None:
    set_inode(content, b"a/b/c/file", i_size_high=0xFFFFFFFF)


def huge_sparse_configuration(content: bytearray) -> None:
    set_inode(content, CONFIG_PATH, i_size_high=3)


def huge_symlink(content: bytearray) -> None:
    set_inode(content, b"a/long", i_size_high=1)


def folder_in_itself(content: bytearray) -> None:
    at = content.index(b"\1\2c\0", inode_place(b"a"))  # name length 1, type folder, "c": the entry a/b/c
    struct.pack_into("<I", content, at - 6, 2)


def file_name_with_a_slash(content: bytearray) -> None:
    at = content.index(b"\5\7short")
    content[at + 2 : at + 7] = b"../sh"


def many_groups(content: bytearray) -> None:
    struct.pack_into("<I", content, 1024 + 32, 1)


def inode_table_elsewhere(content: bytearray) -> None:
    struct.pack_into("<I", content, 4096 + 8, 0xFFFFFFF0)


def configuration_of_another_kind(content: bytearray) -> None:
    at = content.index(b"minivm-config 1\n")
    content[at : at + 16] = b"minivm-config 9\n"


HOSTILE: list[tuple[Callable[[bytearray], None], str]] = [
    (circle, "extent tree of inode"),
    (wide_tree, "extent tree of inode"),
    (endless_folder, "blocks of directories"),
    (huge_file, "its size is"),
    (huge_sparse_configuration, "has 12884902.* bytes; at most"),
    (huge_symlink, "symbolic link with inode"),
    (folder_in_itself, "twice"),
    (file_name_with_a_slash, "directory with inode .* is damaged at byte"),
    (many_groups, "superblock is damaged: it has .* inodes, but 4096 groups"),
    (inode_table_elsewhere, "points to block 42949672"),
    (configuration_of_another_kind, "minivm-config 9"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_hostile_file_system_is_told_by_what_is_wrong_with_it(
    path: Path, change: Callable[[bytearray], None], message: str
) -> None:
    content = bytearray(raw())
    change(content)
    path.write_bytes(content)
    found = explore(path)
    assert re.search(message, found), found
    assert not found or str(path) in found


def test_a_cluster_that_says_it_unpacks_to_a_lot_is_an_error(path: Path) -> None:
    data = bytearray(disk("zstd"))
    # The first cluster's zstd frame: magic, then a descriptor that announces eight bytes of content size.
    data[65536 : 65536 + 13] = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little")
    path.write_bytes(data)
    assert "1099511627776 bytes instead of 65536" in explore(path)


def test_a_huge_sparse_disk_is_looked_at_in_no_time(path: Path) -> None:
    with path.open("wb") as file:
        file.write(raw())
        file.truncate(1 << 42)
    assert explore(path) == ""


def test_an_l1_table_whose_entries_are_all_one_l2_table_is_no_hang(path: Path) -> None:
    data = bytearray(disk("none"))
    l1 = int.from_bytes(data[40:48], "big")
    entry = data[l1 : l1 + 8]
    entries = 1 << 20
    data[24:32] = (entries << 29).to_bytes(8, "big")
    data[36:40] = entries.to_bytes(4, "big")
    data[40:48] = len(data).to_bytes(8, "big")
    path.write_bytes(bytes(data) + entry * entries)
    assert explore(path) == ""


def test_the_error_of_a_damaged_disk_is_of_one_class(path: Path) -> None:
    path.write_bytes(disk("zstd")[:70000])
    with pytest.raises(DamagedImageError, match=str(path)):
        inspect_disk(path)
