"""Runs the command line: the one top-level handler of errors and interruptions."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from gns3_minivm.cli.progress import JsonLines, Renderer, choose
from gns3_minivm.config import Settings
from gns3_minivm.errors import BugError, MiniVMError
from gns3_minivm.events import Events

T = TypeVar("T")

INTERRUPTED = 130


class Session:
    """What every command gets: the settings, and where events and results go."""

    def __init__(self) -> None:
        self.as_json = False
        self.quiet = False
        self.verbose = False
        self.settings = Settings.from_environment()
        self._renderer: Renderer | None = None

    @property
    def renderer(self) -> Renderer:
        if self._renderer is None:
            self._renderer = choose(as_json=self.as_json, quiet=self.quiet)
        return self._renderer

    def perform(self, operation: Callable[[Events], Awaitable[T]]) -> T:
        """Run an operation of ``ops`` to its end; SIGTERM stops it as Ctrl-C does."""

        async def cancellable() -> T:
            task = asyncio.current_task()
            assert task is not None
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
            return await operation(Events(self.renderer))

        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            self.renderer.close()

    def show(self, document: dict[str, Any], text: str) -> None:
        """Print a result: the document with ``--json``, else the text."""
        if isinstance(self.renderer, JsonLines):
            self.renderer.write({"event": "result", **document})
        elif text:
            click.echo(text)

    def show_error(self, error: MiniVMError) -> None:
        self.renderer.close()
        if isinstance(self.renderer, JsonLines):
            self.renderer.write({"event": "error", **error.as_dict()})
            return
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 usage, 3 partly done, 130 interrupted."""
    from gns3_minivm.cli.commands import cli

    session = Session()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # A usage error of click's comes before the option has been seen.
        session.as_json = "--json" in words
        status = cli.main(words, prog_name="gns3-minivm", obj=session, standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except MiniVMError as error:
        session.show_error(error)
        return error.exit_status
    except click.ClickException as error:
        if session.as_json:
            JsonLines(sys.stdout).write(
                {"event": "error", "code": "usage", "message": error.format_message(), "hint": ""}
            )
        else:
            error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: nothing half done was left behind", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (as in `| head`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001  (the last resort: a defect is told as one, never a bare traceback)
        if session.verbose:
            traceback.print_exc()
        session.show_error(
            BugError(
                f"{type(error).__name__}: {error} (a defect of gns3-minivm)",
                hint="Please report it with the output of the same command with --verbose.",
            )
        )
        return 1
