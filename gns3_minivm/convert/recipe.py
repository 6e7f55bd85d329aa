"""A disk's recipe: everything that its bytes depend on, known before a byte of the image is fetched."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.artifacts import recipe_id, server_filename
from gns3_minivm.convert.options import Compression, DiskOptions
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images.model import ImageInfo

FORMAT = 2
"""Raise it when the same image and options give other bytes: a file name stands for the same bytes for ever.

2: a symbolic link keeps its own time where a hard link to it gives another."""


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
        """The file system's UUID."""
        return filesystem_uuid(self.id)

    @property
    def hash_seed(self) -> bytes:
        """The seed of the file system's directory hashes, 16 bytes."""
        return _derived("ext4 hash seed", self.id)


def filesystem_uuid(recipe: str) -> bytes:
    """The UUID that a recipe's ID yields: 16 bytes, version 8 (RFC 9562: custom, here from a hash)."""
    value = bytearray(_derived("ext4 uuid", recipe))
    value[6] = value[6] & 0x0F | 0x80
    value[8] = value[8] & 0x3F | 0x80
    return bytes(value)


def _derived(purpose: str, recipe: str) -> bytes:
    return hashlib.sha256(f"{purpose} {recipe}".encode()).digest()[:16]


@dataclass(frozen=True)
class FoundRecipe:
    """The recipe of a finished disk, in its canonical form."""

    id: str
    recipe: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        keys = ("format", "architecture", "size_bytes", "compression")
        return {"id": self.id, **{key: self.recipe[key] for key in keys}}


def find_recipe(
    uuid: bytes, config: GuestConfig, diff_ids: tuple[str, ...], sizes: Iterable[int]
) -> FoundRecipe | None:
    """The recipe that yields a file system's UUID, found by trial from what the disk says; None if there is none.

    ``sizes`` are those that the disk may have had when it was made: a guest's disk may have grown since.
    """
    info = ImageInfo(
        reference="", name="", version="", architecture=X86_64.oci, diff_ids=diff_ids, config=config, size_bytes=None
    )
    for size_bytes, compression in itertools.product(dict.fromkeys(sizes), get_args(Compression)):
        latest = DiskRecipe(info, DiskOptions(size_bytes=size_bytes, compression=compression)).as_dict()
        for number in range(FORMAT, 0, -1):
            recipe = latest | {"format": number}
            if filesystem_uuid(recipe_id(recipe)) == uuid:
                return FoundRecipe(recipe_id(recipe), recipe)
    return None
