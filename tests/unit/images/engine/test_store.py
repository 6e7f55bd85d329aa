"""The engine's own folders give its layers back, byte for byte, or not at all."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import DiskFullError
from gns3_minivm.images.engine.store import OutOfReachError, copy_layers, layer_folders
from tests.support.engine_store import Store, packed, split
from tests.support.layers import directory, file, hard_link, symlink, tar_bytes

BASE = tar_bytes(
    [
        directory("etc"),
        file("etc/motd", b"hello"),
        file("etc/empty", b""),
        file("etc/deep/er/x", b"x" * 5000),
        file("etc/deep/y", b"y" * 513),
        file("etc/deep/er/z", b"z" * 512),
        symlink("link", "etc/motd"),
        hard_link("same", "etc/motd"),
        file("big", bytes(range(256)) * 12_000),
        file("zeros", bytes(3 << 20)),
    ]
)
TOP = tar_bytes([file("etc/.wh.motd", b""), file("etc/b\udcff\u00e4", b"odd"), file("./last", b"1")])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "docker", BASE, TOP)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


def test_the_layers_are_those_that_were_loaded(store: Store, spool: Path) -> None:
    folders = layer_folders(store.inspected(), store.diff_ids)
    assert folders == store.folders
    arrived: list[int] = []
    layers = copy_layers(folders, store.diff_ids, spool, arrived.append)
    found = [layer.path.read_bytes()[layer.offset : layer.offset + layer.size] for layer in layers]
    assert found == [BASE, TOP]
    assert [layer.diff_id for layer in layers] == store.diff_ids
    assert sum(arrived) == len(BASE) + len(TOP)


def test_an_image_of_one_layer_has_no_lower_folders(tmp_path: Path, spool: Path) -> None:
    store = Store(tmp_path / "docker", BASE)
    folders = layer_folders(store.inspected(), store.diff_ids)
    [layer] = copy_layers(folders, store.diff_ids, spool, lambda _: None)
    assert layer.path.read_bytes() == BASE


def shorten_motd(store: Store) -> None:
    (store.folders[0] / "etc/motd").write_bytes(b"hell")


def change_motd(store: Store) -> None:
    (store.folders[0] / "etc/motd").write_bytes(b"HELLO")


def remove_last(store: Store) -> None:
    (store.folders[1] / "last").unlink()


def replace_with(make: Callable[[Path], object]) -> Callable[[Store], None]:
    def change(store: Store) -> None:
        path = store.folders[1] / "last"
        path.unlink()
        make(path)

    return change


def lead_out(store: Store) -> None:
    """What a layer's own link leads to has the right bytes, and is outside."""
    outside = store.folders[0].parents[3] / "outside"
    (store.folders[0] / "etc/deep").rename(outside)
    (store.folders[0] / "etc/deep").symlink_to(outside)


def split_with(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        entries = split(TOP)
        change(entries)
        store.splits[1].write_bytes(packed(entries))

    return damage


def cut_off(store: Store) -> None:
    store.splits[1].write_bytes(store.splits[1].read_bytes()[:-9])


def without_end(store: Store) -> None:
    store.splits[1].write_bytes(gzip.compress(gzip.decompress(store.splits[1].read_bytes())[:-5]))


CHANGES: list[Callable[[Store], object]] = [
    shorten_motd,
    change_motd,
    remove_last,
    replace_with(os.mkfifo),
    replace_with(lambda path: path.symlink_to("/etc/passwd")),
    replace_with(Path.mkdir),
    lead_out,
    cut_off,
    without_end,
    split_with(lambda entries: entries.pop()),
    split_with(lambda entries: entries[-2].update(name="../last")),
    split_with(lambda entries: entries[-2].update(name="a/../../last")),
    split_with(lambda entries: entries[-2].update(name="")),
    split_with(lambda entries: entries[-2].update(name=None)),
    split_with(lambda entries: entries[-2].update(name="a\0b")),
    split_with(lambda entries: entries[-2].update(size=-1)),
    split_with(lambda entries: entries[-2].update(size="1")),
    split_with(lambda entries: entries[-2].update(size=1 << 70)),
    split_with(lambda entries: entries[-1].update(payload="!")),
    split_with(lambda entries: entries[-1].update(payload=5)),
    split_with(lambda entries: entries[-1].pop("type")),
    lambda store: store.splits[1].write_bytes(b"no gzip"),
    lambda store: store.splits[1].write_bytes(gzip.compress(b"[\n")),
    lambda store: store.splits[1].write_bytes(gzip.compress(b"5\n")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_it_was_is_not_taken(store: Store, spool: Path, change: Callable[[Store], None]) -> None:
    change(store)
    with pytest.raises(OutOfReachError):
        copy_layers(store.folders, store.diff_ids, spool, lambda _: None)
    assert not list(spool.iterdir())
    assert not any(os.readlink(f"/proc/self/fd/{name}").startswith(str(store.folders[0])) for name in descriptors())


def descriptors() -> list[str]:
    return [name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"GraphDriver": None},
        {"GraphDriver": {"Name": "overlay2", "Data": None}},
        {"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": 5}}},
        {"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": ""}}},
        {"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "x", "LowerDir": "y"}}},
        {"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/proc/none/a/b", "LowerDir": "/"}}},
        {"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/a\0b", "LowerDir": "/"}}},
    ],
)
def test_an_engine_that_does_not_say_where_they_are_is_asked_to_send_them(store: Store, answer: dict[str, Any]) -> None:
    assert layer_folders(answer, store.diff_ids) == []


def test_folders_of_another_driver_or_number_are_not_looked_at(store: Store) -> None:
    inspected = store.inspected()
    assert layer_folders(inspected, store.diff_ids[:1]) == []
    inspected["GraphDriver"]["Name"] = "btrfs"
    assert layer_folders(inspected, store.diff_ids) == []
    store.splits[0].unlink()
    assert layer_folders(store.inspected(), store.diff_ids) == []


def test_a_full_disk_is_told_as_such(store: Store, spool: Path) -> None:
    (spool / "layers").symlink_to("/dev/full")
    with pytest.raises(DiskFullError):
        copy_layers(store.folders, store.diff_ids, spool, lambda _: None)
