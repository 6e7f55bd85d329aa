"""Roots of Debian with programs that this machine does not have: another release's, or another architecture's.

They are made with mmdebstrap, which only unpacks the packages (nothing of them is run), once per machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.cache import cache_folder
from tests.support.engine import apt_settings
from tests.support.tools import require_tool

# Raise this when the same arguments give another root.
_FORMAT = 1
_MERGED = ("bin", "lib", "lib64", "sbin")


def debian_root(suite: str, packages: Sequence[str], architecture: str = "amd64") -> Path:
    """A folder with these packages and what they need; made by whoever comes first."""
    name = f"{suite}-{architecture}-{packages[0]}-{_FORMAT}"
    target = cache_folder() / name
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            part = target.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                _make(part, suite, packages, architecture)
                part.rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return target


def _make(folder: Path, suite: str, packages: Sequence[str], architecture: str) -> None:
    apt, archive = folder.with_suffix(".apt"), folder.with_suffix(".tar")
    command = [require_tool("mmdebstrap"), "--quiet", "--variant=extract", "--format=tar", f"--aptopt={apt}"]
    command += [f"--architectures={architecture}", f"--include={','.join(packages)}", suite, str(archive)]
    try:
        apt.write_text(apt_settings())
        made = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if made.returncode and os.geteuid() != 0 and not os.environ.get("CI"):
            # Where users may not make namespaces, mmdebstrap needs root.
            pytest.skip(f"mmdebstrap cannot make a root of {suite} as this user")
        if made.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{made.stderr[-3000:]}")
        unpack = [
            "tar",
            "--extract",
            "--no-same-owner",
            "--exclude=./dev/*",
            f"--file={archive}",
            f"--directory={folder}",
        ]
        subprocess.run(unpack, check=True)
    finally:
        apt.unlink(missing_ok=True)
        archive.unlink(missing_ok=True)
    for name in _MERGED:
        # Newer releases leave these links to a maintainer script.
        if not (folder / name).exists() and (folder / "usr" / name).exists():
            (folder / name).symlink_to(f"usr/{name}")
    for name in ("dev", "proc", "run", "sys", "tmp"):
        (folder / name).mkdir(exist_ok=True)
