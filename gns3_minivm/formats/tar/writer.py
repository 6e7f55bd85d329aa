"""Writes a tree as a deterministic pax archive: canonical order, numeric owners, sparse files as GNU sparse 1.0."""

from __future__ import annotations

import stat
from typing import BinaryIO

from gns3_minivm.formats.content import ContentReader, Sparse, content_size
from gns3_minivm.formats.tar import headers as h
from gns3_minivm.formats.tree import FileTree, Node

_TYPES = {
    stat.S_IFREG: h.REGTYPE,
    stat.S_IFLNK: h.SYMTYPE,
    stat.S_IFCHR: h.CHRTYPE,
    stat.S_IFBLK: h.BLKTYPE,
    stat.S_IFDIR: h.DIRTYPE,
    stat.S_IFIFO: h.FIFOTYPE,
}
_CHUNK_SIZE = 1 << 20
_NS = 1_000_000_000


def write_tar(tree: FileTree, stream: BinaryIO) -> None:
    """Write everything below the root; sockets, which tar cannot hold, are left out."""
    first_names: dict[Node, bytes] = {}
    with ContentReader() as reader:
        for path, node in tree.walk():
            typeflag = _TYPES.get(stat.S_IFMT(node.mode))
            if typeflag is None:
                continue
            if not node.is_directory and node in first_names:
                stream.write(_headers(path, node, h.LNKTYPE, first_names[node], 0, []))
                continue
            first_names[node] = path
            if node.is_file:
                _write_file(stream, reader, path, node)
            else:
                name = path + b"/" if node.is_directory else path
                stream.write(_headers(name, node, typeflag, node.target if node.is_symlink else b"", 0, []))
    stream.write(bytes(2 * h.BLOCK))


def _write_file(stream: BinaryIO, reader: ContentReader, path: bytes, node: Node) -> None:
    content = node.content
    if isinstance(content, Sparse):
        pieces = [(start, piece.size) for start, piece in content.segments]
        # The end of the file is told by an empty piece, as GNU tar does.
        pieces.append((content.size, 0))
        numbers = [len(pieces), *(value for piece in pieces for value in piece)]
        sparse_map = _pad("".join(f"{value}\n" for value in numbers).encode())
        records = [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", path),
            (b"GNU.sparse.realsize", b"%d" % content.size),
        ]
    else:
        pieces = [(0, content_size(content))]
        sparse_map = b""
        records = []
    size = len(sparse_map) + sum(length for _, length in pieces)
    stream.write(_headers(path, node, h.REGTYPE, b"", size, records) + sparse_map)
    for start, length in pieces:
        end = start + length
        stream.writelines(reader.read(content, at, min(_CHUNK_SIZE, end - at)) for at in range(start, end, _CHUNK_SIZE))
    stream.write(bytes(-size % h.BLOCK))


def _headers(
    name: bytes, node: Node, typeflag: bytes, linkname: bytes, size: int, records: list[tuple[bytes, bytes]]
) -> bytes:
    """The header block of an entry, with a pax header before it where a field does not hold its value."""
    records = list(records)
    if len(name) > 100:
        records.append((b"path", name))
    if len(linkname) > 100:
        records.append((b"linkpath", linkname))
    values = []
    for key, value, digits in ((b"uid", node.uid, 7), (b"gid", node.gid, 7), (b"size", size, 11)):
        if value >= 8**digits:
            records.append((key, b"%d" % value))
            value = 0
        values.append(b"%0*o\0" % (digits, value))
    seconds, ns = divmod(node.mtime_ns, _NS)
    if ns or not 0 <= seconds < 8**11:
        # A pax time before 1970 counts down from zero, sign in front.
        whole, fraction = divmod(abs(node.mtime_ns), _NS)
        sign = b"-" if node.mtime_ns < 0 else b""
        records.append((b"mtime", sign + (b"%d.%09d" % (whole, fraction)).rstrip(b"0").rstrip(b".")))
        seconds = 0
    values.append(b"%011o\0" % seconds)
    if typeflag != h.LNKTYPE:
        records += [(b"SCHILY.xattr." + key, value) for key, value in sorted((node.xattrs or {}).items())]
    major, minor = node.device if node.is_device else (0, 0)
    mode = b"%07o\0" % stat.S_IMODE(node.mode)
    block = _block(name[:100], mode, values, typeflag, linkname[:100], major, minor)
    if not records:
        return block
    data = b"".join(_record(key, value) for key, value in sorted(records))
    owner = [b"0000000\0", b"0000000\0", b"%011o\0" % len(data), b"00000000000\0"]
    return _block(b"PaxHeader", b"0000644\0", owner, h.PAX_HEADER, b"", 0, 0) + _pad(data) + block


def _block(
    name: bytes, mode: bytes, values: list[bytes], typeflag: bytes, linkname: bytes, major: int, minor: int
) -> bytes:
    uid, gid, size, mtime = values
    fields = [name, mode, uid, gid, size, mtime, b" " * 8, typeflag, linkname, h.MAGIC_USTAR, b"", b""]
    device = [b"%07o\0" % major, b"%07o\0" % minor, b""]
    block = h.HEADER.pack(*fields, *device)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _record(key: bytes, value: bytes) -> bytes:
    """A pax record, whose length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % h.BLOCK)
