"""What a user can choose about a disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gns3_minivm.base.errors import UsageError
from gns3_minivm.base.sizes import parse_bytes

Compression = Literal["zstd", "zlib", "none"]

SIZE_DEFAULT = 8 << 30
"""Costs next to nothing in the file: unused space is not stored."""
SIZE_MIN = 16 << 20
SIZE_MAX = 16 << 40
SIZE_UNIT = 1 << 20


@dataclass(frozen=True, kw_only=True)
class DiskOptions:
    """``size_bytes`` is the virtual size of the disk; ``compression`` that of its clusters in the qcow2 file."""

    size_bytes: int = SIZE_DEFAULT
    compression: Compression = "zstd"


def parse_size(text: str) -> int:
    """Bytes of a size such as ``8G`` or ``512M`` (units of 1024, as QEMU counts).

    Raises UsageError for anything else, and for sizes that a disk cannot have.
    """
    size_bytes = parse_bytes(text)
    if size_bytes is None:
        raise UsageError(f"the disk size {text!r} is not a size", hint="Write a number and a unit, as in 512M or 8G.")
    if not SIZE_MIN <= size_bytes <= SIZE_MAX or size_bytes % SIZE_UNIT:
        raise UsageError(
            f"the disk size {text!r} is {size_bytes} bytes; allowed are whole MiB from {SIZE_MIN >> 20}M to "
            f"{SIZE_MAX >> 40}T"
        )
    return size_bytes
