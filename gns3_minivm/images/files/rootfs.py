"""``rootfs:FILE.tar``: the tar file of a whole root, compressed or not, such as debootstrap or ``docker export`` makes.

It is an image of one layer.  It does not say what to run, so its guest runs what a root runs by default
(kernel/CONTRACT.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images.files.archive_file import FileState, unpacked_pieces
from gns3_minivm.images.model import Image, ImageInfo, Layer
from gns3_minivm.images.unpack import PieceReader, unpack

_BLOCK = 512
_MAGIC = slice(257, 262)


class RootfsImage(Image):
    """The root in a tar file, which is read once for its digest and once more for its bytes.

    It is unpacked into the spool if it is compressed, and used where it lies if not.
    """

    def __init__(self, info: ImageInfo, path: Path, state: FileState) -> None:
        self.info = info
        self._path = path
        self._state = state

    def confirm(self) -> None:
        self._state.confirm()

    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        self.confirm()
        if not self._state.packed:
            size = self._path.stat().st_size
            progress(size)
            return [Layer(self.info.diff_ids[0], self._path, 0, size)]
        target = spool / "layer"
        try:
            with target.open("wb", buffering=0) as stream:
                # Unpacked already, and no member of it may be taken for a compressed file.
                reader = PieceReader(unpacked_pieces(self._path), progress)
                found, size = unpack(reader, stream)
        except OSError as error:
            raise (disk_error(error, spool) or error) from error
        if found != self.info.diff_ids[0]:
            raise DamagedImageError(f"{self._path} changed while it was being read", hint="Run the command again.")
        return [Layer(found, target, 0, size)]


def find_rootfs(place: str) -> RootfsImage:
    """Read the tar file of a root (blocking).

    Raises ImageNotFoundError, DamagedImageError.
    """
    path = Path(place)
    state = FileState(path)
    digest, size, start = hashlib.sha256(), 0, b""
    for data in unpacked_pieces(path):
        start = start or bytes(data[:_BLOCK])
        digest.update(data)
        size += len(data)
    # Every format of tar that is in use but v7 (formats/tar reads that too, but nobody writes it).
    if start[_MAGIC] != b"ustar":
        raise DamagedImageError(f"{path} is not a tar file", hint="rootfs: takes a tar file of a whole root.")
    diff_id = f"sha256:{digest.hexdigest()}"
    info = ImageInfo(
        reference=f"rootfs:{place}",
        name=path.name.partition(".tar")[0].removesuffix(".tgz") or "rootfs",
        version=digest.hexdigest()[:12],
        architecture=X86_64.oci,
        diff_ids=(diff_id,),
        config=GuestConfig(),
        size_bytes=size,
    )
    return RootfsImage(info, path, state)
