"""Sizes as users write them."""

from __future__ import annotations

import re

_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d{1,12})\s*([KMGT])(?:i?B)?", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int | None:
    """Bytes of a size such as ``8G`` or ``512M`` (units of 1024, as QEMU counts); None for what is no size."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) << _UNITS[match[2].upper()] if match else None
