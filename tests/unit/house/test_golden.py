"""The same image and the same packages give the same bytes as ever, wherever and however the program runs."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Events
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.formats.qcow2 import made_with
from gns3_minivm.images.files.oci_layout import find_in_folder
from tests.support.golden import GOLDEN, make_all, make_bundle, write_image

ROOT = Path(__file__).parents[3]
# What users' machines differ in: time zone, locale, hash seed, umask, number of open files, threads.
ENVIRONMENTS = [
    ({"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "1", "PYTHONUTF8": "0"}, "umask 000; ulimit -n 64"),
    ({"TZ": "America/Anchorage", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "4711"}, "umask 077; ulimit -n 4096"),
]


def test_disks_and_bundles_have_the_golden_bytes(tmp_path: Path) -> None:
    assert make_all(tmp_path) == GOLDEN


@pytest.mark.parametrize(("variables", "limits"), ENVIRONMENTS, ids=["one", "other"])
def test_the_environment_makes_no_difference(tmp_path: Path, variables: dict[str, str], limits: str) -> None:
    script = f'{limits}; cd /; exec "$0" -m tests.support.golden "$1"'
    # Behind what the tests themselves found, as tox has it: the wheel comes first.
    environment = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])}
    words = ["sh", "-c", script, sys.executable, str(tmp_path)]
    finished = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == GOLDEN


def test_manifests_say_which_codecs_made_the_bytes(tmp_path: Path) -> None:
    write_image(tmp_path / "image")
    disk = convert(
        find_in_folder(str(tmp_path / "image")), DiskOptions(size_bytes=64 << 20), Cache(tmp_path / "c"), Events()
    )
    manifest = json.loads(disk.path.with_name("manifest.json").read_text())
    assert manifest["made_by"]["codecs"] == made_with()
    make_bundle(tmp_path / "bundle")
    (path,) = tmp_path.glob("bundle/cache/kernels/*/manifest.json")
    assert json.loads(path.read_text())["codecs"] == made_with()


def test_the_codecs_are_the_pinned_ones() -> None:
    """And it is their own library that is used, not one of the machine's."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    pins = dict(line.split(" ==") for line in setup["options"]["install_requires"].splitlines() if "==" in line)
    assert made_with() == {
        "zstd": {"package": f"zstandard {pins['zstandard']}", "library": "zstd 1.5.7", "level": 3},
        "zlib": {
            "package": f"zlib-ng {pins['zlib-ng']}",
            "library": "zlib-ng 2.3.3",
            "level": 2,
            "window_bits": 12,
        },
    }
