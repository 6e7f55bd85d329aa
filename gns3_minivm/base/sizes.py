"""Sizes as users write and read them.

Sizes are told in the units in which they are given:

* What users state with ``--size 8G`` or ``--cache-size 20G`` counts in units of 1024, and so does what is measured
  against it: disks, file systems and their free space, the cache.  ``binary_size`` tells them as GiB, MiB and KiB.
* Sizes of files, of downloads and uploads, and rates are decimal, as web servers and networks tell them: ``size`` tells
  them as GB, MB and kB.
* Memory is told as the number that users give, with the "MB" of GNS3's own dialogs (which means MiB).
"""

from __future__ import annotations

import re

_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d{1,12})\s*([KMGT])(?:i?B)?", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int | None:
    """Bytes of a size such as ``8G`` or ``512M`` (units of 1024, as QEMU counts); None for anything else."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) << _UNITS[match[2].upper()] if match else None


def binary_size(size_bytes: int) -> str:
    """A size in units of 1024 for people: "8 GiB", "1.5 GiB", "1025 MiB"; others are rounded: "7.63 GiB"."""
    if size_bytes < 1024:
        return f"{size_bytes} byte{'' if size_bytes == 1 else 's'}"
    largest_first = [(letter, size_bytes / (1 << shift)) for letter, shift in reversed(_UNITS.items())]
    for letter, amount in largest_first:
        if 1 <= amount < 10_000 and round(amount, 2) == amount:
            return f"{amount:.10g} {letter}iB"
    letter, amount = next(one for one in largest_first if one[1] >= 1)
    return f"{amount:.2f} {letter}iB"


def size(size_bytes: int) -> str:
    """A file size for people: "4.3 kB", "5.4 MB"."""
    if size_bytes < 100_000:
        return f"{size_bytes / 1e3:.1f} kB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.2f} GB"
