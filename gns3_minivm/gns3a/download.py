"""Downloads an image from where an appliance file says: ``direct_download_url``, over http or https.

Proxies are those of the environment (``HTTPS_PROXY``, ``NO_PROXY`` ...).  What arrives is never more than it should be,
and counts only if size and md5 are right.  Not supported: addresses that ask for a login, archives with several files.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import requests
import urllib3.exceptions

from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.cancel import checkpoint
from gns3_minivm.base.errors import DamagedImageError, HostError
from gns3_minivm.base.pump import abandonable
from gns3_minivm.gns3a.model import ImageFile, without_secrets

CONNECT_LIMIT_S = 10.0
READ_LIMIT_S = 60.0
REDIRECTS_MAX = 8
_PIECE_SIZE = 1 << 18
_FOREIGN = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
    ValueError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
)


class _Unpacker(Protocol):
    """What the standard library's decompressors have in common (``bz2``'s and ``lzma``'s)."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": _Gzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
    "lzma": lzma.LZMADecompressor,
}


def download(image: ImageFile, target: Path, progress: Callable[[int], None]) -> None:
    """Write the image to ``target`` (blocking).

    Raises HostError if it cannot be downloaded, DamagedImageError if something else is there, DiskFullError.
    """
    url = image.direct_download_url or ""
    shown = without_secrets(url)
    with requests.Session() as session:
        session.max_redirects = REDIRECTS_MAX
        # Otherwise a login that the user keeps in ~/.netrc would go wherever a file says.
        session.auth = lambda request: request
        try:
            answer = abandonable(
                session.get,
                url,
                stream=True,
                timeout=(CONNECT_LIMIT_S, READ_LIMIT_S),
                headers={"Accept-Encoding": "identity"},
            )
            with closing(answer):
                if answer.status_code != 200:
                    raise HostError(f"{shown} answers {answer.status_code} {answer.reason}")
                _save(image, answer.iter_content(_PIECE_SIZE), target, progress, shown)
        except _FOREIGN as error:
            if isinstance(error, OSError) and (full := disk_error(error, target.parent)):
                raise full from error
            raise HostError(f"{shown} cannot be downloaded: {_reason(error)}") from error


def _save(image: ImageFile, pieces: Iterator[bytes], target: Path, progress: Callable[[int], None], shown: str) -> None:
    digest, size_bytes = hashlib.md5(usedforsecurity=False), 0
    with target.open("wb") as stream:
        for piece in _unpacked(pieces, image.compression or ""):
            checkpoint()
            size_bytes += len(piece)
            if size_bytes > image.filesize:
                raise DamagedImageError(
                    f"the download from {shown} has more than the {image.filesize} bytes of {image.filename}"
                )
            digest.update(piece)
            stream.write(piece)
            progress(len(piece))
    if (size_bytes, digest.hexdigest()) != (image.filesize, image.md5sum):
        raise DamagedImageError(
            f"the download from {shown} has {size_bytes} bytes and the md5 {digest.hexdigest()}; {image.filename} has "
            f"{image.filesize} and {image.md5sum}"
        )


def _unpacked(pieces: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """The content of a packed stream, a piece of limited size at a time."""
    if not compression:
        yield from pieces
        return
    unpacker = UNPACKERS[compression]()
    for piece in pieces:
        yield unpacker.decompress(piece, _PIECE_SIZE)
        while not (unpacker.eof or unpacker.needs_input):
            yield unpacker.decompress(b"", _PIECE_SIZE)
        if unpacker.eof:
            return
    raise ValueError(f"the {compression} stream ends too early")


def _reason(error: Exception) -> str:
    """What went wrong in a few words; requests wraps several layers around it."""
    inner = error
    while (cause := inner.__cause__ or inner.__context__) is not None and isinstance(cause, Exception):
        inner = cause
    said = str(inner).rpartition(": ")[2] or type(inner).__name__
    return without_login(said)[:200]


def without_login(text: str) -> str:
    """A library's message without the password of any address in it."""
    before, slashes, rest = text.partition("://")
    login, at, place = rest.partition("@")
    return f"{before}://{place}" if slashes and at and "/" not in login else text
