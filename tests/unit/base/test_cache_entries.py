"""The cache folder: made once, complete or not there, whatever happens to its makers."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import BugError, DiskFullError

RECIPE = "ab" * 32
OTHER = "cd" * 32
Process = subprocess.Popen[str]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def fill(cache: Cache, recipe: str = RECIPE, text: str = "x") -> Path:
    with cache.make("disks", recipe) as work:
        if not work.ready:
            (work.folder / "disk").write_text(text)
            work.manifest = {"text": text}
    return work.entry


def leftovers(cache: Cache) -> list[str]:
    return [f"{name}/{path.name}" for name in ("work", "locks") for path in (cache.root / name).glob("*")]


@pytest.fixture
def run_python(cache: Cache) -> Iterator[Callable[[str], Process]]:
    """Starts a process that has ``cache`` and ``RECIPE``, and prints a line when its test should go on."""
    started: list[Process] = []

    def start(body: str) -> Process:
        source = (
            "import os, sys, time\nfrom pathlib import Path\nfrom gns3_minivm.base.cache import Cache\n"
            f"cache = Cache(Path({str(cache.root)!r})); RECIPE = {RECIPE!r}\n" + textwrap.dedent(body)
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


def test_nothing_is_found_and_nothing_is_made_in_an_empty_cache(cache: Cache) -> None:
    assert cache.find("disks", RECIPE) is None
    assert cache.entries("kernels") == []
    assert not cache.root.exists()


def test_a_made_entry_is_found_with_its_files_and_manifest(cache: Cache) -> None:
    entry = fill(cache)
    assert cache.find("disks", RECIPE) == entry == cache.root / "disks" / RECIPE
    assert (entry / "disk").read_text() == "x"
    assert json.loads((entry / "manifest.json").read_text()) == {"text": "x"}
    assert leftovers(cache) == []


def test_a_second_maker_sees_the_first_ones_entry(cache: Cache) -> None:
    fill(cache, text="first")
    assert (fill(cache, text="second") / "disk").read_text() == "first"


def test_the_files_of_an_entry_are_read_only(cache: Cache) -> None:
    entry = fill(cache)
    assert {path.stat().st_mode & 0o777 for path in entry.iterdir()} == {0o444}


def test_entries_come_in_the_order_of_their_last_use(cache: Cache) -> None:
    first, second = fill(cache, RECIPE), fill(cache, OTHER)
    os.utime(first, (1, 1))
    assert cache.entries("disks") == [second, first]
    fill(cache, RECIPE)
    assert cache.entries("disks") == [first, second]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "bad")])
def test_a_block_that_raises_leaves_nothing(cache: Cache, error: BaseException) -> None:
    with pytest.raises(type(error)), cache.make("disks", RECIPE) as work:
        (work.folder / "half").write_text("half")
        raise error
    assert cache.find("disks", RECIPE) is None
    assert leftovers(cache) == []


def test_an_entry_without_a_manifest_is_a_defect(cache: Cache) -> None:
    with pytest.raises(BugError, match="without a manifest"), cache.make("disks", RECIPE):
        pass


@pytest.mark.parametrize("name", ["", "../x", "ABC", "x y"])
def test_only_recipe_ids_name_entries(cache: Cache, name: str) -> None:
    with pytest.raises(BugError):
        cache.find("disks", name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_its_path_and_a_way_out(cache: Cache, number: int) -> None:
    with pytest.raises(DiskFullError) as caught, cache.make("disks", RECIPE) as work:
        raise OSError(number, os.strerror(number), str(work.folder / "disk"))
    assert str(cache.root) in caught.value.message
    assert "--cache" in caught.value.hint
    assert leftovers(cache) == []


def test_a_cache_folder_that_may_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    # Rights do not stop root, who may run the tests.
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(DiskFullError, match="Permission denied") as caught:
        fill(Cache(tmp_path / "cache"))
    assert "--cache" in caught.value.hint


def test_a_cache_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(DiskFullError, match="cache"):
        fill(Cache(tmp_path / "cache"))


def test_another_files_permissions_are_not_blamed_on_the_cache(cache: Cache) -> None:
    with pytest.raises(PermissionError), cache.make("disks", RECIPE):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/key")


def test_a_scratch_folder_lives_as_long_as_its_block(cache: Cache) -> None:
    with cache.scratch() as folder, cache.scratch() as other:
        assert folder.is_dir() and other.is_dir() and folder != other
    assert leftovers(cache) == []


def test_a_held_folder_lasts_and_is_one_users_at_a_time(cache: Cache) -> None:
    users: list[str] = []

    def use() -> None:
        with cache.hold("apt") as folder:
            assert list(folder.iterdir()) == []
            (folder / "lock").touch()
            time.sleep(0.05)
            (folder / "lock").unlink()
            users.append(folder.name)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert users == ["apt"] * 3
    assert (cache.root / "apt").is_dir()


def test_an_entry_can_be_removed_and_made_again(cache: Cache) -> None:
    fill(cache)
    cache.remove("disks", RECIPE)
    cache.remove("disks", RECIPE)
    assert cache.find("disks", RECIPE) is None
    assert (fill(cache, text="again") / "disk").read_text() == "again"


def test_two_threads_do_the_work_once(cache: Cache) -> None:
    made: list[int] = []

    def work(number: int) -> None:
        with cache.make("disks", RECIPE) as work:
            if not work.ready:
                made.append(number)
                time.sleep(0.1)
                work.manifest = {}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert leftovers(cache) == []


def test_a_process_waits_for_another_ones_result(cache: Cache, run_python: Callable[[str], Process]) -> None:
    maker = run_python(
        """
        with cache.make("disks", RECIPE) as work:
            print("begun", flush=True)
            time.sleep(0.5)
            (work.folder / "disk").write_text("maker")
            work.manifest = {}
        """,
    )
    assert read_line(maker) == "begun"
    assert (fill(cache, text="second") / "disk").read_text() == "maker"
    assert maker.wait() == 0


def test_the_work_of_a_killed_process_is_done_again_by_one_that_waits(
    cache: Cache, run_python: Callable[[str], Process]
) -> None:
    maker = run_python(
        """
        with cache.make("disks", RECIPE) as work:
            (work.folder / "half").write_text("half")
            print("begun", flush=True)
            time.sleep(60)
        """,
    )
    assert read_line(maker) == "begun"
    threading.Timer(0.2, maker.send_signal, (signal.SIGKILL,)).start()
    entry = fill(cache, text="second")
    maker.wait()
    assert sorted(path.name for path in entry.iterdir()) == ["disk", "manifest.json"]
    assert leftovers(cache) == []


def test_what_killed_processes_left_is_removed_and_what_living_ones_use_is_not(
    cache: Cache, run_python: Callable[[str], Process]
) -> None:
    script = """
        with cache.scratch() as folder, cache.make("kernels", RECIPE) as work:
            (folder / "spool").write_text("x")
            print(folder.name, flush=True)
            time.sleep(60)
        """
    dead, alive = run_python(script), run_python(script.replace("RECIPE", repr(OTHER)))
    read_line(dead)
    used = read_line(alive)
    dead.kill()
    dead.wait()
    fill(Cache(cache.root), "ef" * 32)
    assert sorted(path.name for path in (cache.root / "work").iterdir()) == sorted([used, f"kernels-{OTHER}"])


def test_a_process_killed_at_any_moment_leaves_a_whole_entry_or_none(
    cache: Cache, run_python: Callable[[str], Process]
) -> None:
    body = """
        import itertools
        for number in itertools.count():
            with cache.make("disks", f"{number:064x}") as work:
                if not work.ready:  # of an earlier turn: its files are never written to again
                    for name in "abc":
                        (work.folder / name).write_text(name * 5000)
                    work.manifest = {"number": number}
            if not number:
                print("begun", flush=True)
        """
    for turn in range(5):
        process = run_python(body)
        read_line(process)
        time.sleep(0.013 * turn)
        process.kill()
        process.wait()
        for entry in (cache.root / "disks").iterdir():
            assert sorted(path.name for path in entry.iterdir()) == ["a", "b", "c", "manifest.json"]
            json.loads((entry / "manifest.json").read_text())
            assert all((entry / name).stat().st_size == 5000 for name in "abc")


def test_a_lock_file_taken_away_while_waiting_is_not_trusted(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner removed it: who still waits on the old file would hold a lock that newcomers do not see."""
    path = cache.root / "locks" / f"disks-{RECIPE}"
    locked: list[int] = []
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        if operation & fcntl.LOCK_EX:
            locked.append(descriptor)
            if len(locked) == 1:
                path.unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with cache.make("disks", RECIPE) as work:
        assert path.exists()
        work.manifest = {}
    assert len(locked) == 2
