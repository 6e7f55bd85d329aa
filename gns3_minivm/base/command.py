"""Runs a program; reports a failure as a command line that can be pasted, with the program's own words."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gns3_minivm.base.cancel import checkpoint, on_cancel
from gns3_minivm.base.errors import HostError, ToolError

_WORDS_SHOWN = 12


def run(
    words: Sequence[str],
    *,
    error: type[HostError] = ToolError,
    hint: str = "",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], bool] | None = None,
    group: bool = False,
) -> str:
    """Run a program to its end and return what it wrote (both streams; blocking).

    ``on_line`` sees each line as it comes; a line for which it returns True is left out of the result.  Raises
    ``error`` if the program fails or is missing; a cancelled caller ends it.  With ``group`` it is for programs that
    start others: all of them are ended, and nobody else's Ctrl-C reaches them.
    """
    shown = shlex.join(words) if folder is None else f"cd {shlex.quote(str(folder))} && {shlex.join(words)}"
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=group,
        )
    except OSError as failure:
        raise error(f"cannot run `{shown}`: {failure.strerror}", hint=hint) from failure
    lines: list[str] = []

    def end() -> None:
        if not group:
            process.terminate()
        elif process.poll() is None:
            # What it has started too: it shall write no more files into a folder that is being removed.
            os.killpg(process.pid, signal.SIGKILL)

    with process:
        try:
            with on_cancel(end):
                assert process.stdout is not None
                for line in process.stdout:
                    if on_line is None or not on_line(line.rstrip("\n")):
                        lines.append(line.rstrip("\n"))
        except BaseException:
            end()
            raise
    checkpoint()
    if process.returncode:
        last = "\n".join(f"  {line}" for line in lines[-_WORDS_SHOWN:] if line.strip())
        how = f"status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise error(f"`{shown}` ended with {how}:\n{last}".rstrip(":\n"), hint=hint)
    return "\n".join(lines)
