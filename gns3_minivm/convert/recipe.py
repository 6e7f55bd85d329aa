"""A disk's recipe: everything that its bytes depend on, known before a byte of the image is fetched."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from gns3_minivm.artifacts import recipe_id, server_filename
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.images.model import ImageInfo

FORMAT = 1
"""Raise it when the same image and options give other bytes: a file name stands for the same bytes for ever."""


@dataclass(frozen=True)
class DiskRecipe:
    """What a disk is made from, and the names that follow from it."""

    info: ImageInfo
    options: DiskOptions

    def as_dict(self) -> dict[str, Any]:
        """The recipe in its canonical form; the names under which a user knows the image are no part of it."""
        return {
            "format": FORMAT,
            "architecture": self.info.architecture,
            "diff_ids": list(self.info.diff_ids),
            "config": [list(pair) for pair in self.info.config.lines()],
            "size_bytes": self.options.size_bytes,
            "compression": self.options.compression,
        }

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return recipe_id(self.as_dict())

    @property
    def filename(self) -> str:
        """The name of the disk on servers: image, version, start of the recipe's ID."""
        return server_filename(self.info.name, self.info.version, self.id, ".qcow2")

    @property
    def uuid(self) -> bytes:
        """The file system's UUID: 16 bytes, version 8 (RFC 9562: custom, here from a hash)."""
        value = bytearray(self._derived("ext4 uuid"))
        value[6] = value[6] & 0x0F | 0x80
        value[8] = value[8] & 0x3F | 0x80
        return bytes(value)

    @property
    def hash_seed(self) -> bytes:
        """The seed of the file system's directory hashes, 16 bytes."""
        return self._derived("ext4 hash seed")

    def _derived(self, purpose: str) -> bytes:
        return hashlib.sha256(f"{purpose} {self.id}".encode()).digest()[:16]
