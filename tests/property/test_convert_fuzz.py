"""Whole conversions of archives with changed bits: the usual disk, or a data error and nothing left behind."""

from __future__ import annotations

import gzip
import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gns3_minivm.base.artifacts import Artifact
from tests.support.hostile import convert_or_refuse
from tests.support.layers import directory, file, hard_link, symlink, tar_bytes
from tests.support.oci import archive, layout, make_image, saved

LAYERS = [
    tar_bytes([directory("d"), file("d/a", b"some text " * 99), hard_link("b", "d/a"), file("gone", b"x")]),
    tar_bytes([file(".wh.gone"), symlink("s", "d"), file("s/through", b"more " * 500, xattrs={"user.x": b"1"})]),
]


DOCKER_ARCHIVE = archive(saved(make_image(LAYERS), "a:1"))
ARCHIVES = {
    "oci-archive": archive(layout(make_image(LAYERS, bytes))),
    "oci-archive, gzip": archive(layout(make_image(LAYERS))),
    "docker-archive": DOCKER_ARCHIVE,
    "docker-archive, packed as a whole": gzip.compress(DOCKER_ARCHIVE, mtime=0),
}


def converted(name: str, data: bytes) -> bytes | None:
    """The digest of the disk, or None where the archive is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tar"
        path.write_bytes(data)
        found = convert_or_refuse(f"{name.partition(',')[0]}:{path}", Path(folder) / "cache")
        return hashlib.sha256(found.path.read_bytes()).digest() if isinstance(found, Artifact) else None


@pytest.fixture(scope="module")
def good() -> bytes:
    (digest,) = {converted(name, data) for name, data in ARCHIVES.items()}
    assert digest is not None
    return digest


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=3)
SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))


def assert_good_or_refused(name: str, changes: list[tuple[int, int]], good: bytes) -> None:
    data = bytearray(ARCHIVES[name])
    for place, bits in changes:
        data[place % len(data)] ^= bits
    assert converted(name, bytes(data)) in (good, None)


@settings(SETTINGS, max_examples=150)
@given(name=st.sampled_from(sorted(ARCHIVES)), changes=CHANGES)
def test_changed_bits_give_the_same_disk_or_a_data_error(
    name: str, changes: list[tuple[int, int]], good: bytes
) -> None:
    assert_good_or_refused(name, changes, good)


@pytest.mark.long
@settings(SETTINGS, max_examples=3000)
@given(name=st.sampled_from(sorted(ARCHIVES)), changes=CHANGES)
def test_many_changed_bits_give_the_same_disk_or_a_data_error(
    name: str, changes: list[tuple[int, int]], good: bytes
) -> None:
    assert_good_or_refused(name, changes, good)


@settings(SETTINGS, max_examples=60)
@given(name=st.sampled_from(sorted(ARCHIVES)), size=st.integers(0, 1 << 20))
def test_an_archive_cut_off_anywhere_gives_the_same_disk_or_a_data_error(name: str, size: int, good: bytes) -> None:
    data = ARCHIVES[name]
    # The last bytes of a tar archive are zeros that nobody needs.
    assert converted(name, data[: size % len(data)]) in (good, None)
