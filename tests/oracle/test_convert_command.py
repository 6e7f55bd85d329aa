"""``gns3-minivm convert`` and ``kernel`` as a user runs them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
async def with_bundle() -> None:
    (await gns3_minivm("kernel", "build", "--json")).result()


@pytest.mark.usefixtures("with_bundle")
async def test_the_file_is_the_disk_that_the_digests_say(tmp_path: Path) -> None:
    output = tmp_path / "busybox.qcow2"
    result = (await gns3_minivm("convert", "busybox-minivm", "-o", str(output), "--json")).result()
    data = output.read_bytes()
    assert result["disk"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert result["disk"]["md5"] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert result["disk"]["size_bytes"] == len(data) < 4_000_000
    qemu_img, e2fsck = require_tool("qemu-img"), require_tool("e2fsck")
    run(qemu_img, "check", "-q", str(output))
    info = json.loads(run(qemu_img, "info", "--output=json", str(output)))
    assert info["virtual-size"] == 8 << 30
    raw = tmp_path / "raw"
    run(qemu_img, "convert", "-O", "raw", str(output), str(raw))
    run(e2fsck, "-fn", str(raw))


@pytest.mark.parametrize("compression", ["zlib", "none"])
@pytest.mark.usefixtures("with_bundle")
async def test_other_compressions_and_sizes_give_other_disks_with_clean_file_systems(
    tmp_path: Path, compression: str
) -> None:
    output = tmp_path / "disk.qcow2"
    words = ("convert", "busybox-minivm", "-o", str(output), "--size", "300M", "--compression", compression, "--json")
    (await gns3_minivm(*words)).result()
    raw = tmp_path / "raw"
    run(require_tool("qemu-img"), "convert", "-O", "raw", str(output), str(raw))
    assert raw.stat().st_size == 300 << 20
    run(require_tool("e2fsck"), "-fn", str(raw))


@pytest.mark.usefixtures("with_bundle")
async def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    output = tmp_path / "precious.qcow2"
    output.write_text("precious")
    refused = await gns3_minivm("convert", "busybox-minivm", "-o", str(output))
    assert refused.status == 2 and f"error: {output} exists" in refused.err and "--force" in refused.err
    assert output.read_text() == "precious"
    assert (await gns3_minivm("convert", "busybox-minivm", "-o", str(output), "--force")).status == 0
    assert output.read_bytes()[:4] == b"QFI\xfb"


async def test_an_image_that_does_not_fit_is_told_before_anything_is_written(docker_host: str, tmp_path: Path) -> None:
    cache, output = tmp_path / "cache", tmp_path / "disk.qcow2"
    words = ("convert", "debian:bookworm-slim", "-o", str(output), "--size", "64M")
    finished = await gns3_minivm(*words, cache=cache, environment={"DOCKER_HOST": docker_host})
    assert finished.status == 1
    assert finished.err.count("error: ") == 1 and "64" in finished.err and "--size" in finished.err
    assert not output.exists()
    assert [path for path in cache.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("with_bundle")
async def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "disk.qcow2"
    finished = await gns3_minivm("convert", "busybox-minivm", "-o", str(output), "--dry-run")
    assert finished.status == 0 and "nothing was written" in finished.out
    fresh = await gns3_minivm("kernel", "build", "--dry-run", cache=tmp_path / "cache")
    assert fresh.status == 0 and "would build a kernel bundle" in fresh.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("with_bundle")
async def test_a_second_kernel_build_finds_nothing_to_do() -> None:
    finished = await gns3_minivm("kernel", "build")
    assert finished.status == 0 and finished.out.endswith("nothing to do\n")
    listed = await gns3_minivm("kernel", "list")
    assert listed.status == 0 and "vmlinuz-" in listed.out


@pytest.mark.usefixtures("with_bundle")
async def test_a_cache_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    finished = await gns3_minivm("kernel", "build", cache=in_the_way / "cache")
    assert finished.status == 1
    assert finished.err.count("error: ") == 1 and "--cache" in finished.err and "Traceback" not in finished.err


def test_a_full_disk_is_one_message_and_leaves_nothing_half_done(docker_host: str, tmp_path: Path) -> None:
    cache, left = tmp_path / "small", tmp_path / "left"
    cache.mkdir()
    # A file system of 20 MB in a mount namespace of its own: too small for this image's layers.  In a chroot "/" is no
    # mount point, so that unshare could not make it private.
    script = (
        'mount --make-rprivate / 2>/dev/null; mount -t tmpfs -o size=20m tmpfs "$1"; '
        '"$2" -m gns3_minivm convert debian:bookworm-slim -o "$3" --cache "$1"; '
        'status=$?; find "$1" -type f >"$4"; exit $status'
    )
    as_root = ["--map-root-user"] if os.geteuid() else []
    words = [require_tool("unshare"), *as_root, "--mount", "--propagation=unchanged"]
    words += ["sh", "-c", script, "sh", str(cache), sys.executable, str(tmp_path / "disk.qcow2"), str(left)]
    environment = {**os.environ, "DOCKER_HOST": docker_host}
    finished = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 1, finished.stderr
    assert finished.stderr.count("error: ") == 1 and "No space left" in finished.stderr, finished.stderr
    assert "--cache" in finished.stderr and "Traceback" not in finished.stderr
    assert left.read_text() == "" and not (tmp_path / "disk.qcow2").exists()
