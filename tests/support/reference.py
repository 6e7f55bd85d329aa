"""Writes docs/reference/cli.md, docs/reference/errors.md and tables in other pages, from the code.

Run ``python -m tests.support.reference`` after a change of options, errors or rooms; a test holds the pages against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click

from gns3_minivm.base import errors
from gns3_minivm.template_settings.table import Place, Row, rows
from tests.support.house import table

DOCS = Path(__file__).parents[2] / "docs"


def cli_page() -> str:
    """All commands with their options, as Markdown."""
    from gns3_minivm.cli.frame.commands import cli

    parts = ["# Commands\n\nWritten by `python -m tests.support.reference`; do not edit.\n"]
    for name, command in _commands("gns3-minivm", cli):
        # The names of the help option are inherited from the top when the program runs.
        context = click.Context(
            command, info_name=name, color=False, terminal_width=100, max_content_width=100, **cli.context_settings
        )
        parts.append(f"## `{name}`\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    found = [(name, command)]
    if isinstance(command, click.Group):
        for child in sorted(command.commands):
            found += _commands(f"{name} {child}", command.commands[child])
    return found


def errors_page() -> str:
    """All error classes with code, exit status and meaning (from the module's tree), as Markdown."""
    meanings = dict(
        re.findall(
            r"^[\s│├└─]*([A-Za-z0-9]+Error) {2,}(.+?)(?: {2,}exit status \d)?$", errors.__doc__ or "", re.MULTILINE
        )
    )
    lines = [
        "# Errors",
        "",
        "Written by `python -m tests.support.reference`; do not edit.",
        "",
        "An error is one message on standard error, with a hint that says what to do. With `--json` it is the last",
        'line of standard output: `{"event": "error", "code": ..., "message": ..., "hint": ...}`.',
        "The codes are stable.",
        "",
        "Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 done on some servers only, 130 interrupted.",
        "",
        "| code | exit status | when |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{kind.code}` | {kind.exit_status} | {meanings[kind.__name__]} |" for kind in error_classes()]
    return "\n".join(lines) + "\n"


def error_classes() -> list[type[errors.MiniVMError]]:
    """All classes of the error tree but its root, in the order of the module."""
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [kind for kind in found if issubclass(kind, errors.MiniVMError) and kind is not errors.MiniVMError]


def settings_table(place: Place) -> str:
    """The template settings that can be written at a place, as Markdown."""
    if place == "manifest":
        lines = ["| key | default | meaning |", "| --- | --- | --- |"]
        return "\n".join([*lines, *(f"| `{row.name}` | {_default(row)} | {_meaning(row)} |" for row in rows(place))])
    return "\n".join(
        ["| key | what it says |", "| --- | --- |", *(f"| `{r.name}` | {_meaning(r)} |" for r in rows(place))]
    )


def _meaning(row: Row) -> str:
    choices = f" One of {', '.join(f'`{choice}`' for choice in row.choices)}." if len(row.choices) > 1 else ""
    limits = f" {row.minimum} to {row.maximum}{' MB' if row.unit == 'MB' else ''}." if row.kind is int else ""
    return f"{row.help}{limits}{choices}"


def _default(row: Row) -> str:
    value = str(row.default).lower() if row.kind is bool else row.default
    return row.usually or f"`{value}`"


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "rooms": ("internals/architecture.md", table),
    "settings of a catalogue": ("use/catalogue.md", lambda: settings_table("catalogue")),
    "settings of a lab": ("use/labs.md", lambda: settings_table("lab")),
    "settings of a manifest": ("use/appliances.md", lambda: settings_table("manifest")),
}
"""Tables in pages that people write: the page, and what makes the table."""


def page_with_table(name: str) -> tuple[Path, str]:
    """A page and its text, with the table of this name as it is now."""
    page, make = TABLES[name]
    path = DOCS / page
    before, start, rest = path.read_text(encoding="utf-8").partition(
        f"<!-- {name}: written by `python -m tests.support.reference` -->\n"
    )
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    assert start and end, f"{page}: the marks around the table are gone"
    return path, f"{before}{start}\n{make()}\n\n{end}{after}"


if __name__ == "__main__":
    for table_name in TABLES:
        path, text = page_with_table(table_name)
        path.write_text(text, encoding="utf-8")
    (DOCS / "reference" / "cli.md").write_text(cli_page(), encoding="utf-8")
    (DOCS / "reference" / "errors.md").write_text(errors_page(), encoding="utf-8")
