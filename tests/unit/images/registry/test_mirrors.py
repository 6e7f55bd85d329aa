"""A mirror is asked before the registry; whatever is wrong with it, the image comes from the next place."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from gns3_minivm.base.errors import DamagedImageError, ImageNotFoundError, RegistryError
from gns3_minivm.images.registry import client as registry_module
from gns3_minivm.images.registry.image import find_in_registry
from gns3_minivm.images.registry.options import RegistryOptions
from tests.support.fake_registry import FakeRegistry, fake_registry
from tests.support.oci import BlobImage, make_image

LAYERS = [random.Random(1).randbytes(400_000), b"second layer " * 40_000]


@pytest.fixture
def image() -> BlobImage:
    return make_image(LAYERS)


@pytest.fixture
def registry(image: BlobImage) -> Iterator[FakeRegistry]:
    with fake_registry(image) as server:
        yield server


@pytest.fixture
def mirror(image: BlobImage) -> Iterator[FakeRegistry]:
    with fake_registry(image) as server:
        yield server


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_PAUSE_S", 0.0)


def pull(registry: FakeRegistry, folder: Path, *mirrors: FakeRegistry) -> list[bytes]:
    options = RegistryOptions.parse("", tuple(f"{registry.host}={one.host}" for one in mirrors), ())
    found = find_in_registry(f"{registry.host}/team/app:1", options, {"HOME": "/nonexistent"})
    spool = folder / "spool"
    spool.mkdir()
    arrived: list[int] = []
    layers = found.fetch(spool, arrived.append)
    assert sum(arrived) == found.info.size_bytes and min(arrived) > 0
    assert sorted(spool.iterdir()) == sorted(layer.path for layer in layers)
    return [layer.path.read_bytes()[layer.offset : layer.offset + layer.size] for layer in layers]


def changed(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def test_a_good_mirror_spares_the_registry(registry: FakeRegistry, mirror: FakeRegistry, tmp_path: Path) -> None:
    assert pull(registry, tmp_path, mirror) == LAYERS
    assert mirror.seen and not registry.seen


@pytest.mark.parametrize("document", ["manifest", "config"])
@pytest.mark.parametrize("fault", ["damaged", "nonsense", 404, 500, 403])
def test_a_document_that_a_mirror_lacks_or_has_damaged_comes_from_the_registry(
    registry: FakeRegistry, mirror: FakeRegistry, image: BlobImage, tmp_path: Path, document: str, fault: str | int
) -> None:
    digest = mirror.tags["1"] if document == "manifest" else image.manifest["config"]["digest"]
    mirror.digest_header = mirror.tags["1"]
    if isinstance(fault, int):
        mirror.status[digest] = fault
    else:
        mirror.damage[digest] = b"{}" if fault == "nonsense" else changed(image.blobs[digest])
    assert pull(registry, tmp_path, mirror) == LAYERS
    assert mirror.seen and registry.seen


@pytest.mark.parametrize("fault", ["damaged", "longer", "shorter", 404, 500, 403])
def test_a_layer_that_a_mirror_lacks_or_has_damaged_comes_from_the_registry(
    registry: FakeRegistry, mirror: FakeRegistry, image: BlobImage, tmp_path: Path, fault: str | int
) -> None:
    digest = image.manifest["layers"][0]["digest"]
    data = image.blobs[digest]
    if isinstance(fault, int):
        mirror.status[digest] = fault
    else:
        mirror.damage[digest] = {"damaged": changed(data), "longer": data + b"more", "shorter": data[:-5]}[fault]
    assert pull(registry, tmp_path, mirror) == LAYERS
    # And only that: the manifest and the other layer came from the mirror.
    assert [path for _, path, _, _ in registry.seen if path != "/v2/"] == [f"/v2/team/app/blobs/{digest}"]


def test_a_mirror_with_other_platforms_only_is_passed_over(
    registry: FakeRegistry, mirror: FakeRegistry, image: BlobImage, tmp_path: Path
) -> None:
    mirror.tags["1"] = image.index("linux/arm64")["digest"]
    assert pull(registry, tmp_path, mirror) == LAYERS


def test_mirrors_are_asked_in_turn(registry: FakeRegistry, mirror: FakeRegistry, tmp_path: Path) -> None:
    with fake_registry(make_image([b"other"])) as first:
        first.tags.clear()
        mirror.status[mirror.tags["1"]] = 500
        assert pull(registry, tmp_path, first, mirror) == LAYERS
        assert first.seen and mirror.seen and registry.seen


def test_when_all_fail_the_registrys_own_words_come_first(
    registry: FakeRegistry, mirror: FakeRegistry, image: BlobImage, tmp_path: Path
) -> None:
    digest = image.manifest["layers"][0]["digest"]
    mirror.status[digest] = 404
    registry.damage[digest] = changed(image.blobs[digest])
    with pytest.raises(DamagedImageError) as caught:
        pull(registry, tmp_path, mirror)
    assert caught.value.message.startswith(f"layer 1 of 2 ({digest}) arrived with the digest sha256:")
    assert f"(also: the registry {mirror.host} does not have blobs/{digest} of team/app)" in caught.value.message


@pytest.mark.parametrize(
    ("mirrored", "own", "expected"),
    [(404, 404, ImageNotFoundError), (500, 404, RegistryError), (404, 403, RegistryError)],
)
def test_no_manifest_anywhere_tells_of_all_places(
    registry: FakeRegistry,
    mirror: FakeRegistry,
    tmp_path: Path,
    mirrored: int,
    own: int,
    expected: type[Exception],
) -> None:
    mirror.status[mirror.tags["1"]] = mirrored
    registry.status[registry.tags["1"]] = own
    with pytest.raises(expected, match=f"{mirror.host}.*{registry.host}|{registry.host}.*{mirror.host}"):
        pull(registry, tmp_path, mirror)
