"""Archives that are nearly right: odd values in header fields and pax records, with checksums that fit."""

from __future__ import annotations

import tarfile

from hypothesis import strategies as st

from tests.support.layers import directory, file, hard_link, item, symlink, tar_bytes

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


def with_field(archive: bytes, header: int, field: tuple[int, int], value: bytes) -> bytes:
    """An archive with another value in a field (offset, bytes) of one of its headers."""
    data = bytearray(archive)
    headers = [start for start in range(0, len(data), BLOCK) if data[start + 257 : start + 262] == b"ustar"]
    start, size = headers[header % len(headers)] + field[0], field[1]
    data[start : start + size] = value[:size].ljust(size, b"\0")
    return bytes(resigned(data))


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


def with_records(records: dict[str, str], content: bytes) -> bytes:
    """An archive of one file with these pax records."""
    info, _ = file("f", content)
    info.pax_headers = records
    return tar_bytes([(info, content)])
