"""An image becomes a disk once; whatever goes wrong on the way leaves nothing."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import multiprocessing
import os
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gns3_minivm.base.artifacts import Kind
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import DamagedImageError, DiskFullError, DiskTooSmallError, MiniVMError
from gns3_minivm.base.events import Event, Events, Note, StepAdvanced, StepStarted
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert, find_disk
from gns3_minivm.convert.recipe import DiskRecipe
from gns3_minivm.formats.ext4 import Ext4Reader
from gns3_minivm.formats.qcow2 import Qcow2Reader
from gns3_minivm.guest.contract import CONFIG_PATH, GuestConfig, decode_config
from gns3_minivm.images.model import Image, ImageInfo, Layer

SMALL = DiskOptions(size_bytes=64 << 20)
CONTENT = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(20_000))


def layer(add: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("data")
        info.size, info.mtime = len(CONTENT), 1_000_000_000
        tar.addfile(info, io.BytesIO(CONTENT))
        if add:
            add(tar)
    return stream.getvalue()


class FakeImage(Image):
    """An image of one layer in memory, that counts how often it is fetched."""

    def __init__(self, data: bytes, *, before: Callable[[Path], None] = lambda _: None) -> None:
        diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
        config = GuestConfig(cmd=("/bin/sh",), env=("A=ä b ",))
        self.info = ImageInfo(
            reference="fake:1",
            name="fake",
            version="1",
            architecture="amd64",
            diff_ids=(diff_id,),
            config=config,
            size_bytes=len(data),
        )
        self.fetched = 0
        self._data = data
        self._before = before

    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        self.fetched += 1
        path = spool / "layer"
        path.write_bytes(self._data)
        self._before(spool)
        progress(len(self._data))
        return [Layer(self.info.diff_ids[0], path, 0, len(self._data))]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def left(cache: Cache) -> list[str]:
    """All files and folders of the cache but its own four folders."""
    return sorted(str(path.relative_to(cache.root)) for path in cache.root.rglob("*") if path.parent != cache.root)


def read(disk: Path, path: bytes) -> bytes:
    with Qcow2Reader(disk) as source:
        reader = Ext4Reader(source)
        ino = reader.lookup(path)
        assert ino is not None
        return reader.read_file(ino)


def test_an_image_becomes_a_disk_with_its_files_and_its_configuration(cache: Cache) -> None:
    image = FakeImage(layer())
    disk = convert(image, SMALL, cache, Events())
    recipe = DiskRecipe(image.info, SMALL)
    assert disk.kind is Kind.DISK
    assert disk.filename == recipe.filename
    assert disk.size_bytes == disk.path.stat().st_size
    assert disk.sha256 == hashlib.sha256(disk.path.read_bytes()).hexdigest()
    assert disk.md5 == hashlib.md5(disk.path.read_bytes(), usedforsecurity=False).hexdigest()
    assert read(disk.path, b"data") == CONTENT
    assert decode_config(read(disk.path, CONFIG_PATH)) == (image.info.config, image.info.diff_ids)


def test_nothing_but_the_disk_and_its_manifest_stays(cache: Cache) -> None:
    disk = convert(FakeImage(layer()), SMALL, cache, Events())
    entry = disk.path.parent.relative_to(cache.root)
    assert left(cache) == sorted([str(entry), f"{entry}/disk.qcow2", f"{entry}/manifest.json"])


def test_a_second_time_it_is_found_and_nothing_is_fetched_or_told(cache: Cache) -> None:
    image = FakeImage(layer())
    first = convert(image, SMALL, cache, Events())
    seen: list[Event] = []
    assert convert(image, SMALL, cache, Events(seen.append)) == first
    assert find_disk(DiskRecipe(image.info, SMALL), cache) == first
    assert (image.fetched, seen) == (1, [])


def test_a_disk_that_was_made_now_is_handed_out_whole_before_its_digests_are_known(cache: Cache) -> None:
    image = FakeImage(layer())
    seen: list[bytes] = []
    disk = convert(image, SMALL, cache, Events(), lambda path: seen.append(path.read_bytes()))
    assert [hashlib.md5(data, usedforsecurity=False).hexdigest() for data in seen] == [disk.md5]
    convert(image, SMALL, cache, Events(), lambda _: seen.append(b"again"))
    assert len(seen) == 1


@pytest.mark.parametrize("compression", ["zstd", "zlib", "none"])
def test_the_same_image_gives_the_same_bytes(tmp_path: Path, compression: str) -> None:
    options = DiskOptions(size_bytes=SMALL.size_bytes, compression=compression)  # type: ignore[arg-type]
    first = convert(FakeImage(layer()), options, Cache(tmp_path / "one"), Events())
    second = convert(FakeImage(layer()), options, Cache(tmp_path / "two"), Events())
    assert first.sha256 == second.sha256
    with Qcow2Reader(first.path) as disk:
        assert disk.info.virtual_size == options.size_bytes


def test_progress_is_told_in_bytes_for_every_part(cache: Cache) -> None:
    seen: list[Event] = []
    convert(FakeImage(layer()), SMALL, cache, Events(seen.append))
    steps = [event for event in seen if isinstance(event, StepStarted)]
    titles = ["Converting fake", "Fetching the layers", "Reading the layers", "Writing the disk"]
    assert [step.title for step in steps] == titles
    assert {step.parent for step in steps[1:]} == {steps[0].step}
    assert all(step.unit == "bytes" and step.total for step in steps[1:])
    assert {event.step for event in seen if isinstance(event, StepAdvanced)} >= {step.step for step in steps[1:]}


def test_an_entry_of_another_size_than_it_says_is_made_again(cache: Cache) -> None:
    image = FakeImage(layer())
    first = convert(image, SMALL, cache, Events())
    first.path.chmod(0o644)
    os.truncate(first.path, 100)
    assert find_disk(DiskRecipe(image.info, SMALL), cache) is None
    assert convert(image, SMALL, cache, Events()) == first
    assert first.path.stat().st_size == first.size_bytes and image.fetched == 2


@pytest.mark.parametrize("harm", [True, False])
def test_an_entry_that_was_written_to_is_made_again_if_its_bytes_have_changed(cache: Cache, harm: bool) -> None:
    image = FakeImage(layer())
    first = convert(image, SMALL, cache, Events())
    first.path.chmod(0o644)
    with first.path.open("r+b") as file:
        file.seek(first.size_bytes // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ harm]))
    assert convert(image, SMALL, cache, Events()) == first
    assert image.fetched == 1 + harm
    assert hashlib.md5(first.path.read_bytes(), usedforsecurity=False).hexdigest() == first.md5


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"disk": 5}', '{"disk": {"size_bytes": "x"}}'])
def test_an_entry_with_a_damaged_manifest_is_made_again(cache: Cache, manifest: str) -> None:
    image = FakeImage(layer())
    first = convert(image, SMALL, cache, Events())
    path = first.path.with_name("manifest.json")
    path.chmod(0o644)
    path.write_text(manifest)
    assert convert(image, SMALL, cache, Events()) == first


def fail(error: BaseException) -> Callable[[Path], None]:
    def raise_it(_spool: Path) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("image", "raised"),
    [
        (FakeImage(layer()[:-20_000]), DamagedImageError),
        (FakeImage(layer(), before=fail(DamagedImageError("changed"))), DamagedImageError),
        (FakeImage(layer(), before=fail(OSError(errno.ENOSPC, "No space left on device"))), DiskFullError),
        (FakeImage(layer(), before=fail(KeyboardInterrupt())), KeyboardInterrupt),
    ],
)
def test_a_failure_leaves_nothing(cache: Cache, image: FakeImage, raised: type[BaseException]) -> None:
    with pytest.raises(raised):
        convert(image, SMALL, cache, Events())
    assert left(cache) == []


def test_a_disk_that_is_too_small_is_told_with_the_size_that_would_do(cache: Cache) -> None:
    def big(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("big")
        info.size = 20 << 20
        tar.addfile(info, io.BytesIO(CONTENT * (info.size // len(CONTENT) + 1)))

    with pytest.raises(DiskTooSmallError):
        convert(FakeImage(layer(big)), DiskOptions(size_bytes=16 << 20), cache, Events())
    assert left(cache) == []


async def test_a_conversion_that_is_given_up_leaves_nothing(cache: Cache) -> None:
    waiting = threading.Event()

    def wait(_spool: Path) -> None:
        waiting.set()
        time.sleep(0.2)

    task = asyncio.create_task(run_blocking(convert, FakeImage(layer(), before=wait), SMALL, cache, Events()))
    await asyncio.to_thread(waiting.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(cache) == []


def make_in_process(root: Path, log: Path) -> None:
    def note(_spool: Path) -> None:
        with log.open("a") as stream:
            stream.write("fetched\n")
        time.sleep(0.3)

    convert(FakeImage(layer(), before=note), SMALL, Cache(root), Events())


def test_two_processes_do_not_do_the_same_work_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    processes = [context.Process(target=make_in_process, args=(tmp_path / "cache", log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text() == "fetched\n"


def test_an_image_cannot_lead_the_configuration_elsewhere(cache: Cache) -> None:
    def hostile(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(".minivm")
        info.type, info.linkname = tarfile.SYMTYPE, "etc"
        tar.addfile(info)

    image = FakeImage(layer(hostile))
    disk = convert(image, SMALL, cache, Events())
    assert decode_config(read(disk.path, CONFIG_PATH))[1] == image.info.diff_ids
    with Qcow2Reader(disk.path) as source:
        assert Ext4Reader(source).lookup(b"etc") is None


def test_what_cannot_be_stored_is_told_and_the_rest_is_kept(cache: Cache) -> None:
    def large(tar: tarfile.TarFile) -> None:
        for number in range(12):
            info = tarfile.TarInfo(f"file{number}")
            info.pax_headers = {"SCHILY.xattr.user.large": "x" * 10_000}
            tar.addfile(info)

    seen: list[Event] = []
    disk = convert(FakeImage(layer(large)), SMALL, cache, Events(seen.append))
    notes = [event for event in seen if isinstance(event, Note)]
    assert len(notes) == 11 and {note.level for note in notes} == {"warning"}
    assert "user.large" in notes[0].message and notes[-1].message == "... and 2 more of this kind"
    assert read(disk.path, b"file11") == b""


def test_every_error_of_a_conversion_is_one_of_ours(cache: Cache) -> None:
    image = FakeImage(b"this is no tar archive" * 1000)
    with pytest.raises(MiniVMError) as caught:
        convert(image, SMALL, cache, Events())
    assert image.info.diff_ids[0] in caught.value.message
