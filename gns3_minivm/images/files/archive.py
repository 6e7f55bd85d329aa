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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.images.files.members import ArchiveError, ArchiveMember, Members, StreamSource
from gns3_minivm.images.model import Layer
from gns3_minivm.images.unpack import CHUNK_SIZE, MAGIC_SIZE, Piece, PieceReader, UnpackError, is_packed, unpack

_MANIFEST_MAX = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an archive comes from, as messages put it, and what to do if it is damaged."""

    place: str
    hint: str


ENGINE = Origin(
    place="what the engine sent", hint="Run the command again; if the error persists, pull or build the image again."
)


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
    and left where it is.  ``progress`` is called with the bytes of the archive that have arrived.  Raises
    DamagedImageError for a layer that is missing, cut off or changed, DiskFullError if there is no room.
    """
    path = folder / "layers"
    found: dict[str, Layer] = {}
    others: list[_Other] = []
    names: list[str] = []
    wanted = set(diff_ids)
    try:
        stream = StreamSource(PieceReader(pieces, progress))
        members = Members(stream)
        with path.open("wb", buffering=0) as spool:
            for member in members:
                if member.name == "manifest.json" and member.size <= _MANIFEST_MAX:
                    names = _layer_names(b"".join(iter(lambda: members.read(_MANIFEST_MAX), b"")))
                    continue
                offset = spool.tell()
                stays = in_place is not None and _is_plain(in_place, member)
                digest, size = _copy(members, member, _Nowhere() if stays else spool)
                if digest in wanted and digest not in found:
                    place = (in_place, member.offset) if in_place is not None and stays else (path, offset)
                    found[digest] = Layer(digest, *place, size)
                    continue
                spool.seek(offset)
                spool.truncate()
                others.append(_Other(member.name, digest, size))
            while stream.read(CHUNK_SIZE):
                pass  # the padding behind the last member
    except ArchiveError as error:
        raise DamagedImageError(
            _missing(diff_ids, found, names, others, str(error), origin), hint=origin.hint
        ) from error
    except OSError as error:
        raise (disk_error(error, folder) or error) from error
    if wanted - set(found):
        raise DamagedImageError(_missing(diff_ids, found, names, others, "", origin), hint=origin.hint)
    return [found[diff_id] for diff_id in diff_ids]


def _copy(members: Members, member: ArchiveMember, spool: Any) -> tuple[str, int]:
    """Append a member, unpacked, to the spool; the digest and the size of what was written."""
    try:
        return unpack(members, spool)
    except UnpackError as error:
        raise ArchiveError(f"{member.shown} cannot be decompressed: {error}") from error


def _is_plain(path: Path, member: ArchiveMember) -> bool:
    """Whether a member lies in the archive ``path`` as it is, not compressed."""
    with path.open("rb") as file:
        return not is_packed(os.pread(file.fileno(), MAGIC_SIZE, member.offset))


class _Nowhere(io.RawIOBase):
    """Takes bytes that are needed for their digest only."""

    def write(self, data: Any, /) -> int:
        return len(data)

    def tell(self) -> int:
        return 0

    def seek(self, _offset: int, _whence: int = 0, /) -> int:
        return 0

    def truncate(self, _size: int | None = None, /) -> int:
        return 0


def _layer_names(manifest: bytes) -> list[str]:
    """The names of the layers' members in order, where the archive tells; for messages only."""
    try:
        layers = json.loads(manifest)[0]["Layers"]
        return [str(name) for name in layers]
    except (ValueError, LookupError, TypeError, RecursionError):
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
        return f"the image's archive is damaged after its last layer: {reason}"
    message = f"layer {number + 1} of {len(diff_ids)} ({diff_ids[number]}) "
    name = names[number] if len(names) == len(diff_ids) else None
    instead = next((member for member in others if member.name == name), None)
    if reason:
        return f"{message}arrived incomplete: {reason}"
    if instead is not None:
        return f"{message}arrived with the digest {instead.digest} ({instead.size} bytes)"
    return f"{message}is not in {origin.place}"
