"""Runs the command line: the one top-level handler of errors and interruptions."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from gns3_minivm.base.errors import BugError, MiniVMError
from gns3_minivm.cli.frame.commands import cli
from gns3_minivm.cli.frame.progress import JsonLines
from gns3_minivm.cli.frame.session import Session

INTERRUPTED = 130


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 usage, 3 partly done, 130 interrupted."""
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
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (as in `| head`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001  (the last resort: a defect is told as one, never a bare traceback)
        if session.verbose:
            import traceback

            traceback.print_exc()
        session.show_error(
            BugError(
                f"{type(error).__name__}: {error} (a defect of gns3-minivm)",
                hint="Please report it, with the output of the same command with --verbose.",
            )
        )
        return 1
