"""No room left, wherever it ends: one message that says where, and nothing half done."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_registry import fake_registry
from tests.support.layers import file, tar_bytes
from tests.support.oci import archive, layout, make_image, saved, write_files
from tests.support.tools import require_tool

MIB = 1 << 20
# Two layers that no codec makes smaller: the disk is as large as they are.
LAYERS = [tar_bytes([file(name, random.Random(name).randbytes(3 * MIB))]) for name in ("one", "two")]
SOURCES = ["docker", "oci", "oci-archive", "docker-archive", "rootfs"]

# The folder "$1" gets a file system of its own with "$2" MiB, in a mount namespace.  In a chroot "/" is no mount point,
# so that unshare could not make it private.
SCRIPT = """
mount --make-rprivate / 2>/dev/null
mount -t tmpfs -o size="$2"m tmpfs "$1" || exit 99
"$3" -m gns3_minivm convert "$4" -o "$5" --cache "$6"
status=$?
find "$1" -type f >"$7"
exit $status
"""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The same layers in every source, compressed."""
    folder = tmp_path_factory.mktemp("sources")
    image = make_image(LAYERS, lambda data: gzip.compress(data, 1, mtime=0))
    write_files(folder / "oci", layout(image))
    (folder / "oci.tar").write_bytes(archive(layout(image)))
    (folder / "docker.tar.gz").write_bytes(gzip.compress(archive(saved(image, "x:1")), 1))
    root = tar_bytes([file("one", random.Random(1).randbytes(6 * MIB))])
    (folder / "root.tar.gz").write_bytes(gzip.compress(root, 1))
    with fake_registry(image) as registry:
        yield {
            "docker": f"docker://{registry.host}/team/app:1",
            "oci": f"oci:{folder}/oci",
            "oci-archive": f"oci-archive:{folder}/oci.tar",
            "docker-archive": f"docker-archive:{folder}/docker.tar.gz",
            "rootfs": f"rootfs:{folder}/root.tar.gz",
        }


def convert(folder: Path, name: str, *, small: str, size_mib: int) -> subprocess.CompletedProcess[str]:
    """Convert with the cache or the output in the small file system; returns what the command said."""
    for one in ("cache", "out"):
        (folder / one).mkdir()
    as_root = ["--map-root-user"] if os.geteuid() else []
    words = [require_tool("unshare"), *as_root, "--mount", "--propagation=unchanged", "sh", "-c", SCRIPT, "sh"]
    words += [str(folder / small), str(size_mib), sys.executable, name]
    words += [str(folder / "out" / "disk.qcow2"), str(folder / "cache"), str(folder / "left")]
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    finished = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert finished.returncode != 99, finished.stderr
    return finished


def assert_one_message(finished: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert finished.returncode == 1, finished.stderr
    assert finished.stderr.count("error: ") == 1 and "No space left" in finished.stderr, finished.stderr
    assert "hint: " in finished.stderr and "Traceback" not in finished.stderr
    left = (folder / "left").read_text().splitlines()
    assert [path for path in left if "/locks/" not in path] == []
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize("size_mib", [3, 9], ids=["while the layers are fetched", "while the disk is written"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_full_cache_is_one_message(tmp_path: Path, names: dict[str, str], source: str, size_mib: int) -> None:
    finished = convert(tmp_path, names[source], small="cache", size_mib=size_mib)
    assert_one_message(finished, tmp_path)
    assert "--cache" in finished.stderr


def test_no_room_for_the_output_is_one_message_and_the_disk_stays_in_the_cache(
    tmp_path: Path, names: dict[str, str]
) -> None:
    finished = convert(tmp_path, names["oci"], small="out", size_mib=3)
    assert_one_message(finished, tmp_path)
    assert "--cache" not in finished.stderr  # that is another folder
    assert len(list((tmp_path / "cache" / "disks").glob("*/disk.qcow2"))) == 1


def test_with_enough_room_there_is_a_disk(tmp_path: Path, names: dict[str, str]) -> None:
    finished = convert(tmp_path, names["docker"], small="cache", size_mib=30)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "out" / "disk.qcow2").stat().st_size > 6 * MIB
