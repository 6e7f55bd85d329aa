"""Version numbers as programs print them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBERS = re.compile(r"\d+(\.\d+)*")


def version_numbers(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with, to be compared: of "8.2.2 (Debian)" 8, 2, 2; none where it has none."""
    found = _NUMBERS.match(text)
    return tuple(map(int, found[0].split("."))) if found else ()


def version_text(numbers: Sequence[int]) -> str:
    """The same as people write it."""
    return ".".join(map(str, numbers))
