"""Large blobs arrive on a thread of their own, and what goes wrong there or in writing is told all the same."""

from __future__ import annotations

import errno
import gzip
import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gns3_minivm.base.cancel import Interrupted
from gns3_minivm.base.errors import DamagedImageError, DiskFullError, RegistryError
from gns3_minivm.images import unpack as unpack_module
from gns3_minivm.images.registry.fetching import fetch_layers
from gns3_minivm.images.registry.manifests import Blobs, Descriptor, OciImage

PLAIN = random.Random(11).randbytes(9 << 20)
PACKED = gzip.compress(PLAIN, 1)
PIECE = 1 << 19


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Source(Blobs):
    """One blob, in pieces; ``before`` is called with the number of each."""

    def __init__(self, data: bytes = PACKED, before: Callable[[int], None] = lambda _: None) -> None:
        self._data = data
        self._before = before
        self.given = 0
        self.closed = threading.Event()

    def document(self, _descriptor: Descriptor) -> bytes:
        raise AssertionError

    def pieces(self, _descriptor: Descriptor) -> Iterator[bytes]:
        try:
            for start in range(0, len(self._data), PIECE):
                self._before(start // PIECE)
                self.given += 1
                yield self._data[start : start + PIECE]
        finally:
            self.closed.set()


def image(packed: bytes = PACKED) -> OciImage:
    return OciImage({}, [Descriptor(media_type="", digest=digest(packed), size=len(packed))], (digest(PLAIN),))


def fetch(source: Source, folder: Path, progress: Callable[[int], None] = lambda _: None) -> bytes:
    (layer,) = fetch_layers(image(), [source], folder, progress)
    return layer.path.read_bytes()[layer.offset :][: layer.size]


def test_a_large_blob_becomes_its_layer_and_all_of_it_is_progress(tmp_path: Path) -> None:
    told: list[int] = []
    source = Source()
    assert fetch(source, tmp_path, told.append) == PLAIN
    assert sum(told) == len(PACKED)
    assert source.closed.is_set()


def test_what_the_source_raises_in_the_middle_is_raised(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        if number == 5:
            raise RegistryError("the registry has gone", hint="")

    with pytest.raises(RegistryError, match="has gone"):
        fetch(Source(before=fail), tmp_path)


@pytest.mark.parametrize("place", [100, len(PACKED) // 2, len(PACKED) - 20])
def test_a_changed_byte_is_told_by_the_digest_wherever_unpacking_stopped(tmp_path: Path, place: int) -> None:
    changed = bytearray(PACKED)
    changed[place] ^= 0xFF
    source = Source(bytes(changed))
    with pytest.raises(DamagedImageError, match="arrived with the digest"):
        fetch(source, tmp_path)
    # It was read to its end for that.
    assert source.given == -(-len(PACKED) // PIECE)


@pytest.mark.parametrize("size", [len(PACKED) - 1, PIECE * 3, 0])
def test_a_blob_that_ends_early_is_told(tmp_path: Path, size: int) -> None:
    with pytest.raises(DamagedImageError, match="ends after"):
        fetch(Source(PACKED[:size]), tmp_path)


def test_a_full_disk_ends_the_fetch_and_the_thread_that_brings_the_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_spool: object, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpack_module._Spool, "_write", full)
    source = Source()
    with pytest.raises(DiskFullError, match="No space left"):
        fetch(source, tmp_path)
    assert source.closed.wait(10)


def test_a_fetch_that_is_given_up_ends_the_thread_that_brings_the_blob(tmp_path: Path) -> None:
    def give_up(_amount: int) -> None:
        raise Interrupted

    source = Source(before=lambda _: time.sleep(0.01))
    with pytest.raises(Interrupted):
        fetch(source, tmp_path, give_up)
    assert source.closed.wait(10)
    assert source.given < -(-len(PACKED) // PIECE)
