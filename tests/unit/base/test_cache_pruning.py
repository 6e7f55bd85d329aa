"""The cache keeps its limit, and never takes away what somebody uses."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gns3_minivm.base import locks as holds
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import ConfigError, DiskFullError, UsageError
from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.images.files.rootfs import find_rootfs
from gns3_minivm.ops.cache import PruneRequest, cache_list, cache_prune, parse_age
from gns3_minivm.ops.context import RunContext
from gns3_minivm.settings import Settings
from tests.support.layers import file, tar_bytes

KIB = 1 << 10
Process = subprocess.Popen[str]


def recipe(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    yield Cache(tmp_path / "cache")
    release(tmp_path)


def release(below: Path) -> None:
    """What this process holds ends with it; here, with the test."""
    for path in [path for path in holds._held if path.is_relative_to(below)]:
        os.close(holds._held.pop(path))


def fill(cache: Cache, number: int, *, age_s: float = 0, size_bytes: int = 100 * KIB) -> Path:
    """An entry that nobody holds, last used ``age_s`` ago."""
    with cache.make("disks", recipe(number)) as work:
        if not work.ready:
            (work.folder / "disk.qcow2").write_bytes(bytes(size_bytes))
            told = {"size_bytes": size_bytes, "md5": "", "sha256": ""}
            work.manifest = {"reference": f"image{number}", "disk": told}
    release(work.entry)
    then = time.time() - age_s
    os.utime(work.entry, (then, then))
    return work.entry


def numbers(cache: Cache) -> list[int]:
    return [int(entry.recipe, 16) for entry in cache.stored()]


def leftovers(cache: Cache) -> list[str]:
    return [f"{name}/{path.name}" for name in ("work", "locks") for path in (cache.root / name).glob("*")]


@pytest.fixture
def run_python(cache: Cache) -> Iterator[Callable[[str], Process]]:
    """Starts a process that has ``cache`` and ``recipe``, and prints a line when its test should go on."""
    started: list[Process] = []

    def start(body: str) -> Process:
        source = (
            "import os, sys, time\nfrom pathlib import Path\nfrom gns3_minivm.base.cache import Cache\n"
            f"cache = Cache(Path({str(cache.root)!r}))\n"
            'def recipe(number): return f"{number:064x}"\n' + textwrap.dedent(body)
        )
        started.append(subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read_line(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_was_not_used_for_the_longest_time_goes_first(cache: Cache) -> None:
    for number, age_s in ((1, 300), (2, 100), (3, 200)):
        fill(cache, number, age_s=age_s)
    pruned = cache.prune(limit_bytes=150 * KIB)
    assert [int(entry.recipe, 16) for entry in pruned.removed] == [1, 3]
    assert numbers(cache) == [2] and pruned.left_bytes < 150 * KIB
    assert leftovers(cache) == []


def test_using_an_entry_makes_it_the_youngest(cache: Cache) -> None:
    fill(cache, 1, age_s=300)
    fill(cache, 2, age_s=100)
    cache.use("disks", recipe(1))
    assert numbers(cache) == [1, 2]


def test_only_what_is_older_than_the_age_goes(cache: Cache) -> None:
    fill(cache, 1, age_s=86400 * 10)
    fill(cache, 2, age_s=60)
    assert len(cache.prune(older_than_s=86400).removed) == 1
    assert numbers(cache) == [2]


def test_a_dry_run_removes_nothing_and_says_what_would_go(cache: Cache) -> None:
    fill(cache, 1)
    pruned = cache.prune(limit_bytes=0, dry_run=True)
    assert len(pruned.removed) == 1 and pruned.left_bytes == 0
    assert numbers(cache) == [1]


def test_what_has_no_manifest_goes_in_any_case(cache: Cache) -> None:
    (fill(cache, 1) / "manifest.json").unlink()
    fill(cache, 2)
    assert len(cache.prune().removed) == 1
    assert numbers(cache) == [2]


def test_an_empty_or_missing_cache_is_pruned_without_making_it(cache: Cache) -> None:
    assert cache.prune(limit_bytes=0).removed == ()
    assert cache.stored() == [] and cache.others() == []
    assert not cache.root.exists()


def test_what_this_process_made_or_used_stays_while_it_lives(cache: Cache) -> None:
    fill(cache, 1)
    cache.use("disks", recipe(1))
    with cache.make("disks", recipe(2)) as work:
        work.manifest = {}
    pruned = Cache(cache.root).prune(limit_bytes=0)
    assert pruned.removed == () and len(pruned.in_use) == 2
    assert set(numbers(cache)) == {1, 2}


def test_what_another_process_uses_stays_until_that_ends(cache: Cache, run_python: Callable[[str], Process]) -> None:
    fill(cache, 1, age_s=1000)
    fill(cache, 2)
    user = run_python(
        """
        print(cache.use("disks", recipe(1)), flush=True)
        time.sleep(60)
        """
    )
    read_line(user)
    assert [entry.recipe for entry in cache.stored() if cache.is_in_use(entry)] == [recipe(1)]
    for _ in range(3):
        cache.prune(limit_bytes=0)
    assert numbers(cache) == [1]
    user.kill()
    user.wait()
    cache.prune(limit_bytes=0)
    assert numbers(cache) == []


def test_what_another_process_is_making_stays(cache: Cache, run_python: Callable[[str], Process]) -> None:
    maker = run_python(
        """
        with cache.make("disks", recipe(1)) as work:
            (work.folder / "disk").write_text("x")
            print("begun", flush=True)
            time.sleep(0.5)
            work.manifest = {}
        print("made", flush=True)
        time.sleep(60)
        """
    )
    assert read_line(maker) == "begun"
    cache.prune(limit_bytes=0)
    assert read_line(maker) == "made"
    cache.prune(limit_bytes=0)
    assert numbers(cache) == [1]


def test_users_and_pruners_at_once_never_meet_a_vanished_entry(
    cache: Cache, run_python: Callable[[str], Process]
) -> None:
    user = """
        end = time.monotonic() + 2
        made = used = 0
        while time.monotonic() < end:
            for number in range(4):
                pid = os.fork()
                if pid:
                    assert os.waitpid(pid, 0)[1] == 0, "a user failed"
                    continue
                entry = cache.use("disks", recipe(number))
                if entry is None:
                    with cache.make("disks", recipe(number)) as work:
                        entry = work.entry
                        if not work.ready:
                            (work.folder / "disk").write_bytes(b"x" * 5000)
                            work.manifest = {}
                for _ in range(5):
                    if len((entry / "disk").read_bytes()) != 5000 or not (entry / "manifest.json").is_file():
                        os._exit(1)
                    time.sleep(0.001)
                os._exit(0)
        print("done", flush=True)
        """
    pruner = """
        end = time.monotonic() + 2
        count = 0
        while time.monotonic() < end:
            count += len(cache.prune(limit_bytes=0).removed)
        print(count, flush=True)
        """
    users, pruners = [run_python(user) for _ in range(3)], [run_python(pruner) for _ in range(2)]
    assert [read_line(process) for process in users] == ["done"] * 3
    assert sum(int(read_line(process)) for process in pruners) > 0
    cache.prune(limit_bytes=0)
    fill(cache, 9)
    assert leftovers(cache) == [] and numbers(cache) == [9]


def test_a_pruner_killed_at_any_moment_leaves_whole_entries(cache: Cache, run_python: Callable[[str], Process]) -> None:
    for turn in range(6):
        for number in range(30):
            fill(cache, number, size_bytes=10)
        process = run_python(
            """
            print("begun", flush=True)
            cache.prune(limit_bytes=0)
            """
        )
        read_line(process)
        time.sleep(0.002 * turn)
        process.kill()
        process.wait()
        for entry in cache.stored():
            assert entry.is_whole and (entry.folder / "disk.qcow2").is_file()
    fill(Cache(cache.root), 99)
    assert leftovers(cache) == []


def test_a_cache_that_may_not_be_looked_into_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was made by root."""
    entry = fill(cache, 1)

    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # Rights do not stop root, who may run the tests.
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(DiskFullError, match=f"{entry}.*Permission denied") as caught:
        cache.use("disks", recipe(1))
    assert "--cache" in caught.value.hint


