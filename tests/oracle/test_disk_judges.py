"""e2fsck and qemu-img find nothing wrong with any disk, and debugfs reads what was meant."""

from __future__ import annotations

import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gns3_minivm.base.errors import DiskTooSmallError
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.content import ContentReader, Slice, Sparse
from gns3_minivm.formats.cpio import write_cpio
from gns3_minivm.formats.tar import read_layers, write_tar
from gns3_minivm.formats.tree import FileTree
from tests.support.disks import GIB, MIB, judge, make_disk, options, read_back, run
from tests.support.layers import layer_of
from tests.support.tools import require_tool

LINKS = 70_000


def empty(_folder: Path) -> FileTree:
    return FileTree()


def directory_of_20000(_folder: Path) -> FileTree:
    tree = FileTree()
    for number in range(20_000):
        tree.add_file(b"d/file-%d-\xc3\xa9\xff" % number, b"")
    return tree


def directory_with_two_levels_of_index(_folder: Path) -> FileTree:
    tree = FileTree()
    directory = tree.add_directory(b"d")
    node = tree.add_file(b"x", b"")
    # 15 names a block, 508 blocks below the root of the index.
    directory.children.update((b"%0255d" % number, node) for number in range(10_000))
    return tree


def hard_links(_folder: Path) -> FileTree:
    tree = FileTree()
    node = tree.add_file(b"first", b"content", xattrs={b"user.x": b"1"})
    tree.add_directory(b"d").children.update((b"%d" % number, node) for number in range(LINKS))
    return tree


def subdirectories(_folder: Path) -> FileTree:
    tree = FileTree()
    for number in range(LINKS):
        tree.add_directory(b"d/%d" % number)
    return tree


def deep_extents(folder: Path) -> FileTree:
    (folder / "data").write_bytes(bytes(range(1, 256)) * 20)
    path = str(folder / "data")
    tree = FileTree()
    tree.add_file(b"sparse", Sparse(50 * GIB, tuple((n * 128 * MIB + 5000, Slice(path, n, 4000)) for n in range(400))))
    tree.add_file(b"deep", Sparse(60 * GIB, tuple((n * 3 * MIB, Slice(path, n % 99, 100)) for n in range(20_000))))
    return tree


def one_file_over_many_groups(folder: Path) -> FileTree:
    with (folder / "data").open("wb") as stream:
        stream.truncate(700 * MIB)
        for offset in range(0, 700 * MIB, 64 * 1024):
            stream.seek(offset)
            stream.write(b"x")
    tree = FileTree()
    tree.add_file(b"f", Slice(str(folder / "data"), 0, 700 * MIB))
    return tree


