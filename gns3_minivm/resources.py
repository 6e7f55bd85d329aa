"""Finds the files of ``kernel/`` and ``appliances/``.

In a wheel they lie below the package, in a checkout (and in an editable install) beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gns3_minivm.errors import BugError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: Literal["kernel", "appliances"]) -> Path:
    """The folder ``kernel`` or ``appliances`` of this installation."""
    for candidate in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise BugError(f"the folder {name} is missing from this installation", hint="Install gns3-minivm again.")
