"""All commands, found by walking from the top."""

from __future__ import annotations

from collections.abc import Iterator

import click

from gns3_minivm.cli.frame.commands import cli


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.commands:
            yield from _commands(command.commands[name], (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(_commands(cli))
"""Each command by its words, as in "lab up"."""


def label(parameter: click.Parameter) -> str:
    """What a user calls it."""
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else str(parameter.name)


def options_of(command: str) -> set[str]:
    """All that may be written for an option of a command."""
    return {word for one in COMMANDS[command].params if isinstance(one, click.Option) for word in one.opts}
