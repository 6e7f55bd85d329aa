"""Images in folders and files: the right one is found, and nothing in it is believed unchecked."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import random
from pathlib import Path
from typing import Any

import pytest
import zstandard

from gns3_minivm.base.errors import ArchitectureError, DamagedImageError, ImageNotFoundError
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images import unpack as unpack_module
from gns3_minivm.images.model import Image
from gns3_minivm.images.oci import guest_config
from gns3_minivm.images.resolve import FILE_SCHEMES
from gns3_minivm.images.unpack import CHUNK_SIZE, PieceReader, UnpackError, open_packed, unpack
from tests.support.layers import file, tar_bytes
from tests.support.oci import BlobImage, make_image, sha256

LAYERS = [tar_bytes([file("a", b"first " * 5000)]), tar_bytes([file("b", random.Random(2).randbytes(100_000))])]
TAG = "org.opencontainers.image.ref.name"
PACKERS: dict[str, Any] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


def find(name: str) -> Image:
    scheme, _, place = name.partition(":")
    return FILE_SCHEMES[scheme](place)


def fetched(image: Image, folder: Path) -> list[bytes]:
    spool = folder / "spool"
    spool.mkdir()
    layers = image.fetch(spool, lambda _: None)
    assert tuple(layer.diff_id for layer in layers) == image.info.diff_ids
    return [layer.path.read_bytes()[layer.offset : layer.offset + layer.size] for layer in layers]


def members(image: BlobImage, *entries: dict[str, Any]) -> dict[str, bytes]:
    index = json.dumps({"schemaVersion": 2, "manifests": list(entries or [image.top])}).encode()
    blobs = {f"blobs/{digest.replace(':', '/')}": data for digest, data in image.blobs.items()}
    return blobs | {"index.json": index, "oci-layout": b"{}"}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def archive(path: Path, files: dict[str, bytes], pack: Any = bytes) -> Path:
    path.write_bytes(pack(tar_bytes([file(name, data) for name, data in files.items()])))
    return path


def saved(path: Path, *images: tuple[BlobImage, list[str]], pack: Any = bytes) -> Path:
    files: dict[str, bytes] = {}
    entries = []
    for image, tags in images:
        config = image.blobs[image.manifest["config"]["digest"]]
        names = [f"{sha256(layer)[7:]}.tar" for layer in image.layers]
        files |= dict(zip(names, image.layers, strict=True)) | {f"{sha256(config)[7:]}.json": config}
        entries.append({"Config": f"{sha256(config)[7:]}.json", "RepoTags": tags, "Layers": names})
    return archive(path, files | {"manifest.json": json.dumps(entries).encode()}, pack)


@pytest.mark.parametrize("pack", PACKERS.values(), ids=list(PACKERS))
def test_every_source_gives_the_same_layers(tmp_path: Path, pack: Any) -> None:
    image = make_image(LAYERS, pack)
    folder = write(tmp_path / "layout", members(image))
    names = [
        f"oci:{folder}",
        f"oci-archive:{archive(tmp_path / 'oci.tar', members(image))}",
        f"oci-archive:{archive(tmp_path / 'oci.packed', members(image), pack)}",
        f"docker-archive:{saved(tmp_path / 'docker.packed', (image, []), pack=pack)}",
    ]
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir()
        found = find(name)
        assert found.info.config == GuestConfig(cmd=("sh",))
        assert fetched(found, tmp_path / str(number)) == LAYERS


def test_a_tag_says_which_image_of_a_layout(tmp_path: Path) -> None:
    one, two = make_image([LAYERS[0]]), make_image([LAYERS[1]])
    entries = (one.top | {"annotations": {TAG: "1"}}, two.top | {"annotations": {TAG: "x.example/team/app:2"}})
    one.blobs |= two.blobs
    folder = write(tmp_path / "layout", members(one, *entries))
    assert find(f"oci:{folder}:1").info.diff_ids == (sha256(LAYERS[0]),)
    assert (find(f"oci:{folder}:1").info.name, find(f"oci:{folder}:1").info.version) == ("layout", "1")
    second = find(f"oci:{folder}:x.example/team/app:2").info
    assert (second.name, second.version) == ("app", "2")
    with pytest.raises(ImageNotFoundError, match="holds several images: 1, x.example/team/app:2"):
        find(f"oci:{folder}")
    with pytest.raises(ImageNotFoundError, match="there is no such image; those there are: 1, x.example/team/app:2"):
        find(f"oci:{folder}:3")


def test_a_path_with_colons_is_taken_as_it_is_if_it_is_there(tmp_path: Path) -> None:
    one, two = make_image([LAYERS[0]]), make_image([LAYERS[1]])
    place = saved(tmp_path / "app:2.tar", (one, ["app:1"]), (two, ["app:2"]))
    assert find(f"docker-archive:{place}:app:2").info.diff_ids == (sha256(LAYERS[1]),)
    assert find(f"docker-archive:{place}:@0").info.diff_ids == (sha256(LAYERS[0]),)
    folder = write(tmp_path / "a:b", members(one))
    assert find(f"oci:{folder}").info.diff_ids == (sha256(LAYERS[0]),)
    with pytest.raises(ImageNotFoundError, match="/app cannot be read"):
        find(f"docker-archive:{tmp_path / 'app:3.tar'}")


def test_a_layout_for_several_platforms_gives_ours(tmp_path: Path) -> None:
    image = make_image(LAYERS)
    folder = write(tmp_path / "layout", members(image, image.index("linux/arm64", "linux/amd64")))
    assert list(find(f"oci:{folder}").info.diff_ids) == image.diff_ids
    foreign = make_image(LAYERS, architecture="arm64")
    for name in (
        f"oci:{write(tmp_path / 'foreign', members(foreign))}",
        f"docker-archive:{saved(tmp_path / 'foreign.tar', (foreign, []))}",
    ):
        with pytest.raises(ArchitectureError, match="made for linux/arm64"):
            find(name)


def test_a_name_says_which_image_of_a_docker_archive(tmp_path: Path) -> None:
    images = ((make_image([LAYERS[0]]), ["app:1", "x:latest"]), (make_image([LAYERS[1]]), ["r.example/team/app:2"]))
    path = saved(tmp_path / "both.tar", *images)
    for name, number in (("app:1", 0), ("x", 0), ("@1", 1), ("team/app:2", 1), ("r.example/team/app:2", 1)):
        assert find(f"docker-archive:{path}:{name}").info.diff_ids == (sha256(LAYERS[number]),)
    found = find(f"docker-archive:{path}:team/app:2")
    assert (found.info.name, found.info.version) == ("app", "2")
    assert fetched(found, tmp_path) == [LAYERS[1]]
    with pytest.raises(ImageNotFoundError, match="holds 2 images: app:1, x:latest, r.example/team/app:2"):
        find(f"docker-archive:{path}")
    for name in ("app:3", "pp:2", "@2"):
        with pytest.raises(ImageNotFoundError, match="has no image"):
            find(f"docker-archive:{path}:{name}")


@pytest.mark.parametrize("scheme", ["oci", "oci-archive", "docker-archive", "rootfs"])
def test_a_file_that_is_not_there_or_of_another_kind_is_told(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "text").write_text("hello\n" * 1000)
    for place in (tmp_path / "none", tmp_path, tmp_path / "text"):
        with pytest.raises((ImageNotFoundError, DamagedImageError), match=str(place)):
            find(f"{scheme}:{place}")


@pytest.mark.parametrize("scheme", ["docker-archive", "oci-archive", "rootfs"])
def test_what_is_no_ordinary_file_is_told_without_waiting_for_it(tmp_path: Path, scheme: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ImageNotFoundError, match="is not a regular file"):
            find(f"{scheme}:{path}")


def test_the_two_kinds_of_archives_are_told_apart(tmp_path: Path) -> None:
    image = make_image(LAYERS)
    with pytest.raises(DamagedImageError) as caught:
        find(f"docker-archive:{archive(tmp_path / 'oci.tar', members(image))}")
    assert "oci-archive:" in caught.value.hint
    with pytest.raises(DamagedImageError) as caught:
        find(f"oci-archive:{saved(tmp_path / 'docker.tar', (image, []))}")
    assert "docker-archive:" in caught.value.hint


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
def test_a_changed_blob_of_a_layout_is_told(tmp_path: Path, which: str) -> None:
    image = make_image(LAYERS)
    top = image.top
    digests = {"manifest": top["digest"], "config": image.manifest["config"]["digest"]}
    digest = digests.get(which) or image.manifest["layers"][1]["digest"]
    image.blobs[digest] = image.blobs[digest][:-9] + b"X" + image.blobs[digest][-8:]
    names = {
        "folder": f"oci:{write(tmp_path / 'layout', members(image, top))}",
        "archive": f"oci-archive:{archive(tmp_path / 'x.tar', members(image, top))}",
    }
    for kind, name in names.items():
        (tmp_path / kind).mkdir()
        with pytest.raises(DamagedImageError):
            fetched(find(name), tmp_path / kind)


def test_a_configuration_without_its_digest_is_told(tmp_path: Path) -> None:
    image = make_image(LAYERS)
    digest = image.manifest["config"]["digest"]
    good = saved(tmp_path / "good.tar", (image, [])).read_bytes()
    bad = good.replace(b'"Cmd": ["sh"]', b'"Cmd": ["XX"]')
    assert bad != good
    (tmp_path / "bad.tar").write_bytes(bad)
    with pytest.raises(DamagedImageError, match=f"{digest[7:]}.json does not have the digest in its name"):
        find(f"docker-archive:{tmp_path}/bad.tar")


@pytest.mark.parametrize("pack", PACKERS.values(), ids=list(PACKERS))
def test_an_archive_that_is_cut_off_is_a_data_error(tmp_path: Path, pack: Any) -> None:
    image = make_image(LAYERS)
    whole = saved(tmp_path / "whole.tar", (image, []), pack=pack).read_bytes()
    for part in (1, 300, len(whole) // 3, len(whole) * 2 // 3):
        (tmp_path / "cut.tar").write_bytes(whole[:part])
        with pytest.raises(DamagedImageError, match="cut.tar"):
            find(f"docker-archive:{tmp_path}/cut.tar")


@pytest.mark.parametrize("pack", PACKERS.values(), ids=list(PACKERS))
def test_a_root_is_one_layer_without_a_configuration(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "my-root.tar.x"
    path.write_bytes(pack(LAYERS[0]))
    image = find(f"rootfs:{path}")
    assert image.info.diff_ids == (sha256(LAYERS[0]),)
    assert (image.info.name, image.info.version) == ("my-root", sha256(LAYERS[0])[7:19])
    assert image.info.config == GuestConfig()
    assert fetched(image, tmp_path) == [LAYERS[0]]


def test_a_root_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(LAYERS[0])
    image = find(f"rootfs:{path}")
    path.write_bytes(LAYERS[1])
    with pytest.raises(DamagedImageError, match="changed while"):
        fetched(image, tmp_path)


@pytest.mark.parametrize("scheme", ["docker-archive", "rootfs"])
def test_what_lies_unpacked_in_a_file_is_used_there_as_long_as_it_stays_the_same(tmp_path: Path, scheme: str) -> None:
    path, spool = tmp_path / "image.tar", tmp_path / "spool"
    spool.mkdir()
    if scheme == "rootfs":
        path.write_bytes(LAYERS[0])
    else:
        saved(path, (make_image(LAYERS), []))
    image = find(f"{scheme}:{path}")
    layers = image.fetch(spool, lambda _: None)
    assert {layer.path for layer in layers} == {path}
    assert [layer.path.read_bytes()[layer.offset :][: layer.size] for layer in layers] == LAYERS[: len(layers)]
    assert sum(file.stat().st_size for file in spool.iterdir()) == 0
    image.confirm()
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(DamagedImageError, match=r"image\.tar changed while"):
        image.confirm()


@pytest.mark.parametrize(
    "config",
    ["text", {"Env": "A=1"}, {"Env": [1]}, {"Cmd": 5}, {"Labels": {"a": 1}}, {"Labels": ["a"]}, {"User": 5}, [1]],
)
def test_a_configuration_of_other_types_is_a_data_error(config: Any) -> None:
    with pytest.raises(DamagedImageError, match="configuration has"):
        guest_config(config)


@pytest.mark.parametrize("name", PACKERS)
def test_streams_one_after_the_other_are_one_layer(name: str) -> None:
    pack = PACKERS[name]
    target = io.BytesIO()
    found, size = unpack(io.BytesIO(pack(b"first") + pack(b"second" * 300_000)), target)
    data = b"first" + b"second" * 300_000
    assert (found, size) == (sha256(data), len(data))
    assert target.getvalue() == data


def test_a_skippable_frame_of_zstd_is_skipped() -> None:
    frame = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"about"
    target = io.BytesIO()
    assert unpack(io.BytesIO(zstandard.ZstdCompressor().compress(b"data") + frame), target)[0] == sha256(b"data")


def test_zeros_become_holes_and_count_all_the_same(tmp_path: Path) -> None:
    size = 100 << 20
    with (tmp_path / "layer").open("wb") as target:
        assert unpack(io.BytesIO(gzip.compress(b"x" + bytes(size), 1)), target)[1] == size + 1
    status = (tmp_path / "layer").stat()
    assert status.st_size == size + 1 and status.st_blocks * 512 < 8 << 20
    digest = hashlib.sha256(b"x" + bytes(size)).hexdigest()
    assert hashlib.sha256((tmp_path / "layer").read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", ["gzip", "zstd", "xz", "bzip2"])
def test_a_bomb_is_stopped_and_comes_in_small_pieces(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack_module, "UNPACKED_MAX", 40 << 20)
    monkeypatch.setattr(unpack_module, "RATIO_MAX", 100)
    bomb = PACKERS[name](bytes(60 << 20))
    reader = open_packed(io.BytesIO(bomb))
    assert {len(reader.read(CHUNK_SIZE)) <= CHUNK_SIZE for _ in range(20)} == {True}
    with (tmp_path / "layer").open("wb") as target, pytest.raises(UnpackError, match="bytes unpack to more than"):
        unpack(io.BytesIO(bomb), target)


@pytest.mark.parametrize("name", ["gzip", "zstd", "xz", "bzip2"])
def test_a_stream_that_is_cut_off_is_told(name: str) -> None:
    packed = PACKERS[name](random.Random(3).randbytes(10_000))
    for size in (1, 2, 20, 5000, len(packed) - 10):
        with pytest.raises(UnpackError, match="cut off"):
            unpack(io.BytesIO(packed[:-size]), io.BytesIO())


_SKIPPABLE = b"\x5f\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"about"


@pytest.mark.parametrize("has_checksum", [False, True])
@pytest.mark.parametrize("piece_size", [3, 1000, 1 << 20])
def test_frames_of_zstd_are_followed_to_the_end_of_the_last_one(has_checksum: bool, piece_size: int) -> None:
    parts = [random.Random(3).randbytes(20_000), bytes(300_000), b"text " * 40_000]
    packer = zstandard.ZstdCompressor(write_checksum=has_checksum)
    packed = _SKIPPABLE
    wholes = []
    for part in parts:
        streamed = io.BytesIO()
        with packer.stream_writer(streamed, closefd=False) as stream:
            stream.write(part)
        for frame in (packer.compress(part), _SKIPPABLE, streamed.getvalue()):
            packed += frame
            wholes.append(len(packed))
    data = b"".join(part + part for part in parts)

    def read(end: int) -> tuple[str, int]:
        pieces = (packed[:end][start : start + piece_size] for start in range(0, end, piece_size))
        return unpack(PieceReader(pieces), io.BytesIO())

    assert read(len(packed)) == (sha256(data), len(data))
    # Of less than ten bytes nobody can tell what they are.
    for end in {*wholes, *(whole - 1 for whole in wholes), *range(10, len(packed), len(packed) // 20)}:
        if end in (len(_SKIPPABLE), *wholes):
            assert read(end)
        else:
            with pytest.raises(UnpackError, match="cut off"):
                read(end)


def test_a_root_whose_compressed_stream_is_cut_off_is_told_even_where_its_entries_end(tmp_path: Path) -> None:
    path = tmp_path / "root.tar.zst"
    first, second = tar_bytes([file("a", b"a")])[:1024], tar_bytes([file("b", b"b")])
    packer = zstandard.ZstdCompressor()
    path.write_bytes(packer.compress(first) + packer.compress(second))
    assert find(f"rootfs:{path}")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedImageError, match="cut off"):
        find(f"rootfs:{path}")


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2"])
def test_zeros_behind_a_compressed_stream_are_passed_over(name: str) -> None:
    for size in (1, 511, 3 << 20):
        assert unpack(io.BytesIO(PACKERS[name](b"data" * 99) + bytes(size)), io.BytesIO())[0] == sha256(b"data" * 99)
