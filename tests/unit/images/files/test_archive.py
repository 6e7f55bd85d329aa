"""The layers are taken out of a docker save stream, checked, whatever its layout and compression."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.images.files.archive import spool_layers

LAYERS = [b"first layer " * 5000, b"second layer " * 40_000, bytes(range(256)) * 9]


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


DIFF_IDS = [digest(layer) for layer in LAYERS]


def archive(members: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def manifest(names: list[str]) -> tuple[str, bytes]:
    return "manifest.json", json.dumps([{"Config": "c.json", "Layers": names}]).encode()


def old_layout(layers: list[bytes]) -> bytes:
    names = [f"id{number}/layer.tar" for number in range(len(layers))]
    # moby writes the layers in no particular order and the manifest last.
    members = list(zip(names, layers, strict=True))[::-1]
    return archive([("c.json", b"{}"), *members, manifest(names)])


def oci_layout(layers: list[bytes], compress: object = None) -> bytes:
    packed = [compress(layer) if callable(compress) else layer for layer in layers]
    blobs = [(f"blobs/sha256/{hashlib.sha256(data).hexdigest()}", data) for data in packed]
    names = [name for name, _ in blobs]
    return archive([("index.json", b"{}"), *blobs, manifest(names), ("oci-layout", b"{}")])


def pieces(data: bytes, size: int = 7777) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


ARCHIVES = {
    "old": old_layout(LAYERS),
    "oci": oci_layout(LAYERS),
    "oci-gzip": oci_layout(LAYERS, gzip.compress),
    "oci-gzip-members": oci_layout(LAYERS, lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    "oci-zstd": oci_layout(LAYERS, zstandard.ZstdCompressor().compress),
}


@pytest.mark.parametrize("layout", ARCHIVES)
def test_every_layout_gives_the_same_layers_in_order(layout: str, tmp_path: Path) -> None:
    arrived = 0

    def progress(amount: int) -> None:
        nonlocal arrived
        arrived += amount

    layers = spool_layers(pieces(ARCHIVES[layout]), DIFF_IDS, tmp_path, progress)
    assert [layer.diff_id for layer in layers] == DIFF_IDS
    assert [layer.path.read_bytes()[layer.offset : layer.offset + layer.size] for layer in layers] == LAYERS
    assert arrived == len(ARCHIVES[layout])


def test_nothing_but_the_layers_stays_in_the_spool(tmp_path: Path) -> None:
    spool_layers(pieces(ARCHIVES["old"]), DIFF_IDS, tmp_path, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["layers"]
    assert (tmp_path / "layers").stat().st_size == sum(map(len, LAYERS))


def test_a_layer_that_occurs_twice_is_stored_once(tmp_path: Path) -> None:
    wanted = [DIFF_IDS[0], DIFF_IDS[2], DIFF_IDS[0]]
    layers = spool_layers(pieces(old_layout([LAYERS[0], LAYERS[2], LAYERS[0]])), wanted, tmp_path, lambda _: None)
    assert layers[0] == layers[2]
    assert [layer.diff_id for layer in layers] == wanted


def test_a_changed_layer_is_named_with_both_digests(tmp_path: Path) -> None:
    changed = LAYERS[1][:-1] + b"X"
    with pytest.raises(DamagedImageError) as caught:
        spool_layers(pieces(old_layout([LAYERS[0], changed, LAYERS[2]])), DIFF_IDS, tmp_path, lambda _: None)
    assert caught.value.message == (
        f"layer 2 of 3 ({DIFF_IDS[1]}) arrived with the digest {digest(changed)} ({len(changed)} bytes)"
    )


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedImageError, match=rf"layer 3 of 3 \({DIFF_IDS[2]}\) is not in what the engine sent"):
        spool_layers(pieces(archive([("a", LAYERS[0]), ("b", LAYERS[1])])), DIFF_IDS, tmp_path, lambda _: None)


def cuts(data: bytes) -> list[int]:
    """Places to cut an archive: in headers, and one byte before the end of the last layer."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        ends = [member.offset_data + member.size for member in tar if "/" in member.name]
    return [0, 1, 100, 700, max(ends) - 1]


@pytest.mark.parametrize(("layout", "cut"), [(name, cut) for name, data in ARCHIVES.items() for cut in cuts(data)])
def test_a_truncated_stream_is_an_error_that_names_a_layer(layout: str, cut: int, tmp_path: Path) -> None:
    with pytest.raises(DamagedImageError, match=r"^layer \d of 3 "):
        spool_layers(pieces(ARCHIVES[layout][:cut]), DIFF_IDS, tmp_path, lambda _: None)


def test_a_blob_that_only_looks_compressed_is_no_crash(tmp_path: Path) -> None:
    data = archive([("a", b"\x1f\x8b" + b"junk" * 100)])
    with pytest.raises(DamagedImageError, match="a cannot be decompressed"):
        spool_layers(pieces(data), DIFF_IDS, tmp_path, lambda _: None)


def test_something_that_is_no_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DamagedImageError, match="arrived incomplete"):
        spool_layers(pieces(b"<html>" * 1000), DIFF_IDS, tmp_path, lambda _: None)
