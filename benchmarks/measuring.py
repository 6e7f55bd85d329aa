"""Times of whole programs, and their peak of memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What the kernel writes into /proc/PID/status is the process's own peak; getrusage's maxrss begins with that of the
# process that started it.
PROGRAM = """
import atexit, os
def tell():
    with open("/proc/self/status") as status, open(os.environ["BENCHMARK_PEAK"], "w") as target:
        target.write(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
atexit.register(tell)
from gns3_minivm.cli import main
main()
"""


@dataclass(frozen=True)
class Sample:
    """One run: wall and CPU time (user and system, of all its processes but the engine's), peak of resident memory."""

    wall_s: float
    cpu_s: float
    peak_kib: int | None = None


class FailedError(Exception):
    """A measured program has failed."""


def run(words: Sequence[str], folder: Path, environ: Mapping[str, str] = os.environ) -> Sample:
    """Run a program in ``folder`` to its end; its output is shown only if it fails."""
    # What others have written to the disk so far shall not be paid by this program's fsync.
    os.sync()
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            words, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            text = output.read()[-3000:].decode("utf-8", "replace")
            raise FailedError(f"{' '.join(words)} ended with {process.returncode}:\n{text}")
    return Sample(wall_s, usage.ru_utime + usage.ru_stime)


def run_shell(script: str, folder: Path) -> Sample:
    """Run a shell script, which stops at the first command that fails."""
    return run(["bash", "-c", f"set -euo pipefail\n{script}"], folder)


def run_ours(words: Sequence[str], folder: Path) -> Sample:
    """Run ``gns3-minivm`` with this interpreter; the sample has its peak of memory."""
    peak = folder / "peak"
    sample = run([sys.executable, "-c", PROGRAM, *words], folder, {**os.environ, "BENCHMARK_PEAK": str(peak)})
    return Sample(sample.wall_s, sample.cpu_s, int(peak.read_text()))


def interpreter_start(repeats: int, folder: Path) -> float:
    """The least seconds that the interpreter takes to do nothing."""
    return min(run([sys.executable, "-c", "pass"], folder).wall_s for _ in range(repeats))
