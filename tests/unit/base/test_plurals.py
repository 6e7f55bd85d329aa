"""Numbers of things are said as people say them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from gns3_minivm.base.plurals import counted
from tests.support.house import modules, name_of

ALWAYS_SEVERAL = {
    "api.agent": "one server would be meant", "bundle.build": "a kernel has many", "formats.ext4.directory": "a limit",
    "guest.contract": "a limit",
    "labs.desired": "a limit, or not to be told apart", "ops.boot": "not to be told apart",
    "ops.gns3a.template": "not to be told apart", "ops.labs.find": "not to be told apart",
    "ops.templates.reconcile": "one server is said otherwise", "ops.templates.remove": "not to be told apart",
}  # fmt: skip
"""Where one thing is never counted, and why."""
_SEVERAL = re.compile(r" (?!of |bytes\b)(\w+ )?(?!bytes\b)\w+s\b")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (counted(1, "node"), "1 node"),
        (counted(2, "node"), "2 nodes"),
        (counted(0, "node"), "0 nodes"),
        (counted(1, "entry", "entries"), "1 entry"),
        (counted(2, "entry", "entries"), "2 entries"),
    ],
)
def test_one_thing_is_no_plural(said: str, text: str) -> None:
    assert said == text


def lengths_before_plurals(tree: ast.AST) -> Iterator[ast.JoinedStr]:
    for text in ast.walk(tree):
        for value, after in zip(text.values, text.values[1:], strict=False) if isinstance(text, ast.JoinedStr) else ():
            is_length = isinstance(value, ast.FormattedValue) and ast.unparse(value.value).startswith("len(")
            if is_length and isinstance(after, ast.Constant) and _SEVERAL.match(str(after.value)):
                assert isinstance(text, ast.JoinedStr)
                yield text


def test_no_text_has_a_length_before_a_plural() -> None:
    """``counted`` says "1 node"; sizes in bytes are no things."""
    wrong = [
        f"{name_of(path)}:{text.lineno}"
        for path in modules()
        if name_of(path) not in ALWAYS_SEVERAL
        for text in lengths_before_plurals(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not wrong
