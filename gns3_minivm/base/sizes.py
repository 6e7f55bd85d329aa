"""Sizes as users write and read them."""

from __future__ import annotations

import re

_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d{1,12})\s*([KMGT])(?:i?B)?", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int | None:
    """Bytes of a size such as ``8G`` or ``512M`` (units of 1024, as QEMU counts); None for what is no size."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) << _UNITS[match[2].upper()] if match else None


def size(size_bytes: int) -> str:
    """A file size for people: "4.3 kB", "5.4 MB"."""
    if size_bytes < 100_000:
        return f"{size_bytes / 1e3:.1f} kB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.2f} GB"
