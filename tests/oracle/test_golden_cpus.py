"""The golden bytes under other CPUs, as qemu-user runs them: other x86 models, and 64-bit ARM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import gns3_minivm
from tests.support.cache import cache_folder
from tests.support.golden import GOLDEN
from tests.support.roots import debian_root
from tests.support.tools import require_tool

ROOT = Path(__file__).parents[2]
PACKAGE = Path(gns3_minivm.__file__).parents[1]
# What Debian 12 calls python3.
PYTHON = "3.11"


def made(command: list[str], path: list[Path], target: Path) -> Any:
    environment = {"PYTHONPATH": os.pathsep.join(str(one) for one in path), "PATH": os.environ["PATH"]}
    words = [*command, "-m", "tests.support.golden", str(target)]
    finished = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout)


# SSE2 only; what the emulator has, up to AVX2; SSE4.2 and others.
@pytest.mark.parametrize(
    "model",
    ["qemu64", "max", *(pytest.param(name, marks=pytest.mark.long) for name in ("Nehalem", "Haswell", "EPYC-v1"))],
)
def test_other_x86_models_give_the_golden_bytes(tmp_path: Path, model: str) -> None:
    emulator = require_tool("qemu-x86_64")
    # The interpreter itself: the emulator starts no scripts and follows no wrappers.
    python = str(Path(sys.executable).resolve())
    libraries = Path(sysconfig.get_paths()["platlib"])
    found = made([emulator, "-cpu", model, python], [libraries, PACKAGE, ROOT], tmp_path / "made")
    assert found == GOLDEN


def arm_libraries() -> Path:
    """The two codec packages for Python on ARM, in the releases that are in use here."""
    pins = [f"{name}=={version(name)}" for name in ("zstandard", "zlib-ng")]
    target = cache_folder() / f"arm64-{'-'.join(pins)}"
    if not target.exists():
        wheels = target.with_suffix(".wheels")
        words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}"]
        words += [f"--platform={name}_aarch64" for name in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
        command = [sys.executable, "-m", "pip", *words, f"--dest={wheels}", *pins]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        part = target.with_suffix(".part")
        for path in wheels.glob("*.whl"):
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(part)
        part.rename(target)
    return target


def test_arm_gives_the_golden_bytes(tmp_path: Path) -> None:
    emulator = require_tool("qemu-aarch64")
    root = debian_root("bookworm", ["python3-minimal", "libpython3-stdlib"], "arm64")
    python = [emulator, "-L", str(root), str(root / f"usr/bin/python{PYTHON}")]
    found = made(python, [arm_libraries(), PACKAGE, ROOT], tmp_path / "made")
    assert found == GOLDEN
