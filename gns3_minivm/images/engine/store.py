"""The layers of an engine on this machine, read where it keeps them, by users who may: root, as a rule.

``docker save`` writes every layer to a temporary folder before it sends the first byte, which takes half of a
conversion and more.  With the storage driver overlay2, a layer is a folder of files, and beside it lies what they do
not tell of the tar archive that they came in: its headers, its padding and the order of its entries
(github.com/vbatts/tar-split).  Both together give the layer's bytes back, and only bytes with the layer's own digest
are taken.  Everything else (another driver, no right to read, a file that has changed) is the engine's affair: then it
is asked to send the image.

A name in a layer never leads out of its folder: links on the way are not followed, and only ordinary files are opened.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from gns3_minivm.base.cache import disk_error
from gns3_minivm.images.model import Layer, chain_id
from gns3_minivm.images.unpack import CHUNK_SIZE, PieceReader, UnpackError, joined, unpack

_DRIVER = "overlay2"
_TAR_SPLIT = "tar-split.json.gz"
_FILE, _SEGMENT = 1, 2
_LINE_MAX = 64 << 20
_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OutOfReachError(Exception):
    """A layer cannot be read in this way."""


def layer_folders(inspected: Mapping[str, Any], diff_ids: Sequence[str]) -> list[Path]:
    """The folders of an image's layers, base layer first; empty if they are elsewhere, or closed to this user.

    ``inspected`` is the engine's answer to ``GET /images/{name}/json``.
    """
    driver = inspected.get("GraphDriver")
    data = driver.get("Data") if isinstance(driver, dict) and driver.get("Name") == _DRIVER else None
    if not isinstance(data, dict) or not isinstance(data.get("UpperDir"), str):
        return []
    lower = data.get("LowerDir")
    below = lower.split(":") if isinstance(lower, str) and lower else []
    folders = [Path(name) for name in reversed([data["UpperDir"], *below])]
    if len(folders) != len(diff_ids) or not all(path.is_absolute() for path in folders):
        return []
    splits = [_tar_split(path, diff_ids[:number]) for number, path in enumerate(folders, 1)]
    try:
        reachable = all(os.access(path, os.R_OK | os.X_OK) for path in folders) and all(
            os.access(path, os.R_OK) for path in splits
        )
    except ValueError:  # a name that no path can have
        return []
    return folders if reachable else []


def copy_layers(
    folders: Sequence[Path], diff_ids: Sequence[str], spool: Path, progress: Callable[[int], object]
) -> list[Layer]:
    """Write the layers in these folders to a file in ``spool``, base layer first (blocking).

    ``progress`` is called with the bytes that were read since the last call.  Raises OutOfReachError, which leaves no
    file behind, and DiskFullError.
    """
    path = spool / "layers"
    layers: list[Layer] = []
    try:
        with path.open("wb", buffering=0) as target:
            for number, (folder, diff_id) in enumerate(zip(folders, diff_ids, strict=True), 1):
                offset = target.tell()
                parts = _parts(folder, _tar_split(folder, diff_ids[:number]))
                found, size = unpack(PieceReader(joined(parts), progress), target, is_slow=True)
                if found != diff_id:
                    raise OutOfReachError(f"{folder} has the digest {found}, not {diff_id}")
                layers.append(Layer(diff_id, path, offset, size))
    except (OutOfReachError, UnpackError) as error:
        path.unlink()
        raise OutOfReachError(str(error)) from error
    except OSError as error:
        raise (disk_error(error, spool) or error) from error
    return layers


def _tar_split(folder: Path, diff_ids: Sequence[str]) -> Path:
    # ROOT/overlay2/ID/diff, and ROOT/image/overlay2/layerdb/sha256/CHAIN.
    chain = chain_id(diff_ids).removeprefix("sha256:")
    root = folder.parent.parent.parent
    return root / "image" / _DRIVER / "layerdb" / "sha256" / chain / _TAR_SPLIT


def _parts(folder: Path, tar_split: Path) -> Iterator[bytes]:
    """The tar archive of a layer, as it lies in two places."""
    try:
        with _Files(folder) as files:
            for entry in _entries(tar_split):
                if entry["type"] == _SEGMENT:
                    yield binascii.a2b_base64(entry.get("payload") or "")
                elif entry["type"] == _FILE and entry.get("size"):
                    yield from files.contents(_name(entry), entry["size"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError, zlib.error) as error:
        raise OutOfReachError(f"{tar_split}: {error}") from error


def _entries(tar_split: Path) -> Iterator[dict[str, Any]]:
    """What a layer's archive is made of: one JSON object a line."""
    rest = b""
    stream = zlib.decompressobj(wbits=31)
    with tar_split.open("rb") as file:
        while data := file.read(1 << 16):
            while data:
                lines = (rest + stream.decompress(data, CHUNK_SIZE)).split(b"\n")
                data = stream.unconsumed_tail
                rest = lines.pop()
                if len(rest) > _LINE_MAX:
                    raise ValueError("a line without an end")
                # All at once is several times as fast.
                yield from json.loads(b"[%b]" % b",".join(lines))
    if rest or not stream.eof:
        raise ValueError("its end is missing")


def _name(entry: Mapping[str, Any]) -> bytes:
    # What is no UTF-8 is there in base64 instead.
    raw = entry.get("name_raw")
    return base64.b64decode(raw) if raw else str(entry["name"]).encode()


class _Files:
    """Files below a folder, which is never left; raises OSError and ValueError."""

    def __init__(self, folder: Path) -> None:
        self._top = os.open(folder, _FOLDER_FLAGS)
        self._entered = b""
        self._way: list[tuple[bytes, int]] = []
        """The folders down to that of the last file, and their descriptors."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._shorten(0)
        os.close(self._top)

    def contents(self, name: bytes, size: int) -> Iterator[bytes]:
        folders, _, last = name.rpartition(b"/")
        if folders != self._entered:
            self._enter(folders)
        folder = self._way[-1][1] if self._way else self._top
        # A device or a pipe is not even to be opened.
        if not stat.S_ISREG(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
            raise ValueError(f"{name!r} is not a regular file")
        file = os.open(last, _FILE_FLAGS, dir_fd=folder)
        try:
            while size:
                data = os.read(file, min(size, CHUNK_SIZE))
                if not data:
                    raise ValueError(f"{name!r} is too short")
                size -= len(data)
                yield data
        finally:
            os.close(file)

    def _enter(self, folders: bytes) -> None:
        parts = [part for part in folders.split(b"/") if part not in (b"", b".")]
        same = 0
        while same < min(len(parts), len(self._way)) and parts[same] == self._way[same][0]:
            same += 1
        self._shorten(same)
        for part in parts[same:]:
            if part == b"..":
                raise ValueError(f"{folders!r} leads out of the layer")
            above = self._way[-1][1] if self._way else self._top
            self._way.append((part, os.open(part, _FOLDER_FLAGS, dir_fd=above)))
        self._entered = folders

    def _shorten(self, length: int) -> None:
        while len(self._way) > length:
            os.close(self._way.pop()[1])
