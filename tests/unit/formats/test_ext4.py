"""ext4 file systems hold the tree they were planned from; the reader reads them back."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
from array import array
from pathlib import Path

import pytest

from gns3_minivm.base.errors import BugError, DamagedImageError, DiskTooSmallError, HostError
from gns3_minivm.formats import ext4
from gns3_minivm.formats.content import Slice, Sparse
from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.extents import build_tree, index_blocks_count, make_extents
from gns3_minivm.formats.ext4.geometry import geometry, has_superblock
from gns3_minivm.formats.ext4.groups import crc16, group_metadata
from gns3_minivm.formats.ext4.inodes import decode_device, decode_time, encode_device, encode_time
from gns3_minivm.formats.ext4.namehash import half_md4, seed_words
from gns3_minivm.formats.qcow2 import Qcow2Reader, Qcow2Writer
from gns3_minivm.formats.tree import FileTree
from tests.support.disks import GIB, MIB, options


def disk_of(tree: FileTree, size_bytes: int = 64 * MIB) -> tuple[ext4.Ext4Reader, ext4.Plan]:
    plan = ext4.plan(tree, options(size_bytes, label="root"))
    stream = io.BytesIO()
    with Qcow2Writer(stream, size_bytes, "none") as sink:
        ext4.write(plan, sink)
    return ext4.Ext4Reader(Qcow2Reader(stream)), plan


def ino(disk: ext4.Ext4Reader, path: bytes) -> int:
    found = disk.lookup(path)
    assert found is not None, path
    return found


def test_files_directories_and_links_are_read_back() -> None:
    tree = FileTree()
    tree.add_file(b"etc/hostname", b"node\n", 0o4640, 1000, 70000, 1_700_000_000_123_456_789)
    tree.add_directory(b"tmp", 0o1777)
    tree.add_symlink(b"lib", b"usr/lib")
    tree.add_symlink(b"long", b"x" * 60)
    tree.add_file(b"usr/lib/a", b"a" * 10_000)
    tree.add_hard_link(b"b", b"usr/lib/a")
    disk, _ = disk_of(tree)
    found = disk.stat(ino(disk, b"etc/hostname"))
    assert (found.mode, found.uid, found.gid, found.size) == (stat.S_IFREG | 0o4640, 1000, 70000, 5)
    assert found.mtime_ns == 1_700_000_000_123_456_789
    assert disk.read_file(found.ino) == b"node\n"
    assert disk.stat(ino(disk, b"tmp")).mode == stat.S_IFDIR | 0o1777
    assert disk.read_symlink(ino(disk, b"lib")) == b"usr/lib"
    assert disk.read_symlink(ino(disk, b"long")) == b"x" * 60
    assert ino(disk, b"lib/a") == ino(disk, b"b")
    assert disk.stat(ino(disk, b"b")).links == 2
    assert disk.read_file(ino(disk, b"b"), 9990) == b"a" * 10
    assert disk.lookup(b"etc/nothing") is None
    assert disk.lookup(b"b/below/a/file") is None
    assert disk.lookup(b"usr/../lib", follow=True) == ino(disk, b"usr/lib")
    assert [path for path, _ in disk.walk()] == sorted(
        [b"b", b"etc", b"etc/hostname", b"lib", b"long", b"lost+found", b"tmp", b"usr", b"usr/lib", b"usr/lib/a"],
        key=lambda path: path.split(b"/"),
    )


def test_the_superblock_says_what_was_asked_for() -> None:
    disk, plan = disk_of(FileTree())
    assert (disk.label, disk.uuid) == ("root", plan.options.uuid)
    assert disk.free_bytes == plan.free_blocks * 4096
    assert disk.used_inodes == 11
    assert disk.superblock["s_errors"] == s.ERRORS_REMOUNT_RO


@pytest.mark.parametrize("major_minor", [(0, 0), (1, 3), (255, 255), (8, 300), (4095, 1048575)])
def test_device_numbers_keep_all_their_bits(major_minor: tuple[int, int]) -> None:
    assert decode_device(encode_device(*major_minor)) == major_minor
    tree = FileTree()
    tree.add_node(b"d", stat.S_IFBLK | 0o660, *major_minor)
    disk, _ = disk_of(tree)
    assert disk.stat(ino(disk, b"d")).device == major_minor


@pytest.mark.parametrize("seconds", [-(1 << 31), -1, 0, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 34) - (1 << 31) - 1])
def test_times_have_34_bits_and_nanoseconds(seconds: int) -> None:
    assert decode_time(*encode_time(seconds * 10**9 + 987_654_321)) == seconds * 10**9 + 987_654_321


@pytest.mark.parametrize(("seconds", "nearest"), [(-(1 << 31) - 1, -(1 << 31)), (1 << 62, (1 << 34) - (1 << 31) - 1)])
def test_times_that_ext4_cannot_hold_become_the_nearest(seconds: int, nearest: int) -> None:
    assert decode_time(*encode_time(seconds * 10**9 + 5)) == nearest * 10**9


def test_extended_attributes_go_into_the_inode_then_into_a_block() -> None:
    tree = FileTree()
    small = {b"security.capability": bytes(range(20)), b"user.empty": b""}
    large = {b"user.%02d" % number: b"v" * number for number in range(50)}
    tree.add_file(b"small", b"", xattrs=small)
    tree.add_file(b"large", b"data", xattrs=large)
    disk, plan = disk_of(tree)
    assert disk.xattrs(ino(disk, b"small")) == small
    assert disk.xattrs(ino(disk, b"large")) == large
    assert disk.stat(ino(disk, b"small")).blocks == 0
    assert disk.stat(ino(disk, b"large")).blocks == 2
    assert plan.warnings == []


def test_posix_acls_are_converted_to_the_form_of_the_disk() -> None:
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    tree = FileTree()
    tree.add_directory(b"d", xattrs={b"system.posix_acl_access": acl, b"system.posix_acl_default": acl})
    disk, plan = disk_of(tree)
    on_disk = bytes.fromhex("01000000 01000600 02000400e8030000 04000400 10000600 20000400")
    packed = plan.xattrs[ino(disk, b"d")]
    assert on_disk in packed.in_inode + packed.block
    assert disk.xattrs(ino(disk, b"d")) == {b"system.posix_acl_access": acl, b"system.posix_acl_default": acl}


def test_what_does_not_fit_is_a_warning_and_spares_the_capability() -> None:
    xattrs = {b"a.name": b"", b"user.huge": b"x" * 5000, b"user.most": b"y" * 3900, b"user.more": b"z" * 300}
    xattrs |= {b"security.capability": b"c" * 20, b"system.posix_acl_access": b"?"}
    tree = FileTree()
    tree.add_file(b"bin/ping", b"", xattrs=xattrs)
    disk, plan = disk_of(tree)
    assert set(disk.xattrs(ino(disk, b"bin/ping"))) == {b"security.capability", b"user.more"}
    assert len(plan.warnings) == 4
    assert all(warning.startswith("'bin/ping': the extended attribute '") for warning in plan.warnings)


def test_zero_runs_become_holes(tmp_path: Path) -> None:
    data = b"x" * 5000 + bytes(200_000) + b"y" * 100 + bytes(300_000)
    (tmp_path / "data").write_bytes(data)
    tree = FileTree()
    tree.add_file(b"bytes", data)
    tree.add_file(b"slice", Slice(str(tmp_path / "data"), 0, len(data)))
    tree.add_file(b"zeros", bytes(1 << 20))
    disk, _ = disk_of(tree)
    for name in (b"bytes", b"slice"):
        assert disk.read_file(ino(disk, name)) == data
        assert disk.stat(ino(disk, name)).blocks == 32
    assert disk.stat(ino(disk, b"zeros")).blocks == 0
    assert disk.read_file(ino(disk, b"zeros")) == bytes(1 << 20)


def test_sparse_files_of_terabytes_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123456789" * 1000)
    segments = tuple((n * (1 << 30) + n, Slice(str(tmp_path / "data"), n, 5000)) for n in range(3000))
    tree = FileTree()
    tree.add_file(b"f", Sparse(4 << 40, segments))
    disk, plan = disk_of(tree)
    number = ino(disk, b"f")
    assert disk.stat(number).size == 4 << 40
    assert len(plan.index_blocks[number]) == 9 + 1
    for start, piece in segments[1::500]:
        expected = (b"0123456789" * 1000)[piece.offset :][:5000]
        assert disk.read_file(number, start - 10, 5020) == bytes(10) + expected + bytes(10)


def test_large_directories_are_indexed_and_complete() -> None:
    tree = FileTree()
    names = [b"%05d-\xc3\xa9-%s" % (number, b"n" * (number % 200)) for number in range(3000)]
    for name in names:
        tree.add_file(b"big/" + name, b"")
    disk, _ = disk_of(tree)
    found = disk.stat(ino(disk, b"big"))
    assert found.flags & s.INDEX_FL
    assert sorted(name for name, _ in disk.entries(found.ino)) == sorted(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    # Printed by debugfs: dx_hash -h half_md4 -s 10111213-1415-1617-1819-1a1b1c1d1e1f NAME
    [
        ("a", (0x9375F05E, 0x3714D04B)),
        ("libcrypto.so.3", (0x88EB989C, 0xF0479634)),
        ("naïve-café", (0x3679459E, 0x7B00D89E)),
        ("a-name-of-more-than-thirty-two-bytes-é-and-so-on", (0x822F20F4, 0x38AE8E08)),
    ],
)
def test_names_hash_as_e2fsprogs_hashes_them(name: str, expected: tuple[int, int]) -> None:
    assert half_md4(name.encode(), seed_words(bytes(range(16, 32)))) == expected


def test_without_a_seed_the_hash_starts_as_md4() -> None:
    assert half_md4(b"exactly-thirty-two-bytes-is-this", seed_words(bytes(16))) == (0xDC3CC9B2, 0xD544A4E5)


def test_an_image_with_its_own_lost_and_found_keeps_it() -> None:
    tree = FileTree()
    tree.add_file(b"lost+found/thing", b"x")
    disk, _ = disk_of(tree)
    assert disk.read_file(ino(disk, b"lost+found/thing")) == b"x"
    assert [name for name, _ in disk.entries(2)] == [b"lost+found"]


def test_more_links_than_an_inode_takes_lead_to_a_copy() -> None:
    tree = FileTree()
    first = tree.add_file(b"first", b"content")
    directory = tree.add_directory(b"links")
    directory.children.update((b"%05d" % number, first) for number in range(70_000))
    disk, plan = disk_of(tree, 256 * MIB)
    numbers = dict(disk.entries(ino(disk, b"links")))
    assert [disk.stat(number).links for number in sorted(set(numbers.values()))] == [65000, 5001]
    assert {disk.read_file(number) for number in set(numbers.values())} == {b"content"}
    assert len(plan.warnings) == 1


def test_a_disk_that_is_too_small_is_told_before_anything_is_written() -> None:
    tree = FileTree()
    tree.add_file(b"f", b"x" * (40 * MIB))
    with pytest.raises(DiskTooSmallError, match="at least 45 MiB; the disk's size is 30 MiB") as caught:
        ext4.plan(tree, options(30 * MIB))
    assert "--size" in caught.value.hint
    ext4.plan(tree, options(45 * MIB))
    with pytest.raises(DiskTooSmallError):
        ext4.plan(tree, options(44 * MIB))


@pytest.mark.parametrize("size_bytes", [0, 4096, 100_000])
def test_a_disk_too_small_for_any_file_system_is_told(size_bytes: int) -> None:
    with pytest.raises(DiskTooSmallError):
        ext4.plan(FileTree(), options(size_bytes))


def test_the_bytes_are_the_same_on_every_machine() -> None:
    # A change here makes every published checksum wrong: it needs another number of the disk format.
    tree = FileTree()
    for number in range(300):
        tree.add_file(
            b"d/%d" % number, b"%d " % number * number, mtime_ns=number * 10**9, xattrs={b"user.n": b"%d" % number}
        )
    tree.add_symlink(b"link", b"x" * 100)
    stream = io.BytesIO()
    with Qcow2Writer(stream, GIB) as sink:
        ext4.write(ext4.plan(tree, options(GIB)), sink)
    assert hashlib.md5(stream.getvalue()).hexdigest() == "93b8d7acdbbf552b2f4924701c287516"


def test_progress_sums_up_to_the_content() -> None:
    tree = FileTree()
    for number in range(50):
        tree.add_file(b"%d" % number, b"x" * (number * 5000))
    plan = ext4.plan(tree, options(64 * MIB))
    steps: list[int] = []
    with Qcow2Writer(io.BytesIO(), 64 * MIB) as sink:
        ext4.write(plan, sink, steps.append)
    assert sum(steps) == plan.content_bytes == sum(number * 5000 for number in range(50))


def test_a_layer_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 1000)
    tree = FileTree()
    tree.add_file(b"f", Slice(str(tmp_path / "data"), 500, 1000))
    with pytest.raises(DamagedImageError, match="500 bytes too early"):
        disk_of(tree)
    tree.add_file(b"f", Slice(str(tmp_path / "gone"), 500, 1000))
    with pytest.raises(HostError, match="gone"):
        disk_of(tree)


def test_wrong_options_are_a_bug() -> None:
    with pytest.raises(BugError):
        ext4.Ext4Options(GIB, b"short", bytes(16))
    with pytest.raises(BugError):
        ext4.Ext4Options(GIB, bytes(16), bytes(16), journal_blocks=100)


def test_extents_are_cut_at_32768_blocks_and_joined_where_they_adjoin() -> None:
    assert make_extents([(0, (100, 100 + 70_000))]) == [
        (0, 100, 32768),
        (32768, 32868, 32768),
        (65536, 65636, 4464),
    ]
    assert make_extents([(0, (5, 10)), (5, (10, 12)), (9, (12, 13))]) == [(0, 5, 7), (9, 12, 1)]


@pytest.mark.parametrize(("extents", "blocks"), [(4, 0), (5, 1), (340, 1), (341, 2), (1360, 4), (1361, 5 + 1)])
def test_extent_trees_get_as_deep_as_they_must(extents: int, blocks: int) -> None:
    assert index_blocks_count(extents) == blocks
    made = build_tree([(2 * n, 1000 + 2 * n, 1) for n in range(extents)], list(range(blocks)))
    assert len(made[1]) == blocks
    assert len(made[0]) == 60


def test_backups_are_where_sparse_super_puts_them() -> None:
    assert [group for group in range(130) if has_superblock(group)] == [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]


def test_superblocks_of_groups_whose_number_has_more_than_16_bits_are_written() -> None:
    plan = ext4.plan(FileTree(), options(10 << 40))
    written = dict(group_metadata(plan, array("I", bytes(4 * plan.geometry.groups_count))))
    for group in (0, 59049, 78125):
        block = written[group * s.BLOCKS_PER_GROUP][s.SUPERBLOCK_OFFSET if group == 0 else 0 :]
        fields = s.SUPERBLOCK.unpack(block)
        # As mke2fs writes it.
        assert (fields["s_magic"], fields["s_block_group_nr"]) == (s.SUPER_MAGIC, group & 0xFFFF)


@pytest.mark.parametrize("size_mib", [8, 100, 129, 131, 1024, 3000, 8192, 100_000])
@pytest.mark.parametrize("inodes", [100, 500_000])
def test_fixed_structures_never_overlap(size_mib: int, inodes: int) -> None:
    layout = geometry(size_mib * MIB, inodes)
    if layout is None:
        assert inodes * 256 > size_mib * MIB / 2
        return
    position = 0
    for start, end in layout.used:
        assert position <= start < end
        position = end
    assert position <= layout.blocks_count <= size_mib * MIB // 4096
    assert len(layout.inode_tables) == layout.groups_count


def test_crc16_is_that_of_the_kernel() -> None:
    # The check value of CRC-16/ARC, which starts from 0.
    assert crc16(b"123456789", 0) == 0xBB3D


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (1024 + 56, b"\0\0", "no ext4"),
        (1024 + 96, b"\x42\x02\1\0", "not supported: encrypt"),
        (1024 + 40, bytes(4), "damaged"),
    ],
)
def test_a_damaged_file_system_is_an_error(place: int, value: bytes, message: str) -> None:
    stream = io.BytesIO()
    with Qcow2Writer(stream, 64 * MIB, "none") as sink:
        ext4.write(ext4.plan(FileTree(), options(64 * MIB)), sink)
    source = Qcow2Reader(stream)

    class Damaged:
        def read(self, offset: int, size: int) -> bytes:
            data = bytearray(source.read(offset, size))
            if offset <= place < offset + size:
                data[place - offset : place - offset + len(value)] = value
            return bytes(data)

    with pytest.raises(DamagedImageError, match=message):
        ext4.Ext4Reader(Damaged())
