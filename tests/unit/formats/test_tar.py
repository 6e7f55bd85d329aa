"""Every kind of tar header is read; what is written is read back."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest

from gns3_minivm.base.errors import DamagedImageError, HostError
from gns3_minivm.formats.content import ContentReader, Slice, Sparse
from gns3_minivm.formats.tar import headers, read_layers, write_tar
from gns3_minivm.formats.tree import FileTree, Node
from tests.support.layers import TarLayer, file, layer_of, merged, paths, tar_bytes

BLOCK = 512


def header(name: bytes, size: int = 0, typeflag: bytes = b"0", magic: bytes = b"ustar\00000", **fields: bytes) -> bytes:
    values = {"mode": b"0000644\0", "uid": b"0000000\0", "gid": b"0000000\0", "mtime": b"00000000000\0"} | fields
    block = headers.HEADER.pack(
        name, values["mode"], values["uid"], values["gid"], b"%011o\0" % size, values["mtime"], b" " * 8, typeflag,
        values.get("linkname", b""), magic, b"", b"", values.get("devmajor", b""), values.get("devminor", b""),
        values.get("prefix", b""),
    )  # fmt: skip
    return signed(block)


def signed(block: bytes) -> bytes:
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def pax(*records: tuple[str, bytes], typeflag: bytes = b"x") -> bytes:
    data = b""
    for key, value in records:
        rest = len(key) + len(value) + 3
        length = next(length for length in range(rest + 1, rest + 9) if length == rest + len(str(length)))
        data += b"%d %s=%s\n" % (length, key.encode(), value)
    return header(b"pax", len(data), typeflag) + padded(data)


def tree_of(tmp_path: Path, data: bytes) -> FileTree:
    return merged(tmp_path, data + bytes(2 * BLOCK))


def only(tree: FileTree) -> Node:
    ((_, node),) = tree.walk()
    return node


def read(node: Node) -> bytes:
    with ContentReader() as reader:
        return reader.read(node.content, 0, node.size)


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_in_every_format(tmp_path: Path, tar_format: int) -> None:
    name = "/".join(["directory-number-nine"] * 8) + "/f"
    link = file("l")[0]
    link.type, link.linkname = tarfile.SYMTYPE, "t" * 100
    tree = merged(tmp_path, tar_bytes([file(name, b"data"), (link, b"")], tar_format))
    assert paths(tree)[-2:] == [name, "l"]


def test_gnu_long_link_names_are_read(tmp_path: Path) -> None:
    link = file("l")[0]
    link.type, link.linkname = tarfile.SYMTYPE, "t" * 3000
    assert only(merged(tmp_path, tar_bytes([(link, b"")], tarfile.GNU_FORMAT))).target == b"t" * 3000


def test_numbers_may_be_base_256_and_negative(tmp_path: Path) -> None:
    mtime = (-5).to_bytes(12, "big", signed=True)
    found = only(tree_of(tmp_path, header(b"f", uid=b"\x80\0\0\0\xff\xff\xff\xfe", mtime=mtime)))
    assert (found.uid, found.mtime_ns) == (4294967294, -5_000_000_000)


def test_pax_records_win_over_header_fields(tmp_path: Path) -> None:
    data = pax(("path", b"long"), ("uid", b"5000000"), ("gid", b"6"), ("mtime", b"-1.5"), ("size", b"3"))
    tree = tree_of(tmp_path, data + header(b"short", 0o777) + padded(b"abc"))
    found = only(tree)
    assert paths(tree) == ["long"]
    assert (found.uid, found.gid, found.mtime_ns, read(found)) == (5000000, 6, -1_500_000_000, b"abc")


def test_a_pax_header_with_an_empty_value_takes_the_header_field(tmp_path: Path) -> None:
    assert paths(tree_of(tmp_path, pax(("path", b"")) + header(b"name"))) == ["name"]


def test_global_headers_and_volume_labels_are_passed_over(tmp_path: Path) -> None:
    data = pax(("mtime", b"77"), ("comment", b"x"), typeflag=b"g") + header(b"label", typeflag=b"V") + header(b"f")
    assert only(tree_of(tmp_path, data)).mtime_ns == 0


def test_the_old_format_tells_directories_by_a_slash(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, header(b"d/", typeflag=b"\0", magic=b"") + header(b"f", typeflag=b"\0", magic=b""))
    assert [stat.S_IFMT(node.mode) for _, node in tree.walk()] == [stat.S_IFDIR, stat.S_IFREG]


def test_header_checksums_of_signed_bytes_are_taken(tmp_path: Path) -> None:
    block = header(b"\xc3\xa9")
    wrong = block[:148] + b"%06o\0 " % (int(block[148:154], 8) - 512) + block[156:]
    assert paths(tree_of(tmp_path, wrong)) == ["é"]


def test_an_archive_without_an_end_marker_is_taken(tmp_path: Path) -> None:
    assert paths(merged(tmp_path, header(b"f", 3) + b"abc")) == ["f"]
    assert paths(merged(tmp_path, header(b"f", 3) + padded(b"abc"))) == ["f"]
    assert paths(merged(tmp_path, header(b"f") + bytes(BLOCK))) == ["f"]
    assert paths(merged(tmp_path, b"")) == []


SPARSE = b"A" * 1024 + bytes(9 * 1024) + b"B" * 300 + bytes(700)
PIECES = [(0, 1024), (10 * 1024, 300), (10 * 1024 + 1000, 0)]
STORED = b"A" * 1024 + b"B" * 300


def sparse_archive(kind: str) -> bytes:
    size, name = b"%d" % len(SPARSE), ("GNU.sparse.name", b"f")
    if kind == "gnu":
        fields = b"".join(b"%011o\0%011o\0" % piece for piece in PIECES).ljust(96, b"\0") + b"\0%011o\0" % len(SPARSE)
        block = header(b"f", len(STORED), b"S", b"ustar  \0")
        return signed(block[:386] + fields + block[495:]) + padded(STORED)
    if kind == "gnu-extended":
        many = [(0, 256), (256, 256), (512, 256), (768, 256), *PIECES[1:]]
        fields = b"".join(b"%011o\0%011o\0" % piece for piece in many[:4]) + b"\1%011o\0" % len(SPARSE)
        block = header(b"f", len(STORED), b"S", b"ustar  \0")
        more = b"".join(b"%011o\0%011o\0" % piece for piece in many[4:]).ljust(BLOCK, b"\0")
        return signed(block[:386] + fields + block[495:]) + more + padded(STORED)
    if kind == "pax-0.0":
        pairs = [
            pair
            for start, length in PIECES
            for pair in (("GNU.sparse.offset", b"%d" % start), ("GNU.sparse.numbytes", b"%d" % length))
        ]
        records = [("GNU.sparse.size", size), ("GNU.sparse.numblocks", b"3"), *pairs]
        return pax(*records) + header(b"f", len(STORED)) + padded(STORED)
    if kind == "pax-0.1":
        numbers = b",".join(b"%d,%d" % piece for piece in PIECES)
        records = [name, ("GNU.sparse.size", size), ("GNU.sparse.numblocks", b"3"), ("GNU.sparse.map", numbers)]
        return pax(*records) + header(b"GNUSparseFile.1/f", len(STORED)) + padded(STORED)
    numbers = padded(b"%d\n" % len(PIECES) + b"".join(b"%d\n%d\n" % piece for piece in PIECES))
    records = [name, ("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", size)]
    return pax(*records) + header(b"GNUSparseFile.1/f", len(numbers + STORED)) + numbers + padded(STORED)


@pytest.mark.parametrize("kind", ["gnu", "gnu-extended", "pax-0.0", "pax-0.1", "pax-1.0"])
def test_sparse_files_are_read_in_every_format(tmp_path: Path, kind: str) -> None:
    tree = tree_of(tmp_path, sparse_archive(kind) + header(b"next", 4) + padded(b"more"))
    assert paths(tree) == ["f", "next"]
    found, following = (node for _, node in tree.walk())
    assert isinstance(found.content, Sparse)
    assert read(found) == SPARSE
    assert read(following) == b"more"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x" * 600, "checksum"),
        (header(b"f")[:300], "ends inside a header"),
        (header(b"f") + bytes(BLOCK) + header(b"g"), "block of zeros"),
        (header(b"f", uid=b"9999999\0"), "uid"),
        (pax(("path", b"f")) + bytes(2 * BLOCK), "after an extended header"),
        (header(b"p", 9, b"x") + padded(b"5 path=x\n"), "malformed"),
        (header(b"p", 9, b"x") + padded(b"+9 path=x"), "malformed"),
        (header(b"p", 2 << 20, b"x"), "at most"),
        (pax(("mtime", b"soon")) + header(b"f"), "mtime"),
        (pax(("size", b"1_0")) + header(b"f"), "size"),
        (pax(("size", b"-1")) + header(b"f"), "size is -1"),
        (pax(("mtime", b"9" * 5000)) + header(b"f"), "mtime"),
        (header(b"f", 10) + b"short", "inside the file's data"),
        (sparse_archive("pax-0.1").replace(b"10240,300", b"10240,999"), "sparse map"),
        (sparse_archive("pax-0.1").replace(b"10240,300", b"00010,300"), "out of place"),
        (sparse_archive("pax-1.0").replace(b"\n10240\n", b"\nx0240\n"), "sparse map"),
        (sparse_archive("pax-1.0").replace(b"3\n0\n1024\n10240\n", b"99999999\n0\n1024\n"), "at most 1048576"),
        (sparse_archive("pax-1.0").replace(b"3\n0\n1024", b"9\n0\n1024"), "sparse map"),
    ],
)
def test_a_damaged_archive_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DamagedImageError, match=message):
        merged(tmp_path, data)


def test_a_layer_file_that_cannot_be_opened_is_a_fault_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="layer file"):
        read_layers([TarLayer(tmp_path / "gone", 0, 512, "sha256:gone")])


def example_tree(tmp_path: Path) -> FileTree:
    (tmp_path / "data").write_bytes(bytes(range(256)) * 100)
    tree = FileTree()
    tree.add_file(b"a/file", Slice(str(tmp_path / "data"), 10, 9000), 0o4755, 1 << 31, 7, 1_700_000_000_123_456_789)
    tree.add_file(b"before", b"x", mtime_ns=-1_500_000_000, xattrs={b"user.a": b"\0\n=", b"security.b": b""})
    tree.add_file(b"sparse", Sparse(1 << 40, ((1 << 30, Slice(str(tmp_path / "data"), 5, 600)),)))
    tree.add_hard_link(b"z/hard", b"a/file")
    tree.add_symlink(b"s" * 120, b"t" * 200)
    tree.add_node(b"dev/null", stat.S_IFCHR | 0o666, 1, 3)
    tree.add_node(b"pipe", stat.S_IFIFO | 0o600)
    tree.add_file(b"p/" * 80 + b"\xff\xfe", b"deep")
    return tree


def test_a_written_tree_is_read_back_the_same(tmp_path: Path) -> None:
    tree = example_tree(tmp_path)
    stream = io.BytesIO()
    write_tar(tree, stream)
    again = read_layers([layer_of(tmp_path / "layer", stream.getvalue())])
    before, after = dict(tree.walk()), dict(again.walk())
    assert list(before) == list(after)
    for path, node in before.items():
        found = after[path]
        assert (node.mode, node.uid, node.gid, node.mtime_ns) == (found.mode, found.uid, found.gid, found.mtime_ns)
        assert (node.size, node.xattrs) == (found.size, found.xattrs), path
        if node.is_file and node.size < 1 << 20:
            assert read(node) == read(found)
        elif not node.is_file and not node.is_directory:
            assert node.body == found.body
    assert after[b"a/file"] is after[b"z/hard"]
    with ContentReader() as reader:
        window = (1 << 30) - 10, 700
        assert reader.read(after[b"sparse"].content, *window) == reader.read(before[b"sparse"].content, *window)


def test_the_same_tree_gives_the_same_archive(tmp_path: Path) -> None:
    one, two = io.BytesIO(), io.BytesIO()
    write_tar(example_tree(tmp_path), one)
    write_tar(example_tree(tmp_path), two)
    assert one.getvalue() == two.getvalue()
    assert len(one.getvalue()) < 100_000


def test_python_reads_what_is_written(tmp_path: Path) -> None:
    stream = io.BytesIO()
    write_tar(example_tree(tmp_path), stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream, errors="surrogateescape") as archive:
        found = {info.name: info for info in archive}
    assert found["a/file"].uid == 1 << 31
    assert found["a/file"].mtime == pytest.approx(1_700_000_000.123, abs=0.001)
    assert found["sparse"].size == 1 << 40
    assert found["z/hard"].linkname == "a/file"
    assert found["s" * 120].linkname == "t" * 200
