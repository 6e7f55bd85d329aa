"""Writes the cpio archives from which Linux makes its initial RAM disk.

Format "newc": https://docs.kernel.org/driver-api/early-userspace/buffer-format.html.  Extended attributes, and times
below the second, have no place in it.
"""

from __future__ import annotations

import stat
from collections import Counter
from typing import BinaryIO

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.content import ContentReader, content_size
from gns3_minivm.formats.tree import FileTree, Node, printable

_TRAILER = b"TRAILER!!!"
_FIELD_MAX = 0xFFFFFFFF
_CHUNK_SIZE = 1 << 20
_ARCHIVE_BLOCK = 512


def write_cpio(tree: FileTree, stream: BinaryIO) -> None:
    """Write everything below the root in canonical order; inode numbers count up from 1.

    Raises DamagedImageError for a file of 4 GiB or more, which the format cannot hold.
    """
    links = Counter(node for _, node in tree.walk())
    seen: Counter[Node] = Counter()
    numbers: dict[Node, int] = {}
    written = 0
    with ContentReader() as reader:
        for path, node in tree.walk():
            number = numbers.setdefault(node, len(numbers) + 1)
            seen[node] += 1
            size = content_size(node.content) if node.is_file else len(node.target) if node.is_symlink else 0
            if size > _FIELD_MAX:
                raise DamagedImageError(f"{printable(path)} has {size} bytes; a cpio archive takes less than 4 GiB")
            # The last of several names carries the content.
            size = size if seen[node] == links[node] else 0
            # The kernel makes a directory's count of links itself.
            header = _header(number, node, 2 if node.is_directory else links[node], size, path)
            written += stream.write(header)
            if node.is_symlink:
                written += stream.write(node.target[:size])
            elif size:
                for offset in range(0, size, _CHUNK_SIZE):
                    written += stream.write(reader.read(node.content, offset, min(_CHUNK_SIZE, size - offset)))
            written += stream.write(bytes(-size % 4))
    trailer = _header(0, Node(0, None), 1, 0, _TRAILER)
    stream.write(trailer + bytes(-(written + len(trailer)) % _ARCHIVE_BLOCK))


def _header(number: int, node: Node, links: int, size: int, path: bytes) -> bytes:
    """The header with the name after it, padded to four bytes."""
    seconds = min(max(node.mtime_ns // 1_000_000_000, 0), _FIELD_MAX)
    major, minor = node.device if stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode) else (0, 0)
    name = path + b"\0"
    fields = (number, node.mode, node.uid, node.gid, links, seconds, size, 0, 0, major, minor, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return header + bytes(-len(header) % 4)
