"""An image's archive is read without believing what its headers claim, in bounded memory and time."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.images.files.archive import spool_layers
from gns3_minivm.images.files.archive_file import read_documents
from gns3_minivm.images.files.members import ArchiveError, FileSource, Members, StreamSource
from gns3_minivm.images.unpack import PieceReader
from tests.support.layers import directory, file, hard_link, item, symlink, tar_bytes
from tests.support.oci import archive, make_image, saved

ITEMS = [
    directory("d"),
    file("d/a", b"first"),
    symlink("link", "d/a"),
    file("n" * 250, b"x" * 1024),
    hard_link("d/hard", "d/a"),
    file("empty"),
    file("d/café", random.Random(3).randbytes(70_000)),
    item("d/pipe", tarfile.FIFOTYPE),
    file("last", b"y" * 513),
]
FILES = [(info.name, data) for info, data in ITEMS if info.isreg()]
SAVED = saved(make_image([tar_bytes([file("etc/x", b"1")])]), "a:1")


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def names(data: bytes) -> list[str]:
    return [member.name for member in Members(StreamSource(PieceReader(pieces(data, 999))))]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [1, 700, 1 << 20])
def test_files_come_with_their_bytes_however_the_archive_is_cut_into_pieces(form: int, size: int) -> None:
    items = [one for one in ITEMS if form != tarfile.USTAR_FORMAT or len(one[0].name) <= 100]
    data = tar_bytes(items, form)
    if form == tarfile.USTAR_FORMAT:
        # A long name in two fields.
        data = tar_bytes([*items, file("p" * 150 + "/" + "n" * 90, b"long")], form)
    members = Members(StreamSource(PieceReader(pieces(data, size))))
    found = []
    for member in members:
        content = b"".join(iter(lambda: members.read(100_000), b""))
        assert data[member.offset : member.offset + member.size] == content
        found.append((member.name, content))
    expected = [one for one in FILES if form != tarfile.USTAR_FORMAT or len(one[0]) <= 100]
    assert found == expected + ([("p" * 150 + "/" + "n" * 90, b"long")] if form == tarfile.USTAR_FORMAT else [])


def test_what_is_not_read_is_passed_by_in_streams_and_in_files(tmp_path: Path) -> None:
    data = tar_bytes(ITEMS)
    (tmp_path / "a.tar").write_bytes(data)
    with (tmp_path / "a.tar").open("rb") as stream:
        members = Members(FileSource(stream))
        assert [(member.name, bytes(members.read(3))) for member in members] == [(name, one[:3]) for name, one in FILES]
    assert names(data) == [name for name, _ in FILES]


@pytest.mark.parametrize("kind", [b"x", b"X", b"g", b"L", b"K", b"V"])
def test_an_extended_header_of_gigabytes_is_refused_before_it_is_read(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as stream:
        stream.write(header(kind, 4 << 30))
        stream.truncate(5 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedImageError, match="of 4294967296 bytes; at most 1048576"):
            read_documents(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"x", b"L"])
def test_thousands_of_extended_headers_in_a_row_are_taken(kind: bytes, tmp_path: Path) -> None:
    body = b"12 path=abc\n"
    chain = (header(kind, len(body)) + body.ljust(512, b"\0")) * 5000
    (tmp_path / "a.tar").write_bytes(chain + header(b"0", 0) + archive(SAVED))
    assert "manifest.json" in read_documents(tmp_path / "a.tar")


@pytest.mark.parametrize("form", ["old", "pax"])
def test_a_file_with_holes_of_petabytes_is_refused(form: str, tmp_path: Path) -> None:
    if form == "old":
        block = bytearray(header(b"S", 0))
        block[386:410] = b"%011o\0" % 0 * 2
        block[483:495] = b"\x80" + (1 << 50).to_bytes(11, "big")
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        start = bytes(block)
    else:
        info, _ = file("x")
        info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0"}
        info.pax_headers["GNU.sparse.size"] = str(1 << 50)
        start = tar_bytes([(info, b"")])[:1536]
    data = start + archive(SAVED)
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DamagedImageError, match="x is a sparse file"):
        read_documents(tmp_path / "a.tar")
    with pytest.raises(DamagedImageError, match="x is a sparse file"):
        spool_layers(pieces(data, 5000), ["sha256:" + "0" * 64], tmp_path, lambda _: None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"<html>" * 1000, "not a tar archive"),
        (header(b"0", 0)[:100], "it ends inside a header"),
        (header(b"0", 5000) + b"some", "x ends after 4 of 5000 bytes"),
        (header(b"x", 100) + b"some", "it ends inside a pax header"),
        (header(b"x", 4) + b"some".ljust(512, b"\0"), "a pax record is malformed"),
        (header(b"x", 6) + b"6 a=b\n".ljust(512, b"\0"), "ends after an extended header"),
        (header(b"9", 5000) + b"some", "it ends inside x"),
        (header(b"0", 0) + b"junk" * 128, "not a tar archive"),
        (header(b"0", 0, "a\x1b]0;b\x07")[:124] + header(b"0", 0)[124:], "checksum"),
    ],
)
def test_a_damaged_archive_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        names(data)


def test_a_size_below_zero_is_an_error() -> None:
    block = bytearray(header(b"0", 0))
    block[124:136] = b"\xff" * 12
    with pytest.raises(ArchiveError, match="the size of x is -1"):
        names(resigned(block))


def test_a_file_that_is_cut_off_within_a_member_that_nobody_reads_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes(ITEMS)[:8000])
    with pytest.raises(DamagedImageError, match="is not a complete tar archive: d/café ends after"):
        read_documents(path)


def test_names_in_messages_cannot_act_on_a_terminal() -> None:
    with pytest.raises(ArchiveError) as caught:
        names(header(b"0", 600, "a\x1b]0;b\x07") + b"some")
    assert str(caught.value).isprintable()


def test_the_standard_librarys_reader_finds_the_same() -> None:
    data = tar_bytes(ITEMS)
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        expected = [(one.name, one.size, one.offset_data) for one in other if one.isreg()]
    found = [(one.name, one.size, one.offset) for one in Members(StreamSource(PieceReader(pieces(data, 4096))))]
    assert found == expected


def test_the_times_that_star_keeps_behind_a_names_first_field_are_no_part_of_it() -> None:
    block = bytearray(header(b"0", 0))
    block[257:265] = b"ustar\00000"
    block[345:500] = b"folder".ljust(131, b"\0") + b"14371321000 14371321001 "
    block[508:512] = b"tar\0"
    assert names(resigned(block)) == ["folder/x"]
    # Where all of the first field is used, the times follow it at once.
    block[345:476] = b"f" * 131
    assert names(resigned(block)) == ["f" * 131 + "/x"]


def resigned(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
