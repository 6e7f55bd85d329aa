"""Texts for users do without phrases that are wrong wherever they stand (docs/internals/style.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import modules, name_of

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "kernel" / "CONTRACT.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES.remove(ROOT / "docs" / "internals" / "style.md")  # it shows what not to write

PHRASES = [
    r"\b(is|are|was) none\b(?! of)",
    r"(?<!there )\bis no (?!longer\b|more\b|faster\b|slower\b|larger\b|smaller\b|better\b)",
    r"\bof other origin\b",
    r"\bthat lacks\b",
    r"\bcannot be had\b",
    r"\bnot to be (had|found out)\b",
    r"\b(is|are) there (already|twice)\b",
    r"\bknows nothing of\b",
    r"'s (own )?affair\b",
    r"\bnobody has (named|said)\b",
    r"\bif that is meant\b",
]


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts that a program can show: all but docstrings; what stands for a value is an X."""
    shown_elsewhere = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            shown_elsewhere |= {id(part) for part in node.values}
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in shown_elsewhere:
            yield node.lineno, node.value


def helps(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The docstrings of commands, which click shows."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.decorator_list and (text := ast.get_docstring(node)):
            yield node.lineno, text


def found_in(text: str) -> str | None:
    """The first phrase in a text that must not be there."""
    flat = " ".join(text.split())
    return next((match[0] for phrase in PHRASES if (match := re.search(phrase, flat, re.IGNORECASE))), None)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("the size 'x' is no size", "is no "),
        ("the age 'x' is none", "is none"),
        ("a template of other\n  origin", "of other origin"),
        ("there is no server named 'a'", None),
        ("a kernel that is no longer needed", None),
        ("this is none of them", None),
    ],
)
def test_a_phrase_is_found_over_the_end_of_a_line(text: str, phrase: str | None) -> None:
    assert found_in(text) == phrase


def test_no_text_for_users_has_such_a_phrase() -> None:
    wrong = []
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        shown = [*texts(tree), *(helps(tree) if name_of(path).startswith("cli") else ())]
        wrong += [f"{name_of(path)}:{line}: {phrase}" for line, text in shown if (phrase := found_in(text))]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_such_a_phrase(page: Path) -> None:
    found = found_in(page.read_text(encoding="utf-8"))
    assert found is None
