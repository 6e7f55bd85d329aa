"""Brings the layers of an image into the spool, several at a time.

Every blob is checked three times: its size and its digest as the manifest states them, and its diff ID over the
unpacked bytes.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.errors import DamagedImageError, MiniVMError, RegistryError
from gns3_minivm.base.pump import Abandoned, Inbox, pumped, start_thread
from gns3_minivm.images.model import Layer
from gns3_minivm.images.registry.manifests import Blobs, Descriptor, OciImage
from gns3_minivm.images.unpack import CHUNK_SIZE, PieceReader, UnpackError, unpack

WORKERS = 3
"""As many downloads at a time as Docker does (dockerd's max-concurrent-downloads)."""
_AHEAD_SIZE_MIN = 4 << 20
"""A smaller blob arrives faster than a thread for it would pay off."""
_AHEAD_PIECES = 4
_GOODBYE_S = 2.0
_HINT = "Run the command again; if the error persists, push or save the image again."


def fetch_layers(image: OciImage, places: Sequence[Blobs], spool: Path, progress: Callable[[int], None]) -> list[Layer]:
    """Unpack every layer into a file of its own below ``spool``.

    A blob that one of the ``places`` lacks, or has damaged, is taken from the next.  ``progress`` is called with the
    packed bytes that have arrived.  Raises DamagedImageError that names the layer, DiskFullError, and what ``places``
    raise.
    """
    jobs: queue.SimpleQueue[tuple[str, Descriptor, str]] = queue.SimpleQueue()
    wanted: dict[str, Descriptor] = {}
    for number, (diff_id, descriptor) in enumerate(zip(image.diff_ids, image.layers, strict=True), 1):
        if diff_id not in wanted:
            wanted[diff_id] = descriptor
            jobs.put((f"layer {number} of {len(image.layers)} ({descriptor.digest})", descriptor, diff_id))
    news: Inbox[int | Layer] = Inbox(64)

    def work() -> None:
        try:
            while True:
                try:
                    label, descriptor, diff_id = jobs.get_nowait()
                except queue.Empty:
                    return
                news.put(_fetch_from_any(label, places, descriptor, diff_id, spool, news.put))
        except Abandoned:
            return
        except BaseException as error:  # noqa: BLE001  (raised by the caller's thread)
            news.fail(error)

    workers: list[threading.Thread] = []
    try:
        for number in range(min(WORKERS, len(wanted))):
            workers.append(start_thread(work, f"fetch-{number}"))
        found = _collect(news, len(wanted), progress)
    except OSError as error:
        raise (disk_error(error, spool) or error) from error
    finally:
        news.abandon()
        # A worker that waits for the network is left behind; it ends with its next byte or its time limit.
        deadline = time.monotonic() + _GOODBYE_S
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
    return [found[diff_id] for diff_id in image.diff_ids]


def _collect(news: Inbox[int | Layer], expected: int, progress: Callable[[int], None]) -> dict[str, Layer]:
    found: dict[str, Layer] = {}
    while len(found) < expected:
        item = news.get()
        if isinstance(item, Layer):
            found[item.diff_id] = item
        else:
            progress(item)
    return found


def _fetch_from_any(
    label: str, places: Sequence[Blobs], descriptor: Descriptor, diff_id: str, spool: Path, tell: Callable[[int], None]
) -> Layer:
    failures: list[MiniVMError] = []
    told = 0
    for place in places:
        arrived = 0

        def tell_once(amount: int) -> None:
            # Bytes that come a second time are no progress.
            nonlocal told, arrived
            arrived += amount
            if arrived > told:
                tell(arrived - told)
                told = arrived

        try:
            return _fetch_layer(label, place, descriptor, diff_id, spool, tell_once)
        except (RegistryError, DamagedImageError) as error:
            failures.append(error)
    others = "; ".join(error.message for error in failures[:-1])
    last = failures[-1]
    raise type(last)(last.message + (f" (also: {others})" if others else ""), hint=last.hint) from last


def _fetch_layer(
    label: str, blobs: Blobs, descriptor: Descriptor, diff_id: str, spool: Path, tell: Callable[[int], None]
) -> Layer:
    path = spool / diff_id.replace(":", "-")
    arriving = _checked_pieces(label, blobs, descriptor)
    if descriptor.size >= _AHEAD_SIZE_MIN:
        # A thread brings in the next pieces while this one unpacks.
        arriving = pumped(partial(iter, arriving), "fetch-ahead", depth=_AHEAD_PIECES)
    with path.open("wb", buffering=0) as target, closing(arriving):
        source = PieceReader(arriving, tell)
        try:
            found, size = unpack(source, target)
            # What follows the compressed stream is part of the blob.
            while source.read(CHUNK_SIZE):
                pass
        except UnpackError as error:
            # A changed byte mostly shows up here first, but the digest tells whose fault it is.
            for _ in arriving:
                pass
            raise DamagedImageError(f"{label} cannot be unpacked: {error}", hint=_HINT) from error
    if found != diff_id:
        raise DamagedImageError(f"{label} unpacks to {found} ({size} bytes), not to {diff_id}", hint=_HINT)
    return Layer(diff_id, path, 0, size)


def _checked_pieces(label: str, blobs: Blobs, descriptor: Descriptor) -> Generator[bytes, None, None]:
    """The pieces of a blob, with an error at the end if it does not match its descriptor."""
    # generators have close(); the interface only promises an iterator
    with closing(cast(Any, blobs.pieces(descriptor))) as pieces:
        yield from _Checked(pieces, descriptor, label).pieces()


class _Checked:
    """The pieces of a blob; raises DamagedImageError at the end if it does not match its descriptor."""

    def __init__(self, pieces: Iterator[bytes], descriptor: Descriptor, label: str) -> None:
        self._pieces = pieces
        self._descriptor = descriptor
        self._label = label
        self._digest: Any = hashlib.new(descriptor.digest.partition(":")[0])
        self._size = 0

    def pieces(self) -> Iterator[bytes]:
        expected = self._descriptor
        for piece in self._pieces:
            self._size += len(piece)
            if self._size > expected.size:
                raise DamagedImageError(f"{self._label} has more than its {expected.size} bytes", hint=_HINT)
            self._digest.update(piece)
            yield piece
        if self._size != expected.size:
            raise DamagedImageError(f"{self._label} ends after {self._size} of {expected.size} bytes", hint=_HINT)
        found = f"{expected.digest.partition(':')[0]}:{self._digest.hexdigest()}"
        if found != expected.digest:
            raise DamagedImageError(f"{self._label} arrived with the digest {found}", hint=_HINT)
