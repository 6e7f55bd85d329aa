"""``gns3-minivm convert`` and its cache, with real processes: killed at any moment, at once, and on damaged entries."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import pytest

from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool


@pytest.fixture(scope="session")
def root_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of 12 MB in 300 files, half of it incompressible."""
    noise = random.Random(1)
    path = tmp_path_factory.mktemp("rootfs") / "root.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(300):
            data = noise.randbytes(20_000) + b"x" * 20_000
            info = tarfile.TarInfo(f"usr/share/file{number:03}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


# A process that is killed by the one that it was forked from; forking spares it the start of the interpreter, so that
# most kills hit the conversion.
DRIVER = """
import os, random, signal, sys, time
from gns3_minivm.cli.frame.run import run_command_line
import gns3_minivm.ops.disk

tar, cache, output, kills = sys.argv[1:]

def convert(number):
    pid = os.fork()
    if not pid:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        words = ["convert", f"rootfs:{tar}", "-o", output, "--force", "--cache", cache, "--size", f"{64 + number}M"]
        os._exit(run_command_line(words))
    return pid

started = time.monotonic()
assert os.waitpid(convert(0), 0)[1] == 0
whole = time.monotonic() - started
moments = random.Random(7)
number = killed = 0
while killed < int(kills):
    number += 1
    pid = convert(number)
    started = time.monotonic()
    moment = moments.uniform(0, whole)
    while (elapsed := time.monotonic() - started) < moment:
        if os.waitpid(pid, os.WNOHANG)[0]:
            # The machine has become faster; the moments follow.
            whole = elapsed
            print(number, "done", flush=True)
            break
        time.sleep(0.001)
    else:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        killed += os.WIFSIGNALED(status)
        print(number, "killed" if os.WIFSIGNALED(status) else "done", flush=True)
"""


def left(cache: Path) -> list[str]:
    return [f"{name}/{path.name}" for name in ("work", "locks") for path in (cache / name).glob("*")]


def check_entries(cache: Path) -> int:
    """Assert that every entry has the bytes that its manifest tells; returns their count."""
    entries = list((cache / "disks").iterdir())
    for entry in entries:
        told = json.loads((entry / "manifest.json").read_text())["disk"]
        assert hashlib.sha256((entry / "disk.qcow2").read_bytes()).hexdigest() == told["sha256"]
    return len(entries)


async def test_conversions_killed_at_any_moment_leave_whole_entries_and_the_next_run_leaves_no_rubbish(
    root_tar: Path, tmp_path: Path
) -> None:
    cache, output = tmp_path / "cache", tmp_path / "out" / "disk.qcow2"
    output.parent.mkdir()
    words = [sys.executable, "-c", DRIVER, str(root_tar), str(cache), str(output), "20"]
    driven = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
    assert driven.returncode == 0, driven.stderr
    outcomes = [line.split()[1] for line in driven.stdout.splitlines()]
    assert outcomes.count("killed") == 20
    assert check_entries(cache) >= outcomes.count("done")
    words = ["convert", f"rootfs:{root_tar}", "-o", str(output), "--force", "--size", "64M", "--json"]
    again = (await gns3_minivm(*words, "--rebuild", cache=cache)).result()
    assert again["cached"]
    fresh = (await gns3_minivm(*words[:-2], "300M", "--json", cache=cache)).result()
    assert not fresh["cached"]
    assert hashlib.md5(output.read_bytes(), usedforsecurity=False).hexdigest() == fresh["disk"]["md5"]
    assert left(cache) == []
    check_entries(cache)


async def test_two_conversions_at_once_do_the_work_once(root_tar: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    runs = [
        gns3_minivm("convert", f"rootfs:{root_tar}", "-o", str(tmp_path / f"{number}"), "--json", cache=cache)
        for number in range(3)
    ]
    finished = await asyncio.gather(*runs)
    assert len({run.result()["disk"]["sha256"] for run in finished}) == 1
    assert sum("Writing the disk" in run.out for run in finished) == 1
    assert len({(tmp_path / str(number)).read_bytes() for number in range(3)}) == 1
    assert left(cache) == [] and check_entries(cache) == 1


@pytest.mark.parametrize("damage", ["truncated disk", "no disk", "broken manifest", "empty manifest", "no manifest"])
async def test_a_damaged_entry_is_noticed_and_made_again(root_tar: Path, tmp_path: Path, damage: str) -> None:
    cache, output = tmp_path / "cache", tmp_path / "disk.qcow2"
    words = ("convert", f"rootfs:{root_tar}", "-o", str(output), "--force", "--json")
    first = (await gns3_minivm(*words, cache=cache)).result()
    entry = cache / "disks" / first["recipe"]
    for path in entry.iterdir():
        path.chmod(0o644)
    disk, manifest = entry / "disk.qcow2", entry / "manifest.json"
    match damage:
        case "truncated disk":
            os.truncate(disk, disk.stat().st_size - 1)
        case "no disk":
            disk.unlink()
        case "broken manifest":
            manifest.write_text('{"disk": [')
        case "empty manifest":
            manifest.write_text("{}")
        case "no manifest":
            manifest.unlink()
    listed = (await gns3_minivm("cache", "list", "--json", cache=cache)).result()
    assert [item["name"] for item in listed["entries"]] == [None]
    again = (await gns3_minivm(*words, cache=cache)).result()
    assert not again["cached"]
    assert again["disk"] == first["disk"]
    assert check_entries(cache) == 1 and left(cache) == []


async def test_a_process_that_uses_a_disk_keeps_it_from_being_pruned(root_tar: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    await gns3_minivm("convert", f"rootfs:{root_tar}", "-o", str(tmp_path / "disk"), cache=cache)
    entry = next((cache / "disks").iterdir())
    script = (
        "import sys, time; from pathlib import Path; from gns3_minivm.base.cache import Cache\n"
        "print(Cache(Path(sys.argv[1])).use('disks', sys.argv[2]), flush=True); sys.stdin.read()"
    )
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(cache), entry.name), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout and (await holder.stdout.readline()).strip() == os.fsencode(entry)
    pruned = await gns3_minivm("cache", "prune", "--all", cache=cache)
    assert pruned.status == 0 and "(in use, stays)" in pruned.out and "removed 0" in pruned.out
    assert check_entries(cache) == 1
    listed = await gns3_minivm("cache", "list", cache=cache)
    assert "(in use)" in listed.out
    await holder.communicate(b"")
    result = (await gns3_minivm("cache", "prune", "--all", "--json", cache=cache)).result()
    assert [removed["id"] for removed in result["removed"]] == [entry.name]
    assert list((cache / "disks").iterdir()) == [] and left(cache) == []


async def test_a_conversion_removes_what_does_not_fit_the_limit_but_never_its_own_disk(
    root_tar: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    for number, size in enumerate(("64M", "65M", "66M")):
        words = ("convert", f"rootfs:{root_tar}", "-o", str(tmp_path / f"{number}"), "--size", size, "--json")
        finished = await gns3_minivm(*words, cache=cache, environment={"GNS3_MINIVM_CACHE_SIZE": "1M"})
        recipe = finished.result()["recipe"]
        assert [path.name for path in (cache / "disks").iterdir()] == [recipe]
        assert ("the cache is limited to 1 MiB" in finished.out) == bool(number)
    wide = ("convert", f"rootfs:{root_tar}", "-o", str(tmp_path / "wide"), "--cache-size", "unlimited")
    assert (await gns3_minivm(*wide, cache=cache, environment={"GNS3_MINIVM_CACHE_SIZE": "1M"})).status == 0
    assert len(list((cache / "disks").iterdir())) == 2
    wrong = await gns3_minivm(*wide[:-1], "lots", "--force", cache=cache)
    assert wrong.status == 2 and wrong.err.count("error: ") == 1 and "'lots' is not a size" in wrong.err


def test_a_cache_that_may_only_be_read_serves_hits_and_refuses_the_rest_with_one_error(
    root_tar: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    program = [sys.executable, "-m", "gns3_minivm"]
    convert = [*program, "convert", f"rootfs:{root_tar}", "--cache", str(cache)]
    subprocess.run([*convert, "-o", str(tmp_path / "first")], check=True, capture_output=True)
    # Rights would not stop root, who may run the tests; a mount does, in a namespace of its own.
    script = (
        'mount --make-rprivate / 2>/dev/null; mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"; shift; exec "$@"'
    )
    as_root = ["--map-root-user"] if os.geteuid() else []
    words = [
        require_tool("unshare"),
        *as_root,
        "--mount",
        "--propagation=unchanged",
        "sh",
        "-c",
        script,
        "sh",
        str(cache),
    ]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, *command], capture_output=True, text=True, check=False)

    hit = run(*convert, "-o", str(tmp_path / "second"))
    assert hit.returncode == 0, hit.stderr
    assert (tmp_path / "second").read_bytes() == (tmp_path / "first").read_bytes()
    for refused in (
        run(*convert, "-o", str(tmp_path / "third"), "--size", "64M"),
        run(*program, "cache", "prune", "--all", "--cache", str(cache)),
    ):
        assert refused.returncode == 1 and refused.stderr.count("error: ") == 1, refused.stderr
        assert "Read-only file system" in refused.stderr and "--cache" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "third").exists() and check_entries(cache) == 1


def test_a_cache_that_is_full_is_one_error_and_leaves_nothing(root_tar: Path, tmp_path: Path) -> None:
    # No file may become larger than 3 MB; Python turns that limit into an error as of a full disk.
    script = textwrap.dedent(
        """
        import resource, sys
        from gns3_minivm.cli.frame.run import run_command_line
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        sys.exit(run_command_line(sys.argv[1:]))
        """
    )
    cache = tmp_path / "cache"
    words = ["convert", f"rootfs:{root_tar}", "-o", str(tmp_path / "disk"), "--cache", str(cache)]
    finished = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert finished.returncode == 1 and finished.stderr.count("error: ") == 1, finished.stderr
    assert str(cache) in finished.stderr and "Traceback" not in finished.stderr
    assert left(cache) == [] and not (tmp_path / "disk").exists()
    again = subprocess.run([sys.executable, "-m", "gns3_minivm", *words], capture_output=True, check=False)
    assert again.returncode == 0
