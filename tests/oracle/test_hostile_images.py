"""Hostile images: a data error that names layer and entry, or a disk that e2fsck finds nothing wrong with.

And in each case no file but the disk, neither where the names in the image point to nor anywhere else.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.guest.contract import decode_config
from tests.support.disks import judge, run
from tests.support.hostile import convert_or_refuse, nothing_left_in
from tests.support.layers import Item, directory, file, hard_link, item, symlink, tar_bytes
from tests.support.minivm import gns3_minivm
from tests.support.oci import CONFIG, layout, make_image, write_files
from tests.support.odd_tars import (
    ARCHIVES,
    HEADER_FIELDS,
    RECORD_KEYS,
    RECORD_VALUES,
    VALUES,
    with_field,
    with_records,
)
from tests.support.tools import require_tool

OUTSIDE = "/var/tmp/gns3-minivm-outside"
BAD = "\udcff\udcfe"


def numbered(kind: bytes, field: slice, value: int) -> bytes:
    """An archive of one entry, a number of which is in base 256."""
    data = bytearray(tar_bytes([item("odd", kind)], tarfile.GNU_FORMAT))
    size = field.stop - field.start
    data[field] = b"\x80" + value.to_bytes(size - 1, "big") if value >= 0 else value.to_bytes(size, "big", signed=True)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


SIZE, TIME, OWNER = slice(124, 136), slice(136, 148), slice(108, 116)


def deep(levels: int) -> list[Item]:
    return [file("d/" * levels + "f", b"deep")]


# What becomes a disk, and the names on it that show where things have gone.
DISKS: dict[str, tuple[list[Item] | bytes, list[str]]] = {
    "names that lead upwards": ([file("../../../../.." + OUTSIDE + "/a", b"x")], [OUTSIDE[1:] + "/a"]),
    "absolute names": ([file(OUTSIDE + "/a", b"x")], [OUTSIDE[1:] + "/a"]),
    "a symlink to the outside": ([symlink("way", OUTSIDE), file("way/a", b"x")], [OUTSIDE[1:] + "/a"]),
    "a symlink upwards": ([symlink("way", "../../../.." + OUTSIDE), file("way/a", b"x")], [OUTSIDE[1:] + "/a"]),
    "a symlink to the root": ([symlink("way", "/"), file("way/way/way/a", b"x")], ["a"]),
    "symlinks in a circle": ([symlink("a", "b"), symlink("b", "a")], ["a", "b"]),
    "whiteouts that lead upwards": ([file("../../.wh.etc"), file("/tmp/../../.wh..wh..opq"), file("a")], ["a"]),
    "names of 255 bytes": ([file("n" * 255, b"x"), directory("d" * 255)], ["n" * 255, "d" * 255]),
    "newlines and other bytes": (
        [file("a\nb\r\t\x7f", b"x"), file(BAD, b"y"), symlink("s\n", "t\n")],
        ["a\nb\r\t\x7f"],
    ),
    "the shell's characters": ([file("$(touch x)`;rm -rf *'\"", b"x"), file("-rf", b"x")], ["-rf"]),
    "a name twice a thousand times": ([file("a", b"%d" % number) for number in range(1000)], ["a"]),
    "every kind in one name": (
        [directory("a"), file("a"), symlink("a", "b"), item("a", tarfile.FIFOTYPE), directory("a"), file("a/b")],
        ["a/b"],
    ),
    "negative times": (numbered(tarfile.REGTYPE, TIME, -(1 << 60)), ["odd"]),
    "huge times": (numbered(tarfile.REGTYPE, TIME, (1 << 62)), ["odd"]),
    "pax times": (
        [file("a", mtime=-99999999999.5), file("b", mtime=10**17), directory("c", mtime=1e11)],
        ["a", "b", "c"],
    ),
    "deep folders": (deep(1900), ["d/d"]),
    "too many attributes": ([file("a", b"x", xattrs={f"user.{n}": b"v" * 900 for n in range(200)})], ["a"]),
    "odd attributes": (
        [
            file(
                "a",
                xattrs={"user.": b"", "nothing": b"1", "user." + "n" * 300: b"", "security.selinux": b"\0" * 70_000},
            )
        ],
        ["a"],
    ),
    "files named as ours": ([symlink(".minivm", OUTSIDE), file("lost+found", b"x")], [".minivm/config"]),
}

# What is refused, and the words that say where it is.
REFUSED: dict[str, tuple[list[Item] | bytes, str]] = {
    "a hard link to the outside": ([hard_link("h", "/etc/shadow")], "entry 'h': .*'/etc/shadow' does not exist"),
    "a hard link upwards": ([hard_link("h", "../../etc/shadow")], "entry 'h': .*does not exist"),
    "hard links in a circle": ([hard_link("a", "b"), hard_link("b", "a")], "entry 'a': .*does not exist"),
    "a way through a circle": ([symlink("a", "b"), symlink("b", "a"), file("a/x")], "entry 'a/x'"),
    "a name of 256 bytes": ([file("n" * 256)], "entry 'nnn.*256"),
    "a name without end": ([file("d/" * 3000 + "f")], "entry 'd/d/.*600"),
    "an owner out of range": (numbered(tarfile.REGTYPE, OWNER, (1 << 32) - 1), "entry 'odd'.*4294967295"),
    "a negative owner": (numbered(tarfile.REGTYPE, OWNER, -5), "entry 'odd'.*-5"),
    "a negative size": (numbered(tarfile.REGTYPE, SIZE, -5), "entry 'odd': .*-5"),
    "a size without end": (numbered(tarfile.REGTYPE, SIZE, 1 << 62), "entry 'odd': .*ends inside"),
    "a special file behind a file": ([file("a"), item("a/b", tarfile.FIFOTYPE)], "entry 'a/b'"),
    "a type that nobody knows": ([item("odd", b"Z")], "entry 'odd': .*b'Z'"),
    "not a tar archive": (b"hello" * 1000, "not a tar archive"),
    "an archive cut off": (tar_bytes([file("whole", b"x" * 600)])[:900], "entry 'whole': .*ends inside"),
    "a header cut off": (tar_bytes([file("whole", b"x"), file("cut")])[:1200], "ends inside a header"),
    "a null in a name": (tar_bytes([file("a" * 101)]).replace(b"=" + b"a" * 101, b"=a\0" + b"a" * 99), "entry 'a"),
}  # fmt: skip


def write_image(folder: Path, layers: list[bytes], pack: Callable[[bytes], bytes] = bytes) -> str:
    return f"oci:{write_files(folder / 'image', layout(make_image(layers, pack)))}"


@contextmanager
def judged(disk: Path, folder: Path) -> Iterator[ext4.Ext4Reader]:
    """Our reader of a disk, after the judges."""
    (folder / "disk.qcow2").symlink_to(disk)
    judge(folder / "disk.qcow2").unlink()
    with qcow2.Qcow2Reader(disk) as source:
        yield ext4.Ext4Reader(source)


@pytest.mark.parametrize("name", DISKS)
def test_a_hostile_layer_becomes_a_clean_disk_and_nothing_else(tmp_path: Path, name: str) -> None:
    entries, names = DISKS[name]
    layer = entries if isinstance(entries, bytes) else tar_bytes(entries)
    # In the second layer, so that its whiteouts count.
    place = write_image(tmp_path, [tar_bytes([file("base"), directory("etc")]), layer])
    assert not Path(OUTSIDE).exists()
    with nothing_left_in(tmp_path / "image"):
        disk = convert_or_refuse(place, tmp_path / "cache")
    assert isinstance(disk, Artifact), disk
    assert not Path(OUTSIDE).exists()
    with judged(disk.path, tmp_path) as reader:
        there = {path for path, _ in reader.walk()}
    assert {one.encode("utf-8", "surrogateescape") for one in names} <= there
    assert [entry.name for entry in disk.path.parent.iterdir() if entry.suffix not in (".qcow2", ".json")] == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_no_disk_can_be_made_of_is_named_with_its_entry(tmp_path: Path, name: str) -> None:
    entries, words = REFUSED[name]
    layer = entries if isinstance(entries, bytes) else tar_bytes(entries)
    digest = hashlib.sha256(layer).hexdigest()
    place = write_image(tmp_path, [tar_bytes([file("base")]), layer])
    with nothing_left_in(tmp_path / "image"):
        error = convert_or_refuse(place, tmp_path / "cache")
    assert not isinstance(error, Artifact)
    assert re.match(rf"layer 2 of 2 \(sha256:{digest}\).*{words}", error.message, re.DOTALL), error.message
    assert error.hint


# Configurations: what a disk is made of all the same, and what is refused.
ODD_CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "halves of characters": ({"config": {"Env": ["A=\ud800"], "Labels": {"\udfff": "\udcff"}, "User": "\udc80"}}, ""),
    "control characters": ({"config": {"Env": ["A=\0b\n"], "StopSignal": "\n; rm", "WorkingDir": "\x1b[2J"}}, ""),
    "a way out as folder": ({"config": {"WorkingDir": "../../..", "Volumes": {"/../../x": {}}}}, ""),
    "a variable without a value": ({"config": {"Env": ["A", "", "=", "=x"]}}, ""),
    "megabytes of a variable": ({"config": {"Env": ["A=" + "x" * 3_000_000]}}, ""),
    "another system": ({"os": "\ud800"}, "is made for"),
    "a number as architecture": ({"architecture": 5}, "is made for"),
    "no layers": ({"rootfs": 5}, "has no layers"),
    "layers that are numbers": ({"rootfs": {"diff_ids": [5]}}, "names a layer 5"),
    "words that are none": ({"config": {"Cmd": [None]}}, "has .* as its Cmd"),
    "no object": ({"config": "text"}, "has 'text' as its config"),
}


@pytest.mark.parametrize("name", ODD_CONFIGS)
def test_an_odd_configuration_is_refused_or_gives_a_clean_disk(tmp_path: Path, name: str) -> None:
    changes, words = ODD_CONFIGS[name]
    image = make_image([tar_bytes([file("a", b"x")])])
    config = json.loads(image.blobs[image.manifest["config"]["digest"]])
    image.manifest["config"] = image.add(json.dumps(config | changes).encode(), CONFIG)
    found = convert_or_refuse(f"oci:{write_files(tmp_path / 'image', layout(image))}", tmp_path / "cache")
    if words:
        assert not isinstance(found, Artifact) and re.search(words, found.message), found
        found.message.encode()
    else:
        assert isinstance(found, Artifact), found
        with judged(found.path, tmp_path) as reader:
            ino = reader.lookup(b".minivm/config")
            assert ino is not None
            decode_config(reader.read_file(ino))


def assert_clean_or_refused(layers: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        disk = convert_or_refuse(write_image(folder, layers), folder / "cache")
        if isinstance(disk, Artifact):
            with judged(disk.path, folder) as reader:
                assert reader.lookup(b".minivm/config")
        else:
            assert re.match(r"layer \d of \d \(sha256:|the disk", disk.message), disk.message


ODD_ARCHIVES = st.one_of(
    st.builds(with_field, st.sampled_from(ARCHIVES), st.integers(0, 99), st.sampled_from(HEADER_FIELDS), VALUES),
    st.builds(with_records, st.dictionaries(st.sampled_from(RECORD_KEYS), RECORD_VALUES, max_size=6), st.binary()),
)
SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@settings(SETTINGS, max_examples=30)
@given(st.lists(ODD_ARCHIVES, min_size=1, max_size=3))
def test_odd_layers_are_refused_or_give_a_clean_disk(layers: list[bytes]) -> None:
    assert_clean_or_refused(layers)


@pytest.mark.long
@settings(SETTINGS, max_examples=1000)
@given(st.lists(ODD_ARCHIVES, min_size=1, max_size=3))
def test_many_odd_layers_are_refused_or_give_a_clean_disk(layers: list[bytes]) -> None:
    assert_clean_or_refused(layers)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
def test_a_bomb_that_is_no_archive_is_refused_and_one_that_is_a_file_of_zeros_is_a_hole(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    size = 150 << 20
    info = tarfile.TarInfo("zeros")
    info.size = size
    header = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "bomb").mkdir()
    bad = write_image(tmp_path / "bomb", [b"x" + bytes(size)], pack)
    error = convert_or_refuse(bad, tmp_path / "cache")
    assert not isinstance(error, Artifact) and error.message.startswith("layer 1 of 1")
    good = write_image(tmp_path, [header + bytes(size + 1024)], pack)
    disk = convert_or_refuse(good, tmp_path / "cache")
    assert isinstance(disk, Artifact), disk
    assert disk.size_bytes < 3 << 20
    with judged(disk.path, tmp_path) as reader:
        ino = reader.lookup(b"zeros")
        assert ino is not None and reader.stat(ino).size == size


@pytest.mark.parametrize("scheme", ["oci-archive", "docker-archive"])
async def test_the_command_refuses_a_damaged_archive_in_one_message(tmp_path: Path, scheme: str) -> None:
    skopeo = require_tool("skopeo")
    program = random.Random(5).randbytes(40_000)
    source = write_image(tmp_path, [tar_bytes([file("a", b"text " * 4000)]), tar_bytes([file("b", program)])])
    archive = tmp_path / "archive.tar"
    run(skopeo, "--insecure-policy", "copy", source, f"{scheme}:{archive}:x:1")
    good = archive.read_bytes()
    output, cache = tmp_path / "disk.qcow2", tmp_path / "cache"
    chance = random.Random(2026)
    for number in range(5):
        data = bytearray(good)
        if number == 0:
            del data[len(good) // 2 :]
        else:
            # In the middle of the layer that does not compress.
            place = len(good) // 3 + chance.randrange(len(good) // 4)
            data[place] ^= 1 << chance.randrange(8)
        archive.write_bytes(data)
        finished = await gns3_minivm("convert", f"{scheme}:{archive}", "-o", str(output), cache=cache)
        assert finished.status == 1, finished.out
        assert finished.err.count("error: ") == 1 and "Traceback" not in finished.err, finished.err
        assert "layer" in finished.err or str(archive) in finished.err
        assert not output.exists() and not list(tmp_path.glob(".disk*"))
        assert [path for path in cache.rglob("*") if path.is_file() and path.parent.name != "locks"] == []
    archive.write_bytes(good)
    finished = await gns3_minivm("convert", f"{scheme}:{archive}", "-o", str(output), "--json", cache=cache)
    assert finished.result()["disk"]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
