"""The command line: one rendering of ``ops`` and of its event stream."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``gns3-minivm`` program; ends the process with the exit status of docs/reference/errors.md."""
    from gns3_minivm.cli.frame.run import run_command_line

    raise SystemExit(run_command_line())