def empty_files_that_fill_groups(_folder: Path) -> FileTree:
    tree = FileTree()
    for number in range(30_000):
        tree.add_file(b"%d/%d" % (number // 100, number), b"")
    return tree


CASES: list[tuple[Callable[[Path], FileTree], int]] = [
    (empty, 9 * MIB),
    (empty, 16 * MIB),
    (empty, 128 * MIB + 3 * MIB + 512),
    (empty, 100 * GIB),
    (empty, 2 << 40),
    (directory_of_20000, GIB),
    (directory_with_two_levels_of_index, GIB),
    (hard_links, GIB),
    (subdirectories, 8 * GIB),
    (one_file_over_many_groups, 2 * GIB),
    (empty_files_that_fill_groups, 8 * GIB),
]


@pytest.mark.parametrize(("make", "size_bytes"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_extreme_disks_are_clean(tmp_path: Path, make: Callable[[Path], FileTree], size_bytes: int) -> None:
    make_disk(make(tmp_path), tmp_path / "disk.qcow2", size_bytes)
    judge(tmp_path / "disk.qcow2")


@pytest.mark.parametrize("journal_blocks", [0, 1024, 40_000])
def test_journals_of_any_size_are_clean(tmp_path: Path, journal_blocks: int) -> None:
    make_disk(FileTree(), tmp_path / "disk.qcow2", GIB, journal_blocks=journal_blocks)
    raw = judge(tmp_path / "disk.qcow2")
    header = run("dumpe2fs", "-h", raw)
    assert ("has_journal" in header) == bool(journal_blocks)
    assert not journal_blocks or f"Total journal blocks:     {journal_blocks}\n" in header


def test_the_features_are_the_reference_set(tmp_path: Path) -> None:
    make_disk(FileTree(), tmp_path / "disk.qcow2", 8 * GIB)
    raw = judge(tmp_path / "disk.qcow2")
    header = dict(line.split(":", 1) for line in run("dumpe2fs", "-h", raw).splitlines() if ":" in line)
    assert set(header["Filesystem features"].split()) == {
        *("has_journal", "ext_attr", "dir_index", "filetype", "extent", "flex_bg", "sparse_super", "large_file"),
        *("huge_file", "uninit_bg", "dir_nlink", "extra_isize"),
    }
    assert header["Errors behavior"].strip() == "Remount read-only"
    assert header["Journal backup"].strip() == "inode blocks"
    assert header["Total journal size"].strip() == "64M"
    assert header["Filesystem state"].strip() == "clean"
    assert (tmp_path / "disk.qcow2").stat().st_size < MIB


@pytest.mark.parametrize("compression", ["zstd", "zlib", "none"])
def test_every_compression_gives_the_same_clean_disk(tmp_path: Path, compression: qcow2.Compression) -> None:
    tree = FileTree()
    for number in range(40):
        tree.add_file(b"%d" % number, b"%d " % number * 50_000)
    make_disk(tree, tmp_path / "disk.qcow2", GIB, compression=compression)
    found = read_back(judge(tmp_path / "disk.qcow2"), tmp_path / "scratch")
    assert all(found[str(number)].content == b"%d " % number * 50_000 for number in range(40))
    assert compression == "none" or (tmp_path / "disk.qcow2").stat().st_size < MIB


def test_qemu_reads_the_whole_disk_as_our_reader_does(tmp_path: Path) -> None:
    tree = FileTree()
    tree.add_file(b"noise", bytes(value * value % 251 for value in range(500_000)))
    make_disk(tree, tmp_path / "disk.qcow2", 64 * MIB)
    raw = judge(tmp_path / "disk.qcow2")
    with qcow2.Qcow2Reader(tmp_path / "disk.qcow2") as reader:
        assert reader.read(0, 64 * MIB) == raw.read_bytes()


def test_sparse_files_keep_their_bytes_across_deep_extent_trees(tmp_path: Path) -> None:
    make_disk(deep_extents(tmp_path), tmp_path / "disk.qcow2", 8 * GIB)
    raw = judge(tmp_path / "disk.qcow2")
    assert "(ETB1)" in run("debugfs", "-R", "stat deep", raw)
    with qcow2.Qcow2Reader(tmp_path / "disk.qcow2") as source:
        disk = ext4.Ext4Reader(source)
        ino = disk.lookup(b"sparse")
        assert ino
        data = (bytes(range(1, 256)) * 20)[399:][:4000]
        assert disk.read_file(ino, 399 * 128 * MIB + 4990, 4020) == bytes(10) + data + bytes(10)
        block = (399 * 128 * MIB + 5000) // 4096
        physical = int(run("debugfs", "-R", f"bmap sparse {block}", raw))
    with raw.open("rb") as stream:
        stream.seek(physical * 4096)
        assert stream.read(4096)[(5000 + 399 * 128 * MIB) % 4096 :] == data[: 4096 - (5000 + 399 * 128 * MIB) % 4096]


def special_tree() -> FileTree:
    # debugfs shows 0 where the disk holds no user or group; the kernel shows 4294967295.
    entries = [(1, 6, 0), (2, 4, 1000), (4, 4, 0), (16, 6, 0), (32, 4, 0)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    tree = FileTree()
    tree.add_file(b"capable", b"x", 0o4755, xattrs={b"security.capability": bytes.fromhex("01000002" + "00200000" * 4)})
    tree.add_file(b"many", b"x", xattrs={b"user.%d" % number: b"v" * number for number in range(60)})
    tree.add_directory(b"acl", 0o2770, xattrs={b"system.posix_acl_access": acl, b"system.posix_acl_default": acl})
    tree.add_node(b"dev/old", stat.S_IFCHR | 0o600, 1, 3)
    tree.add_node(b"dev/new", stat.S_IFBLK | 0o600, 300, 70000)
    tree.add_node(b"fifo", stat.S_IFIFO | 0o600)
    tree.add_node(b"socket", stat.S_IFSOCK | 0o600)
    tree.add_file(b"early", b"", mtime_ns=-5_000_000_000 + 7, uid=4294967294, gid=70000)
    tree.add_file(b"late", b"", mtime_ns=(1 << 33) * 10**9 + 999_999_999)
    tree.add_symlink(b"s59", b"x" * 59)
    tree.add_symlink(b"s60", b"x" * 60)
    tree.add_symlink(b"s4095", b"y" * 4095)
    tree.add_file(b"n" * 255, b"long name")
    tree.add_file(b"zeros", bytes(300_000))
    tree.add_file(b"zeros-in-the-middle", b"x" * 70_000 + bytes(300_000) + b"y")
    tree.add_hard_link(b"second-name", b"capable")
    return tree


def test_every_kind_of_inode_is_read_back_by_debugfs(tmp_path: Path) -> None:
    tree = special_tree()
    make_disk(tree, tmp_path / "disk.qcow2", 64 * MIB)
    found = read_back(judge(tmp_path / "disk.qcow2"), tmp_path / "scratch")
    expected = {path.decode(): node for path, node in tree.walk()}
    assert set(found) == {*expected, "", "lost+found"}
    for path, node in expected.items():
        one = found[path]
        assert (one.mode, one.uid, one.gid, one.mtime_ns) == (node.mode, node.uid, node.gid, node.mtime_ns), path
        assert one.xattrs == {name.decode(): value for name, value in (node.xattrs or {}).items()}, path
        if node.is_file:
            assert one.content == node.content, path
        elif node.is_symlink:
            assert one.target == node.target
        elif node.is_device:
            assert one.device == node.device
    assert found["capable"].ino == found["second-name"].ino
    assert found["capable"].links == 2


@pytest.mark.parametrize("tar_format", ["gnu", "posix", "ustar", "v7", "oldgnu"])
def test_archives_of_gnu_tar_are_read(tmp_path: Path, tar_format: str) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_bytes(b"some bytes" * 500)
    (source / "link").symlink_to("sub/file")
    (source / "hard").hardlink_to(source / "sub" / "file")
    with (source / "sparse").open("wb") as stream:
        for offset in range(0, 30 * MIB, MIB):
            stream.seek(offset)
            stream.write(b"here" * 2000)
        stream.truncate(31 * MIB)
    if tar_format not in ("v7", "ustar"):
        (source / ("long" * 50)).write_bytes(b"long name")
    # The two oldest formats know no sparse files.
    sparse_option = [] if tar_format in ("v7", "ustar") else ["--sparse"]
    archive = tmp_path / "archive.tar"
    run(require_tool("tar"), *sparse_option, f"--format={tar_format}", "-C", source, "-cf", archive, ".")
    tree = read_layers([layer_of(tmp_path / "layer", archive.read_bytes())])
    with ContentReader() as reader:
        for path, node in tree.walk():
            if node.is_file:
                data = reader.read(node.content, 0, node.size)
                assert data == (source / path.decode()).read_bytes(), path
    assert tree.lookup(b"hard") is tree.lookup(b"sub/file")
    sparse = tree.lookup(b"sparse")
    assert sparse is not None
    assert isinstance(sparse.content, Sparse) == (tar_format not in ("v7", "ustar"))


@pytest.mark.parametrize("numbers", ["0.0", "0.1", "1.0"])
def test_all_pax_sparse_formats_of_gnu_tar_are_read(tmp_path: Path, numbers: str) -> None:
    with (tmp_path / "sparse").open("wb") as stream:
        for offset in range(MIB, 100 * MIB, MIB):
            stream.seek(offset)
            stream.write(b"%d " % offset * 600)
        stream.truncate(101 * MIB)
    archive = tmp_path / "archive.tar"
    run(
        require_tool("tar"),
        "-S",
        "--format=posix",
        f"--sparse-version={numbers}",
        "-C",
        tmp_path,
        "-cf",
        archive,
        "sparse",
    )
    tree = read_layers([layer_of(tmp_path / "layer", archive.read_bytes())])
    node = tree.lookup(b"sparse")
    assert node is not None
    assert isinstance(node.content, Sparse)
    with ContentReader() as reader:
        assert reader.read(node.content, 0, node.size) == (tmp_path / "sparse").read_bytes()


def test_gnu_tar_lists_what_is_written(tmp_path: Path) -> None:
    tree = special_tree()
    tree.remove(b"socket")
    with (tmp_path / "made.tar").open("wb") as stream:
        write_tar(tree, stream)
    listed = run(require_tool("tar"), "--quoting-style=literal", "-tf", tmp_path / "made.tar").splitlines()
    assert [name.rstrip("/") for name in listed] == [path.decode() for path, _ in tree.walk()]


def test_cpio_unpacks_what_is_written(tmp_path: Path) -> None:
    tree = FileTree()
    tree.add_file(b"init", b"#!/bin/sh\n" * 1000, 0o755)
    tree.add_hard_link(b"sbin/init", b"init")
    tree.add_symlink(b"lib", b"usr/lib")
    with (tmp_path / "archive").open("wb") as stream:
        write_cpio(tree, stream)
    (tmp_path / "out").mkdir()
    with (tmp_path / "archive").open("rb") as stream:
        subprocess.run([require_tool("cpio"), "-id", "--quiet"], stdin=stream, cwd=tmp_path / "out", check=True)
    assert (tmp_path / "out" / "sbin" / "init").read_bytes() == b"#!/bin/sh\n" * 1000
    assert (tmp_path / "out" / "init").stat().st_nlink == 2
    assert (tmp_path / "out" / "lib").readlink() == Path("usr/lib")


def test_the_size_that_the_error_names_is_enough(tmp_path: Path) -> None:
    tree = FileTree()
    for number in range(3000):
        tree.add_file(b"%d" % number, b"x" * number * 3)
    with pytest.raises(DiskTooSmallError) as caught:
        ext4.plan(tree, options(20 * MIB))
    size_mib = int(caught.value.message.split("at least ")[1].split(" MiB")[0])
    make_disk(tree, tmp_path / "disk.qcow2", size_mib * MIB)
    judge(tmp_path / "disk.qcow2")
