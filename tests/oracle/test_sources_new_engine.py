"""A Docker engine of the generation that saves images in OCI's layout (25 and later) gives the same bytes.

It keeps images in its own store or in containerd's, where layers stay as they came: compressed or not.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import zstandard

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Events
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.images.engine.client import connect
from gns3_minivm.images.engine.image import find_image
from gns3_minivm.images.model import Image
from gns3_minivm.images.resolve import FILE_SCHEMES
from tests.support.layers import directory, file, hard_link, symlink, tar_bytes
from tests.support.new_engine import running_new_engine
from tests.support.oci import archive, layout, make_image, saved

TAG = "gns3-minivm/new-engine:1"
LAYERS = [
    tar_bytes([directory("d"), file("d/a", random.Random(3).randbytes(300_000)), hard_link("b", "d/a"), file("gone")]),
    tar_bytes([file(".wh.gone"), symlink("s", "d"), file("text", b"some text " * 20_000, mode=0o4755)]),
    tar_bytes([]),
]
SMALL = DiskOptions(size_bytes=64 << 20)


def disk_of(image: Image, folder: Path) -> str:
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return convert(image, SMALL, Cache(folder / "cache"), Events()).md5


def disk_of_file(scheme: str, data: bytes, folder: Path) -> str:
    (folder / "image.tar").write_bytes(data)
    return disk_of(FILE_SCHEMES[scheme](f"{folder}/image.tar"), folder)


@pytest.fixture(scope="module", params=["overlay2", "containerd"])
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, Any]]:
    """The name of its store, its address, and a client."""
    with running_new_engine(containerd_store=request.param == "containerd") as host:
        client = docker.APIClient(base_url=host, timeout=120)
        yield request.param, host, client
        client.close()


def load_and_save(client: Any, data: bytes) -> bytes:
    for message in client.load_image(data):
        assert "error" not in message, message
    return b"".join(client.get_image(TAG))


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress], ids=["plain", "gzip", "zstd"]
)
def test_what_it_saves_gives_the_same_disk_from_the_file_and_from_the_engine(
    engine: tuple[str, str, Any], tmp_path: Path, pack: Any
) -> None:
    store, host, client = engine
    image = make_image(LAYERS, pack)
    expected = disk_of_file("docker-archive", archive(saved(image, TAG)), tmp_path)
    # Its own store goes by manifest.json, containerd's by index.json.
    tagged = image.top | {"annotations": {"io.containerd.image.name": f"docker.io/{TAG}"}}
    index = json.dumps({"schemaVersion": 2, "manifests": [tagged]}).encode()
    data = load_and_save(client, archive(saved(image, TAG) | layout(image) | {"index.json": index}))
    try:
        (tmp_path / "saved.tar").write_bytes(data)
        with tarfile.open(tmp_path / "saved.tar") as tar:
            names = tar.getnames()
            starts = {tar.extractfile(name).read(2) for name in names if len(name) == 77}  # type: ignore[union-attr]
        assert {"oci-layout", "index.json", "manifest.json"} <= set(names)
        assert not [name for name in names if name.endswith("layer.tar")]
        if store == "containerd":
            assert (b"\x1f\x8b" in starts, b"\x28\xb5" in starts) == (
                pack is gzip.compress,
                pack not in (bytes, gzip.compress),
            )
        assert disk_of_file("docker-archive", data, tmp_path) == expected
        assert disk_of_file("oci-archive", data, tmp_path) == expected
        with connect({"DOCKER_HOST": host}) as found:
            image_of_engine = find_image(found, TAG)
            assert bool(image_of_engine.folders) == (store == "overlay2")
            assert disk_of(image_of_engine, tmp_path) == expected
            image_of_engine.folders = []
            assert disk_of(image_of_engine, tmp_path) == expected
    finally:
        client.remove_image(TAG, force=True)
