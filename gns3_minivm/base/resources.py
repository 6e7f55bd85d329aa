"""Finds the files of ``kernel/`` and ``appliances/``, and the licence.

In a wheel they lie below the package, in a checkout (and in an editable install) beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gns3_minivm.base.errors import BugError

_PACKAGE = Path(__file__).resolve().parents[1]


def folder(name: Literal["kernel", "appliances"]) -> Path:
    """The folder ``kernel`` or ``appliances`` of this installation."""
    for candidate in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise BugError(f"the folder {name} is missing from this installation", hint="Install gns3-minivm again.")


def licence() -> str:
    """The text of our own licence."""
    # Where it lies in an installation depends on what built the wheel.
    for name in ("licenses/LICENSE", "LICENSE"):
        if text := _installed(name):
            return text
    checkout = _PACKAGE.parent / "LICENSE"
    if checkout.is_file():
        return checkout.read_text(encoding="utf-8")
    raise BugError("the licence is missing from this installation", hint="Install gns3-minivm again.")


def _installed(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.distribution("gns3-minivm").read_text(name)
    except metadata.PackageNotFoundError:
        return None
