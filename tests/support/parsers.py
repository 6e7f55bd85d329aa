"""The guest's parsers (kernel/init) compiled for this machine, as a program."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from gns3_minivm.base import resources
from tests.support.tools import require_tool

FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-pedantic-errors", "-Werror", "-g"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


class Parsers:
    """Asks one parser at a time; every memory fault and undefined operation ends it with an error."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, what: str, data: bytes) -> list[tuple[str, str]]:
        # Memory of boot-time code is never given back.
        environment = {"ASAN_OPTIONS": "detect_leaks=0"}
        done = subprocess.run([self.path, what], input=data, capture_output=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        values = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
        return [(key, value) for key, _, value in (item.partition(" ") for item in values)]


def compile_parsers(folder: Path) -> Parsers:
    return Parsers(compile_guest(folder / "parsers", "guest_parsers.c", without=("main.c",)))


def compile_guest(output: Path, harness: str, without: Sequence[str]) -> Path:
    """Compile the guest's init, but for some files, with a main program of the tests, under sanitizers."""
    compiler = require_tool("cc")
    init = resources.folder("kernel") / "init"
    sources = [path for path in sorted(init.rglob("*.c")) if path.name not in without]
    own = Path(__file__).with_name(harness)
    subprocess.run([compiler, *FLAGS, *SANITIZE, f"-I{init}", own, *sources, "-o", output], check=True)
    return output
