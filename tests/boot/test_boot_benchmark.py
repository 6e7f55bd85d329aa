"""benchmarks/boot.py does what it says; how fast a guest is, only a run on a quiet machine tells."""

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


@pytest.mark.long
@pytest.mark.usefixtures("monolithic_bundle")
def test_the_benchmark_sets_a_guest_beside_the_least_that_its_kernel_takes() -> None:
    require_tool("qemu-system-x86_64")
    words = [sys.executable, str(BENCHMARK), "--json", "--repeats", "1", "--ways", "minivm,lab", "--adapters", "1"]
    environment = {**os.environ, "GNS3_MINIVM_CACHE": str(minivm_cache())}
    finished = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    rows = {(row["way"], row["adapters"]): row for row in json.loads(finished.stdout)["rows"]}
    assert rows["minivm", 1]["ratios"]["cpu_least"] > 1
    assert set(rows) == {("floor", 1), ("minivm", 1), ("monolithic", 1)}
