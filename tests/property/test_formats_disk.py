"""Generated disks: whatever is written is read back."""

from __future__ import annotations

import io
import stat

from hypothesis import given, settings
from hypothesis import strategies as st

from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.qcow2 import structs
from gns3_minivm.formats.tree import FileTree
from tests.support.disks import MIB, options

CLUSTER = structs.CLUSTER_SIZE
DISK_SIZE = 64 * CLUSTER


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, DISK_SIZE), st.sampled_from([1, 100, CLUSTER, 3 * CLUSTER + 5]), st.binary(max_size=3))
    ),
    st.sampled_from(["zstd", "zlib", "none"]),
    st.integers(1, 3),
)
def test_any_writes_in_any_order_are_read_back(
    writes: list[tuple[int, int, bytes]], compression: qcow2.Compression, threads: int
) -> None:
    disk = bytearray(DISK_SIZE)
    used = bytearray(DISK_SIZE)
    stream = io.BytesIO()
    with qcow2.Qcow2Writer(stream, DISK_SIZE, compression, threads) as sink:
        for offset, size, pattern in writes:
            data = (pattern * size)[:size]
            end = offset + len(data)
            # Every byte at most once, as the interface says.
            if end > DISK_SIZE or any(used[offset:end]):
                continue
            used[offset:end] = b"\1" * len(data)
            disk[offset:end] = data
            sink.write(offset, data)
    assert qcow2.Qcow2Reader(stream).read(0, DISK_SIZE) == disk


NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3)
XATTRS = st.dictionaries(
    st.sampled_from([b"user.a", b"user.bb", b"security.capability", b"trusted.c"]), st.binary(max_size=90), max_size=4
)
NUMBERS = st.integers(0, (1 << 32) - 2)
TIMES = st.integers(-(1 << 31) * 10**9, ((1 << 34) - (1 << 31) - 1) * 10**9)
BODIES = st.one_of(
    st.binary(max_size=50),
    st.tuples(st.binary(min_size=1, max_size=4), st.integers(0, 60_000)).map(lambda part: part[0] * part[1]),
    st.just(None),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(PATHS, BODIES, st.integers(0, 0o7777), NUMBERS, NUMBERS, TIMES, XATTRS), max_size=12))
def test_any_tree_is_read_back_from_its_disk(
    entries: list[tuple[list[bytes], bytes | None, int, int, int, int, dict[bytes, bytes]]],
) -> None:
    tree = FileTree()
    for parts, body, mode, uid, gid, mtime_ns, xattrs in entries:
        on_the_way = [tree.lookup(b"/".join(parts[:depth])) for depth in range(1, len(parts))]
        if any(node is not None and not node.is_directory for node in on_the_way):
            continue
        path = b"/".join(parts)
        if body is None:
            tree.add_directory(path, mode, uid, gid, mtime_ns, xattrs)
        else:
            tree.add_file(path, body, mode, uid, gid, mtime_ns, xattrs)
    stream = io.BytesIO()
    with qcow2.Qcow2Writer(stream, 64 * MIB) as sink:
        ext4.write(ext4.plan(tree, options(64 * MIB)), sink)
    disk = ext4.Ext4Reader(qcow2.Qcow2Reader(stream))
    found = {path: ino for path, ino in disk.walk() if path != b"lost+found"}
    assert set(found) == {path for path, _ in tree.walk() if path != b"lost+found"}
    for path, node in tree.walk():
        if path == b"lost+found":
            continue
        one = disk.stat(found[path])
        assert (one.mode, one.uid, one.gid, one.mtime_ns) == (node.mode, node.uid, node.gid, node.mtime_ns)
        assert disk.xattrs(one.ino) == (node.xattrs or {})
        if stat.S_ISREG(one.mode):
            assert disk.read_file(one.ino) == node.content
