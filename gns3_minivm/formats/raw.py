"""A raw disk image: the disk's bytes as they are, no format at all."""

from __future__ import annotations

import os
from typing import BinaryIO

from gns3_minivm.base.errors import DamagedImageError, HostError
from gns3_minivm.base.streams import read_at


class RawDisk:
    """A BlockSource of a seekable binary file, which is left open; ``name`` is for messages."""

    def __init__(self, stream: BinaryIO, name: str = "the disk file") -> None:
        self._file = stream
        self._name = name
        try:
            self.size = stream.seek(0, os.SEEK_END)
        except OSError as error:
            raise HostError(f"cannot read {name}: {error.strerror}") from error

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from the byte ``offset`` of the disk."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise DamagedImageError(f"{self._name} ends at byte {self.size}, before {offset + size}")
        try:
            data = read_at(self._file, offset, size)
        except OSError as error:
            raise HostError(f"cannot read {self._name}: {error.strerror}") from error
        if len(data) < size:
            raise DamagedImageError(f"{self._name} ends at byte {offset + len(data)}, before {offset + size}")
        return data
