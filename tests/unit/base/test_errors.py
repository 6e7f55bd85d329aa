"""The tree that the module of errors draws is the tree that it has."""

from __future__ import annotations

import re

from gns3_minivm.base import errors
from tests.support.reference import error_classes

_LINE = re.compile(r"^ {4}((?:[│ ] {3})*)(?:[├└]── )([A-Za-z0-9]+) {2,}(?:.*?)(?: exit status (\d))?$", re.MULTILINE)


def drawn() -> dict[str, tuple[str, int]]:
    """What the drawing says: each error's parent and exit status, which is 1 where nothing is said."""
    found: dict[str, tuple[str, int]] = {}
    above = ["MiniVMError"]
    for indent, name, status in _LINE.findall(errors.__doc__ or ""):
        depth = len(indent) // 4 + 1
        found[name] = (above[depth - 1], int(status or 1))
        above[depth:] = [name]
    return found


def test_the_drawing_has_every_error_below_its_parent_with_its_exit_status() -> None:
    there = {kind.__name__: (str(kind.__base__ and kind.__base__.__name__), kind.exit_status)
             for kind in error_classes()}  # fmt: skip
    assert drawn() == there
    assert list(drawn()) == list(there)


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in error_classes()]
    assert len(set(codes)) == len(codes)
