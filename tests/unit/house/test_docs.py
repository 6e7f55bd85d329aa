"""The documents say what the program does."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest

from gns3_minivm import __version__
from gns3_minivm.cli.frame.commands import cli
from tests.support.documented import GENERATED, PAGES, ROOT, commands_of, mentioned_in
from tests.support.reference import TABLES, cli_page, error_classes, errors_page, page_with_table


def test_the_reference_pages_are_up_to_date() -> None:
    hint = "run: python -m tests.support.reference"
    # How help texts are wrapped and aligned is click's affair, and differs between its releases.
    assert (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8").split() == cli_page().split(), hint
    assert (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8") == errors_page(), hint
    for name in TABLES:
        page, text = page_with_table(name)
        assert page.read_text(encoding="utf-8") == text, hint


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in error_classes()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        assert not heading or heading in headings_of(there), f"{page.name}: {target}#{heading}"


def headings_of(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def documented_commands() -> list[str]:
    """Those in lines of their own, which tests/servers/test_documented_commands.py runs, and those in sentences."""
    pages = [page for page in PAGES if page not in GENERATED]
    return [f"{page.name}: {command}" for page in pages for command in (*commands_of(page), *mentioned_in(page))]


@pytest.mark.parametrize("place", documented_commands())
def test_every_command_in_the_documents_exists_with_these_options(place: str) -> None:
    words = shlex.split(place.partition(": ")[2].replace("...", "x"), comments=True)[1:]
    words = words[: words.index("--")] if "--" in words else words  # what follows is for a node
    command: click.Command = cli
    context = click.Context(cli, info_name="gns3-minivm")
    while isinstance(command, click.Group) and words:
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command = found
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = [word.partition("=")[0] for word in words if word.startswith("-") and word not in ("-h", "--help")]
    assert not [word for word in used if word not in known]
    for parameter in command.params:
        # Words in capitals stand for something.
        if isinstance(parameter.type, click.Choice):
            given = [word for option, word in pairwise(words) if option in parameter.opts and not word.isupper()]
            assert set(given) <= set(parameter.type.choices), parameter.name


def test_the_changelog_names_the_current_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_walk_passes_each_file_once() -> None:
    text = (ROOT / "docs" / "internals" / "walk.md").read_text(encoding="utf-8")
    passed = re.findall(r"`([a-z0-9_/]+\.py)`", text)
    assert not [path for path in passed if not (ROOT / "gns3_minivm" / path).is_file()]
    assert len(passed) == len(set(passed)) > 40
    assert len(text.splitlines()) <= 60
