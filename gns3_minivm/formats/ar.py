"""Reads ar archives, the outer shell of Debian packages.

https://man7.org/linux/man-pages/man5/deb.5.html; the BSD and GNU forms of long names do not occur there and are
returned as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gns3_minivm.base.errors import PackageError

_MAGIC = b"!<arch>\n"
_HEADER_SIZE = 60
_END = b"`\n"


@dataclass(frozen=True)
class ArMember:
    """One file of an archive."""

    name: str
    data: bytes


def read_ar(stream: BinaryIO) -> Iterator[ArMember]:
    """The members of an archive, in its order; the stream need not be seekable.

    Raises PackageError for anything that is not an ar archive, or is cut off.
    """
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise PackageError("this is not an ar archive (a .deb package is one)", hint="Download the package again.")
    while header := stream.read(_HEADER_SIZE):
        size_field = header[48:58].strip()
        if len(header) < _HEADER_SIZE or header[58:] != _END or not size_field.isdigit():
            raise PackageError("the ar archive is damaged: a header is malformed", hint="Download the package again.")
        size = int(size_field)
        # dpkg writes plain names, GNU ar ends them with a slash.
        name = header[:16].decode("ascii", "replace").rstrip(" ").removesuffix("/")
        data = stream.read(size)
        if len(data) < size:
            raise PackageError(f"the ar archive ends inside its member {name!r}", hint="Download the package again.")
        stream.read(size % 2)
        yield ArMember(name, data)
