"""Damaged and generated archives: the right tree or a DamagedImageError, never another exception."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gns3_minivm.errors import DamagedImageError, DiskTooSmallError
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.content import ContentReader
from gns3_minivm.formats.tar import read_layers
from tests.support.disks import MIB, options
from tests.support.layers import directory, file, hard_link, item, layer_of, symlink, tar_bytes

BLOCK = 512
ENTRIES = [
    directory("dir", xattrs={"user.x": b"1"}),
    file("dir/file", b"some data" * 100, uid=1 << 30, mtime=12.5),
    symlink("link", "dir"),
    hard_link("link/other", "dir/file"),
    item("dir/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
    file("n" * 200, b"x"),
    file("dir/.wh.file"),
    symlink("l" * 150, "t" * 150),
    item("pipe", tarfile.FIFOTYPE),
]
ARCHIVES = [tar_bytes(ENTRIES, kind) for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]


def resigned(data: bytearray) -> bytearray:
    """The archive with all header checksums put right, so that a change of a header gets past them."""
    for start in range(0, len(data) - BLOCK + 1, BLOCK):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + BLOCK])
    return data


def read_or_refuse(layers: list[bytes]) -> None:
    """Read layers and write a disk of them; only the image's own errors are allowed."""
    with tempfile.TemporaryDirectory() as folder:
        files = [layer_of(Path(folder) / str(number), data) for number, data in enumerate(layers)]
        try:
            tree = read_layers(files)
            plan = ext4.plan(tree, options(16 * MIB))
        except (DamagedImageError, DiskTooSmallError):
            return
        with qcow2.Qcow2Writer(io.BytesIO(), 16 * MIB, "none") as sink:
            ext4.write(plan, sink)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ARCHIVES),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)), max_size=4),
    st.one_of(st.none(), st.integers(0, 1 << 14)),
    st.booleans(),
)
def test_a_damaged_archive_is_read_or_refused(
    archive: bytes, changes: list[tuple[int, bytes]], cut: int | None, sign: bool
) -> None:
    data = bytearray(archive)
    for place, value in changes:
        place %= len(data)
        data[place : place + len(value)] = value[: len(data) - place]
    if sign:
        data = resigned(data)
    read_or_refuse([ARCHIVES[0], bytes(data[:cut])])


HEADER_FIELDS = [
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (329, 8),
    (345, 155),
]
# What a field may hold so that something is done with it: numbers near every limit, odd names, pax records.
VALUES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.integers(0, 8**11 - 1).map(lambda value: b"%011o" % value),
    st.integers(-(1 << 87), (1 << 87) - 1).map(lambda value: b"\x80" + value.to_bytes(11, "big", signed=True)),
    st.sampled_from(
        [b"0", b"1", b"2", b"3", b"5", b"x", b"g", b"L", b"K", b"S", b"..", b"/", b"../../x", b".wh.", b"\0"]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ARCHIVES), st.integers(0, 1000), st.sampled_from(HEADER_FIELDS), VALUES)
def test_an_odd_value_in_any_header_field_is_read_or_refused(
    archive: bytes, header: int, field: tuple[int, int], value: bytes
) -> None:
    data = bytearray(archive)
    headers = [start for start in range(0, len(data), BLOCK) if data[start + 257 : start + 262] == b"ustar"]
    start, size = headers[header % len(headers)] + field[0], field[1]
    data[start : start + size] = value[:size].ljust(size, b"\0")
    read_or_refuse([bytes(resigned(data))])


RECORD_KEYS = [
    *("path", "linkpath", "size", "uid", "gid", "mtime", "SCHILY.xattr.user.x", "SCHILY.xattr.", "GNU.sparse.major"),
    *("GNU.sparse.minor", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.name"),
    *("GNU.sparse.offset", "GNU.sparse.numbytes", "SCHILY.xattr.system.posix_acl_access"),
]
RECORD_VALUES = st.one_of(
    st.integers(-5, 2000).map(str),
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.text(alphabet="01,.-/ax\n", max_size=12),
    st.sampled_from(
        ["0", "1", "0,10", "0,512,1024,388", "900", "1e9", "/", "..", "a/" * 3000, "n" * 256, "\x02\0\0\0"]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(RECORD_KEYS), RECORD_VALUES, max_size=6), st.binary(max_size=900))
def test_odd_pax_records_are_read_or_refused(records: dict[str, str], content: bytes) -> None:
    info, _ = file("f", content)
    info.pax_headers = records
    read_or_refuse([tar_bytes([(info, content)])])


NAMES = st.text(alphabet="ab.é-", min_size=1, max_size=120).filter(lambda name: name not in (".", ".."))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.dictionaries(
        NAMES, st.tuples(st.binary(max_size=1500), st.integers(0, 0o7777), st.integers(0, 2**21 - 1)), max_size=6
    ),
)
def test_pythons_reader_finds_the_same(tar_format: int, wanted: dict[str, tuple[bytes, int, int]]) -> None:
    wanted = {name: value for name, value in wanted.items() if len(name.encode()) < 99 and not name.startswith(".wh.")}
    entries = [
        file(name, data, mode=mode, uid=number, gid=number // 2, mtime=number)
        for name, (data, mode, number) in wanted.items()
    ]
    archive = tar_bytes(entries, tar_format)
    with tempfile.TemporaryDirectory() as folder, ContentReader() as reader:
        tree = read_layers([layer_of(Path(folder) / "layer", archive)])
        ours = {
            path.decode(): (
                reader.read(node.content, 0, node.size),
                node.mode & 0o7777,
                node.uid,
                node.gid,
                node.mtime_ns,
            )
            for path, node in tree.walk()
        }
    with tarfile.open(fileobj=io.BytesIO(archive)) as python:
        theirs = {
            info.name: (python.extractfile(info).read(), info.mode, info.uid, info.gid, int(info.mtime) * 10**9)  # type: ignore[union-attr]
            for info in python
        }
    assert ours == theirs
