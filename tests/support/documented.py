"""The commands and the examples that stand in the documents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = (ROOT / "docs" / "reference" / "cli.md",)
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "kernel").glob("*.md")),
    *sorted((ROOT / "appliances").glob("**/*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_COMMAND = re.compile(r"\s*(?:\$ )?(gns3-minivm .+)")
_IN_A_SENTENCE = re.compile(r"`(gns3-minivm [^`]+)`")


@dataclass(frozen=True)
class Example:
    """A block of a page; ``line`` is that of its first line."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def commands_of(page: Path) -> list[str]:
    """The ``gns3-minivm`` commands of a page that stand in lines of their own, each once, in their order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(match[1] for line in lines if (match := _COMMAND.fullmatch(line))))


def mentioned_in(page: Path) -> list[str]:
    """The commands that stand in a page's sentences."""
    return list(dict.fromkeys(_IN_A_SENTENCE.findall(page.read_text(encoding="utf-8"))))


def examples_of(page: Path, language: str) -> list[Example]:
    """The blocks of a page that are marked with a language."""
    text = page.read_text(encoding="utf-8")
    blocks = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [
        Example(page, text.count("\n", 0, block.start(2)) + 1, block[1], block[2])
        for block in blocks
        if block[1] == language
    ]