def test_lock_files_of_dead_processes_are_swept_up(cache: Cache) -> None:
    (cache.root / "locks").mkdir(parents=True)
    (cache.root / "locks" / f"disks-{recipe(5)}").touch()
    fill(cache, 1)
    assert leftovers(cache) == []


def test_a_damaged_entry_is_made_again_under_its_lock(cache: Cache) -> None:
    entry = fill(cache, 1)
    (entry / "disk.qcow2").chmod(0o644)
    (entry / "disk.qcow2").write_text("damaged")
    with cache.make("disks", recipe(1), lambda entry: (entry / "disk.qcow2").read_text() != "damaged") as work:
        assert not work.ready
        (work.folder / "disk.qcow2").write_text("again")
        work.manifest = {}
    assert (entry / "disk.qcow2").read_text() == "again"
    assert leftovers(cache) == []


def test_after_a_build_the_cache_keeps_its_limit_and_says_so(cache: Cache) -> None:
    limited = Cache(cache.root, 250 * KIB)
    for number in range(3):
        fill(limited, number, age_s=100 - number)
    seen: list[Event] = []
    limited.trim(Events(seen.append))
    assert numbers(cache) == [2, 1]
    assert [event.message for event in seen if isinstance(event, Note)] == [
        "the cache is limited to 250 KiB: removed the least recently used (1 entry, 100.09 KiB)"
    ]
    cache.trim(Events())
    assert numbers(cache) == [2, 1]


