"""How long a guest takes to an answering shell, against the least that its kernel takes (benchmarks/boot.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.minivm import minivm_cache
from tests.support.tools import require_tool

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "boot.py"
LIMITS = {1: 1.35, 16: 1.6}
"""Times of the floor, by the number of adapters."""


@pytest.mark.long
def test_a_shell_answers_within_the_promised_times_of_the_floor() -> None:
    require_tool("qemu-system-x86_64")
    words = [sys.executable, str(BENCHMARK), "--json", "--repeats", "5", "--ways", "minivm"]
    environment = {**os.environ, "GNS3_MINIVM_CACHE": str(minivm_cache())}
    finished = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    rows = {(row["way"], row["adapters"]): row["ratios"] for row in json.loads(finished.stdout)["rows"]}
    for adapters, limit in LIMITS.items():
        ratios = rows["minivm", adapters]
        # The least CPU time is what other work on the computer disturbs least.
        assert ratios["cpu_least"] <= limit, rows
