"""The checksums in an appliance file are those that everybody gets who converts the same digest with this release."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gns3_minivm.gns3a.model import RECORD
from tests.support.debs import bundle_debs
from tests.support.layers import file, tar_bytes
from tests.support.oci import layout, make_image, write_files
from tests.support.registry import running_registry
from tests.support.tools import require_tool

ONE = ({"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "1", "PYTHONUTF8": "0"}, "umask 077")
OTHER = (
    {"TZ": "America/Anchorage", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4711", "SOURCE_DATE_EPOCH": "1"},
    "umask 000; ulimit -n 256; cd /",
)
COMPILER_CACHE = "ZIG_GLOBAL_CACHE_DIR"
"""Half a minute for each of them otherwise; oracle/test_guest_init.py says what the init's bytes depend on."""
LAYERS = [
    tar_bytes([file("etc/motd", b"hello " * 90_000), file("bin/tool", bytes(range(256)) * 999)]),
    tar_bytes([file("etc/issue", b"more"), file("etc/.wh.motd", b"")]),
]


def export(folder: Path, name: str, debs: Sequence[Path], user: tuple[Mapping[str, str], str]) -> dict[str, Any]:
    """Export an image as a user of these habits, with a home and a cache of their own; what the file says."""
    variables, habits = user
    home = folder / "home of a user"
    home.mkdir(parents=True)
    kept = {
        key: os.environ[key] for key in ("PATH", "PYTHONPATH", "PYTHONSAFEPATH", COMPILER_CACHE) if key in os.environ
    }
    words = [
        sys.executable,
        "-m",
        "gns3_minivm",
        "export",
        name,
        "--as",
        "vm",
        "--size",
        "64M",
        "-o",
        str(folder / "out"),
    ]
    words += [word for deb in debs for word in ("--deb", str(deb))]
    environment = {**kept, **variables, "HOME": str(home), "TMPDIR": str(folder)}
    subprocess.run(["bash", "-c", f"{habits}; exec {shlex.join(words)}"], env=environment, check=True)
    values: dict[str, Any] = json.loads((folder / "out" / "vm.gns3a").read_text())
    return values


def test_two_users_get_the_same_file_with_the_same_checksums_from_the_same_digest(tmp_path: Path) -> None:
    skopeo = require_tool("skopeo")
    source = write_files(tmp_path / "image", layout(make_image(LAYERS)))
    (tmp_path / "debs").mkdir()
    debs = bundle_debs(tmp_path / "debs")
    registry = tmp_path / "registry"
    registry.mkdir()
    with running_registry(registry) as host:
        name = f"docker://{host}/team/vm"
        push = [skopeo, "copy", "--insecure-policy", "--dest-tls-verify=false", f"oci:{source}", f"{name}:1"]
        subprocess.run(push, check=True, capture_output=True)
        inspect = [skopeo, "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"{name}:1"]
        digest = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
        one = export(tmp_path / "one", f"{name}@{digest}", debs, ONE)
        other = export(tmp_path / "other place", f"{name}@{digest}", debs[::-1], OTHER)
    assert [image["md5sum"] for image in one["images"]] == [image["md5sum"] for image in other["images"]]
    assert one == other
    files = [{path.name: path.read_bytes() for path in (tmp_path / place / "out").iterdir()}
             for place in ("one", "other place")]  # fmt: skip
    assert files[0] == files[1]
    # The image is recorded by its digest, and where anybody can have it.
    disk = next(made["disk"] for made in one[RECORD]["made"].values() if "disk" in made)
    assert (disk["digest"], disk["image"]) == (digest, f"{name}@{digest}")
    assert f"Image: {host}/team/vm@{digest}\n" in one["usage"]
