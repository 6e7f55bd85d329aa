"""Which of two versions of a Debian package is the newer one.

Source: deb-version(7), https://manpages.debian.org/bookworm/dpkg-dev/deb-version.7.en.html, "Sorting algorithm".
"""

from __future__ import annotations

import re
from typing import Any

_PIECES = re.compile(r"(\D*)(\d*)")


def version_key(version: str) -> tuple[Any, ...]:
    """A value that sorts as the version does: [EPOCH:]UPSTREAM[-REVISION]."""
    epoch, colon, rest = version.partition(":")
    epoch, rest = (epoch, rest) if colon else ("0", version)
    upstream, dash, revision = rest.rpartition("-")
    upstream, revision = (upstream, revision) if dash else (rest, "0")
    return int(epoch) if epoch.isdecimal() else 0, _part_key(upstream), _part_key(revision)


def _part_key(text: str) -> tuple[Any, ...]:
    # The last piece is empty: what ends here sorts before what goes on, and after what goes on with a tilde.
    return tuple((_text_key(letters), int(digits or 0)) for letters, digits in _PIECES.findall(text))


def _text_key(text: str) -> tuple[int, ...]:
    """A tilde sorts before the end, letters after it, all else after letters."""
    return (*(-1 if sign == "~" else ord(sign) + (0 if sign.isalpha() else 256) for sign in text), 0)
