"""Where ext4 and qcow2 meet: something that takes bytes at disk offsets, and something that gives them back."""

from __future__ import annotations

from typing import Protocol


class BlockSink(Protocol):
    """A disk being written: any order, every byte at most once, what was never written reads as zeros."""

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` at the byte ``offset`` of the disk; offset and length need no alignment."""


class BlockSource(Protocol):
    """A disk being read."""

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from the byte ``offset`` of the disk."""
