"""Takes an image's layers out of a ``docker save`` stream while it arrives.

The stream is a tar archive in one of two layouts: the old one (``<id>/layer.tar``, moby's image/spec/v1.2.md) and, from
Docker 25 on, that of OCI (``blobs/sha256/<digest>``, OCI image-layout.md), whose blobs may be compressed with gzip or
zstd where the engine keeps its images in containerd.

Every layer is known by its diff ID, the sha256 of its uncompressed tar.  So each member is hashed (and decompressed)
while it is written to one spool file, and stays there if its digest is one that is asked for.  Which layout it is, in
which order members come, what else an archive holds (attestations, other platforms): none of that matters, and no byte
is believed that was not checked.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from gns3_minivm.cache import disk_error
from gns3_minivm.errors import DamagedImageError
from gns3_minivm.images.model import Layer
from gns3_minivm.images.unpack import CHUNK_SIZE, MAGIC_SIZE, Piece, PieceReader, UnpackError, is_packed, unpack

_MANIFEST_MAX = 4 << 20


@dataclass(frozen=True)
class Origin:
    """Where an archive comes from, in the words of messages, and what helps if it is damaged."""

    place: str
    hint: str


ENGINE = Origin("what the engine sent", "Start the command again; if it stays, pull or build the image again.")


@dataclass(frozen=True)
class _Other:
    """A member that is not one of the layers asked for."""

    name: str
    digest: str
    size: int


def spool_layers(
    pieces: Iterable[Piece],
    diff_ids: Sequence[str],
    folder: Path,
    progress: Callable[[int], None],
    origin: Origin = ENGINE,
    in_place: Path | None = None,
) -> list[Layer]:
    """Write the wanted layers of an archive to ``folder`` and return them in the order of ``diff_ids``.

    ``in_place`` is the file that has the same bytes as ``pieces``, if there is one: what is not compressed is digested
    and left where it is.  ``progress`` is called with the bytes of the archive that have arrived.  Raises DamagedImageError for a layer that
    is missing, cut off or changed, DiskFullError if there is no room.
    """
    path = folder / "layers"
    found: dict[str, Layer] = {}
    others: list[_Other] = []
    names: list[str] = []
    wanted = set(diff_ids)
    try:
        stream = _Stream(PieceReader(pieces, progress))
        with (
            path.open("wb", buffering=0) as spool,
            tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive,
        ):
            for info in archive:
                if not info.isreg():
                    continue
                if info.name == "manifest.json" and info.size <= _MANIFEST_MAX:
                    names = _layer_names(stream.read(info.size))
                    continue
                offset = spool.tell()
                stays = in_place is not None and _is_plain(in_place, info)
                digest, size = _copy(_Member(archive, stream, info), info, _Nowhere() if stays else spool)
                if digest in wanted and digest not in found:
                    place = (in_place, info.offset_data) if in_place is not None and stays else (path, offset)
                    found[digest] = Layer(digest, *place, size)
                    continue
                spool.seek(offset)
                spool.truncate()
                others.append(_Other(info.name, digest, size))
            while stream.piece(CHUNK_SIZE):
                pass  # the padding behind the last member
    except tarfile.TarError as error:
        raise DamagedImageError(
            _missing(diff_ids, found, names, others, str(error), origin), hint=origin.hint
        ) from error
    except OSError as error:
        raise (disk_error(error, folder) or error) from error
    if wanted - set(found):
        raise DamagedImageError(_missing(diff_ids, found, names, others, "", origin), hint=origin.hint)
    return [found[diff_id] for diff_id in diff_ids]


def _copy(member: _Member, info: tarfile.TarInfo, spool: Any) -> tuple[str, int]:
    """Append a member, unpacked, to the spool; the digest and the size of what was written."""
    try:
        return unpack(member, spool)
    except UnpackError as error:
        raise tarfile.ReadError(f"{info.name} cannot be decompressed: {error}") from error


def _is_plain(path: Path, info: tarfile.TarInfo) -> bool:
    """Whether a member lies in the archive ``path`` as it is, not compressed."""
    with path.open("rb") as file:
        return info.sparse is None and not is_packed(os.pread(file.fileno(), MAGIC_SIZE, info.offset_data))


class _Nowhere(io.RawIOBase):
    """Takes bytes that are needed for their digest only."""

    def write(self, data: Any, /) -> int:
        return len(data)

    def tell(self) -> int:
        return 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return 0

    def truncate(self, size: int | None = None, /) -> int:
        return 0


class _Stream:
    """What tarfile needs of a file, over pieces that come once; its own streams copy every byte three times."""

    def __init__(self, source: PieceReader) -> None:
        self._source = source
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        """Move on; never back."""
        if position < self._position:
            raise tarfile.ReadError(f"the archive leads back from byte {self._position} to {position}")
        while self._position < position and self.piece(position - self._position):
            pass

    def read(self, size: int) -> bytes:
        """As a file does: fewer bytes than ``size`` only at the end."""
        parts = []
        while size and (data := self.piece(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def piece(self, size: int) -> Piece:
        """The next bytes, at most ``size``, not copied."""
        data = self._source.read(size)
        self._position += len(data)
        return data


class _Member:
    """A member that is as long as its header says, or an error."""

    def __init__(self, archive: tarfile.TarFile, stream: _Stream, info: tarfile.TarInfo) -> None:
        # A sparse one is read as what it stands for.
        expanded = archive.extractfile(info) if info.sparse is not None else None
        self._next: Callable[[int], Piece] = expanded.read if expanded else stream.piece
        self._info = info
        self._left = info.size

    def read(self, size: int) -> Piece:
        if not self._left:
            return b""
        data = self._next(min(size, self._left))
        self._left -= len(data)
        if not data:
            found = self._info.size - self._left
            raise tarfile.ReadError(f"{self._info.name} ends after {found} of {self._info.size} bytes")
        return data


def _layer_names(manifest: bytes) -> list[str]:
    """The names of the layers' members in order, where the archive tells; for messages only."""
    try:
        layers = json.loads(manifest)[0]["Layers"]
        return [str(name) for name in layers]
    except (ValueError, LookupError, TypeError):
        return []


def _missing(
    diff_ids: Sequence[str],
    found: dict[str, Layer],
    names: Sequence[str],
    others: Sequence[_Other],
    reason: str,
    origin: Origin,
) -> str:
    """Say which layer is missing, and what came in its place."""
    number = next((i for i, diff_id in enumerate(diff_ids) if diff_id not in found), None)
    if number is None:
        return f"the image's archive is damaged behind its last layer: {reason}"
    message = f"layer {number + 1} of {len(diff_ids)} ({diff_ids[number]}) "
    name = names[number] if len(names) == len(diff_ids) else None
    instead = next((member for member in others if member.name == name), None)
    if reason:
        return f"{message}did not arrive whole: {reason}"
    if instead is not None:
        return f"{message}arrived with the digest {instead.digest} ({instead.size} bytes)"
    return f"{message}is not in {origin.place}"
