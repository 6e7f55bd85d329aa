"""Writes docs/reference/cli.md, docs/reference/errors.md and the table of docs/internals/architecture.md from the code.

Run ``python -m tests.support.reference`` after a change of options, errors or rooms; a test holds the pages against it.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from gns3_minivm.base import errors
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
    """All error classes with code, exit status and meaning, as Markdown; the meanings are those of the module's tree."""
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
        "An error is one message on standard error, with a hint that says what to do. With `--json` it is the last line",
        'of standard output: `{"event": "error", "code": ..., "message": ..., "hint": ...}`. The codes are stable.',
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


def architecture_page() -> str:
    """The page as it stands, with the table of rooms as it is now."""
    text = (DOCS / "internals" / "architecture.md").read_text(encoding="utf-8")
    before, start, rest = text.partition("<!-- rooms: written by `python -m tests.support.reference` -->\n")
    _, end, after = rest.partition("<!-- end of rooms -->\n")
    assert start and end, "the marks around the table are gone"
    return f"{before}{start}\n{table()}\n\n{end}{after}"


if __name__ == "__main__":
    (DOCS / "internals" / "architecture.md").write_text(architecture_page(), encoding="utf-8")
    (DOCS / "reference" / "cli.md").write_text(cli_page(), encoding="utf-8")
    (DOCS / "reference" / "errors.md").write_text(errors_page(), encoding="utf-8")