@pytest.mark.parametrize(
    ("text", "limit_bytes"), [("", 20 << 30), ("5G", 5 << 30), ("0M", 0), ("unlimited", None), ("1.5G", "error")]
)
def test_the_limit_comes_from_the_environment(tmp_path: Path, text: str, limit_bytes: int | str | None) -> None:
    settings = Settings.from_environment({"GNS3_MINIVM_CACHE": str(tmp_path), "GNS3_MINIVM_CACHE_SIZE": text})
    if limit_bytes == "error":
        with pytest.raises(ConfigError, match=r"'1\.5G' is not a size") as caught:
            settings.open_cache()
        assert "GNS3_MINIVM_CACHE_SIZE" in caught.value.hint
    else:
        assert settings.open_cache().limit_bytes == limit_bytes


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)])
def test_ages_have_a_unit(text: str, seconds: int) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1y", "1.5d", "٣d"])
def test_other_ages_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is malformed"):
        parse_age(text)


async def test_the_list_says_what_each_entry_is_and_who_uses_it(cache: Cache) -> None:
    fill(cache, 1, age_s=50)
    (fill(cache, 2, age_s=100) / "manifest.json").unlink()
    with cache.hold("apt") as folder:
        (folder / "list").write_text("12345")
    cache.use("disks", recipe(1))
    found = await cache_list(RunContext(settings=Settings(cache_root=cache.root)))
    assert [(item.name, item.in_use) for item in found.items] == [("image1", True), ("", False)]
    assert found.limit_bytes == 20 << 30
    assert found.others == ((cache.root / "apt", 5),)
    assert found.size_bytes == sum(item["size_bytes"] for item in found.as_dict()["entries"])


async def test_a_flipped_bit_is_found_by_reading_everything_and_pruned(tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(tar_bytes([file("data", b"data")]))
    image, cache = find_rootfs(str(tmp_path / "root.tar")), Cache(tmp_path / "cache")
    disks = [convert(image, DiskOptions(size_bytes=size << 20), cache, Events()) for size in (64, 65)]
    path, status = disks[0].path, disks[0].path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    # As when the disk underneath forgets: nobody has written.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    context = RunContext(settings=Settings(cache_root=cache.root))
    unread, found = await cache_list(context), await cache_list(context, verify=True)
    assert {item.is_intact for item in unread.items} == {None} and unread.exit_status == 0
    assert {item.stored.folder: item.is_intact for item in found.items} == {
        disks[0].path.parent: False,
        disks[1].path.parent: True,
    }
    assert found.exit_status == 1
    request = PruneRequest(damaged=True)
    assert [item.stored.folder for item in (await cache_prune(request, replace(context, dry_run=True))).in_use] == [
        path.parent
    ]
    release(path.parent)
    result = await cache_prune(PruneRequest(damaged=True), context)
    assert [item.stored.folder for item in result.removed] == [path.parent] and not path.exists()
    assert (await cache_list(context, verify=True)).exit_status == 0


async def test_pruning_all_also_takes_the_other_folders(cache: Cache) -> None:
    fill(cache, 1)
    with cache.hold("apt") as folder:
        (folder / "list").write_text("12345")
        held = await cache_prune(
            PruneRequest(everything=True), RunContext(settings=Settings(cache_root=cache.root), dry_run=True)
        )
        assert folder.is_dir() and len(held.removed) == 1 and held.dry_run
        assert (
            await cache_prune(PruneRequest(everything=True), RunContext(settings=Settings(cache_root=cache.root)))
        ).others == ()
        assert folder.is_dir()
    result = await cache_prune(PruneRequest(everything=True), RunContext(settings=Settings(cache_root=cache.root)))
    assert result.others == ((cache.root / "apt", 5),)
    assert not folder.exists() and numbers(cache) == [] and leftovers(cache) == []


async def test_pruning_without_a_wish_keeps_the_limit(cache: Cache) -> None:
    for number in range(3):
        fill(cache, number, age_s=10 - number)
    result = await cache_prune(PruneRequest(), RunContext(settings=Settings(cache_root=cache.root, cache_size="200K")))
    assert [item.name for item in result.removed] == ["image0", "image1"]
    assert (
        await cache_prune(
            PruneRequest(older_than="1h"), RunContext(settings=Settings(cache_root=cache.root, cache_size="0K"))
        )
    ).removed == ()


async def test_contradicting_wishes_are_refused(cache: Cache) -> None:
    with pytest.raises(UsageError, match="--all and --to"):
        await cache_prune(PruneRequest(to="1G", everything=True), RunContext(settings=Settings(cache_root=cache.root)))
