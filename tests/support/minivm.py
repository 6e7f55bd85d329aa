"""The ``gns3-minivm`` command as a user runs it, with a cache that is kept from run to run.

In tox this is the installed wheel: PYTHONSAFEPATH keeps the checkout out of the way.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.cache import cache_folder


@dataclass(frozen=True)
class Finished:
    """A finished command."""

    status: int
    out: str
    err: str
    elapsed_s: float

    def result(self) -> dict[str, Any]:
        """The result of a command that ran with ``--json``: its last line."""
        assert self.status == 0, f"ended with {self.status}:\n{self.out[-2000:]}\n{self.err[-4000:]}"
        result: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        assert result["event"] == "result", result
        return result


def minivm_cache() -> Path:
    """Where the tests' kernel bundle and disks are: made once per machine."""
    return cache_folder() / "gns3-minivm"


def command_environment(environment: Mapping[str, str] | None = None, cache: Path | None = None) -> dict[str, str]:
    """The environment of a command that finds no server and no proxy that the test does not name."""
    dropped = ("GNS3_MINIVM_SERVER", "GNS3_MINIVM_LAB", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    return variables | {"GNS3_MINIVM_CACHE": str(cache or minivm_cache()), **(environment or {})}


async def gns3_minivm(
    *words: str,
    environment: Mapping[str, str] | None = None,
    cache: Path | None = None,
    stdin: bytes | None = None,
    timeout_s: float = 900,
) -> Finished:
    """Run a command to its end; ``stdin`` is piped in."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gns3_minivm", *words),
        env=command_environment(environment, cache),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode(), time.monotonic() - started)
