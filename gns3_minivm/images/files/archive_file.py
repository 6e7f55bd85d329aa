"""Archives of images in files, as ``docker save``, ``podman save`` and ``skopeo copy`` write them.

The archive may be compressed as a whole.  It is gone through once for its documents (manifest, index, configuration:
whatever starts like JSON and is small) and once more for the layers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from gns3_minivm.base.cancel import checkpoint
from gns3_minivm.base.errors import DamagedImageError, ImageNotFoundError
from gns3_minivm.images.files.archive import Origin, spool_layers
from gns3_minivm.images.files.members import ArchiveError, FileSource, Members, StreamSource
from gns3_minivm.images.model import Image, ImageInfo, Layer
from gns3_minivm.images.registry.manifests import DOCUMENT_MAX
from gns3_minivm.images.unpack import CHUNK_SIZE, MAGIC_SIZE, Piece, PieceReader, UnpackError, is_packed, open_packed

MEMBERS_MAX = 100_000
_DOCUMENTS_MAX = 64 << 20
HINT = "Save the image again."


class ArchiveImage(Image):
    """An image in an archive; its layers are found by their diff IDs."""

    def __init__(self, info: ImageInfo, path: Path) -> None:
        self.info = info
        self._path = path
        self._state: FileState | None = None

    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        self._state = FileState(self._path)
        origin = Origin(place=str(self._path), hint=HINT)
        in_place = None if self._state.packed else self._path
        return spool_layers(unpacked_pieces(self._path), self.info.diff_ids, spool, progress, origin, in_place)

    def confirm(self) -> None:
        if self._state is not None:
            self._state.confirm()


class FileState:
    """What a file of the user's is when it is read first, to tell later whether it is still the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with open_file(path) as stream:
            self._status = _status(os.fstat(stream.fileno()))
            self.packed = is_packed(stream.read(MAGIC_SIZE))

    def confirm(self) -> None:
        """Raise DamagedImageError if it has changed."""
        try:
            found = _status(self._path.stat())
        except OSError:
            found = None
        if found != self._status:
            raise DamagedImageError(f"{self._path} changed while it was being read", hint="Run the command again.")


def _status(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def open_file(path: Path) -> IO[bytes]:
    """Open a file that the user has named; raises ImageNotFoundError."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ImageNotFoundError(f"{path} is a folder, not a file", hint="Use oci:FOLDER for an image in a folder.")
        # Pipes come once, and some devices without end.
        if not stat.S_ISREG(kind):
            raise ImageNotFoundError(
                f"{path} is not a regular file", hint="Its content is read more than once: write it to a file first."
            )
        return path.open("rb")
    except OSError as error:
        raise ImageNotFoundError(f"{path} cannot be read: {error.strerror}") from error


def split_place(place: str) -> tuple[Path, str]:
    """Split ``PATH[:NAME]``; a path may have colons itself if it exists."""
    ends = [at for at, letter in enumerate(place) if letter == ":"]
    end = next((at for at in [*ends, len(place)] if os.path.exists(place[:at])), ends[0] if ends else len(place))
    return Path(place[:end]), place[end + 1 :]


def unpacked_pieces(path: Path) -> Iterator[Piece]:
    """The bytes of a file that may be compressed; raises DamagedImageError, ImageNotFoundError."""
    with open_file(path) as stream:
        reader = open_packed(stream)
        try:
            while data := reader.read(CHUNK_SIZE):
                checkpoint()
                yield data
        except UnpackError as error:
            raise DamagedImageError(f"{path} cannot be unpacked: {error}", hint=HINT) from error


def read_documents(path: Path) -> dict[str, bytes]:
    """The small members of an archive that start like JSON, by name."""
    documents: dict[str, bytes] = {}
    total = 0
    try:
        with open_file(path) as stream:
            packed = is_packed(stream.read(MAGIC_SIZE))
            stream.seek(0)
            # In a file that is not compressed, layers are passed by without being read.
            source = StreamSource(PieceReader(unpacked_pieces(path))) if packed else FileSource(stream)
            members = Members(source)
            for number, member in enumerate(members):
                checkpoint()
                if number >= MEMBERS_MAX:
                    raise DamagedImageError(
                        f"{path} holds more than {MEMBERS_MAX} files, too many for an image", hint=HINT
                    )
                if not 2 <= member.size <= DOCUMENT_MAX:
                    continue
                start = bytes(members.read(1))
                if start in (b"{", b"["):
                    total += member.size
                    if total > _DOCUMENTS_MAX:
                        raise DamagedImageError(
                            f"{path} holds more than {_DOCUMENTS_MAX} bytes of documents", hint=HINT
                        )
                    rest = b"".join(iter(lambda: members.read(DOCUMENT_MAX), b""))
                    documents[os.path.normpath(member.name)] = start + rest
    except ArchiveError as error:
        raise DamagedImageError(f"{path} is not a complete tar archive: {error}", hint=HINT) from error
    except OSError as error:
        raise ImageNotFoundError(f"{path} cannot be read: {error.strerror or error}") from error
    return documents
