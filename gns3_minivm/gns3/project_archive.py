"""GNS3's portable projects (.gns3project): what is in them, and what their nodes need besides.

A zip file with ``project.gns3`` (the topology as JSON), ``project-files/`` and ``images/QEMU/``.  GNS3's export takes
the images of all node properties whose name ends in "image", which leaves out the initial RAM disk, and puts images of
remote computes into ``images/qemu/``, where its own import does not look for them.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from gns3_minivm.base.cancel import checkpoint
from gns3_minivm.base.errors import UserError
from gns3_minivm.gns3.model import SCRATCH_PROJECT

PROJECT_FILE = "project.gns3"
IMAGES = "images/QEMU/"
_REMOTE_IMAGES = "images/qemu/"
_CHUNK_SIZE = 1 << 20
_ZSTD = 93
"""The number of the compression method (APPNOTE.TXT 4.4.5)."""


@dataclass(frozen=True)
class NeededImage:
    """An image file that a node names; ``md5`` is what the node was made with, where the project tells."""

    filename: str
    node: str
    md5: str | None


@dataclass(frozen=True, kw_only=True)
class ProjectArchive:
    """What a portable project says of itself; ``images`` are the files in it, by name and size in bytes."""

    path: Path
    name: str
    project_id: str
    revision: int
    version: str
    needed: tuple[NeededImage, ...]
    images: Mapping[str, int]

    @property
    def lacking(self) -> tuple[NeededImage, ...]:
        """The images that nodes need and the archive lacks."""
        return tuple(image for image in self.needed if image.filename not in self.images)


def read_archive(path: Path) -> ProjectArchive:
    """Read a portable project's table of contents and topology (blocking).

    Raises UserError if it is not one, or is compressed in a way that this Python does not know.
    """
    with _opened(path) as archive:
        names = {member.filename: member.file_size for member in archive.infolist()}
        if PROJECT_FILE not in names:
            raise UserError(f"{path} is not a portable project of GNS3: it has no {PROJECT_FILE}", hint=_FILE_HINT)
        with _member(archive, path, PROJECT_FILE) as stream:
            topology = _topology(path, stream.read())
    images = {name.removeprefix(IMAGES): size for name, size in names.items() if _is_image(name)}
    return ProjectArchive(
        path=path,
        name=str(topology.get("name", "")),
        project_id=str(topology.get("project_id", "")),
        revision=_number(topology.get("revision")),
        version=str(topology.get("version", "")),
        needed=tuple(_needed(topology)),
        images=images,
    )


def add_image(path: Path, filename: str, source: Path) -> None:
    """Add an image file to a portable project (blocking); the file's table of contents is written anew."""
    with zipfile.ZipFile(path, "a", allowZip64=True) as archive, source.open("rb") as stream:
        member = zipfile.ZipInfo(IMAGES + filename)
        member.external_attr = 0o100644 << 16
        member.file_size = os.fstat(stream.fileno()).st_size
        with archive.open(member, "w") as target:
            _copy(stream, target)


def write_carrier(path: Path, filename: str, source: Path) -> str:
    """Write a portable project without nodes that brings one image file, and return its id (blocking)."""
    project_id = str(uuid.uuid4())
    topology = {
        "name": SCRATCH_PROJECT + project_id,
        "project_id": project_id,
        "revision": 9,
        "topology": {"computes": [], "drawings": [], "links": [], "nodes": []},
        "type": "topology",
        "version": "2.2.0",
    }
    with zipfile.ZipFile(path, "x") as archive:
        archive.writestr(PROJECT_FILE, json.dumps(topology))
    add_image(path, filename, source)
    return project_id


def take_image(path: Path, filename: str, target: Path) -> bool:
    """Copy an image out of an archive (blocking); False if it is not in it."""
    with _opened(path) as archive:
        name = _name_of(archive, filename)
        if name is None:
            return False
        with _member(archive, path, name) as stream, target.open("wb") as out:
            _copy(stream, out)
        return True


def image_md5(path: Path, filename: str) -> str | None:
    """The md5 of an image in an archive (blocking); None if it is not in it."""
    digest = hashlib.md5(usedforsecurity=False)
    with _opened(path) as archive:
        name = _name_of(archive, filename)
        if name is None:
            return None
        with _member(archive, path, name) as stream:
            while chunk := stream.read(_CHUNK_SIZE):
                checkpoint()
                digest.update(chunk)
    return digest.hexdigest()


def _name_of(archive: zipfile.ZipFile, filename: str) -> str | None:
    names = set(archive.namelist())
    return next((folder + filename for folder in (IMAGES, _REMOTE_IMAGES) if folder + filename in names), None)


_FILE_HINT = "Give a file that `gns3-minivm project export` or GNS3's own export wrote."


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except NotImplementedError as error:
        raise UserError(
            f"{path}: its files are compressed in a way that this Python cannot read ({error})",
            hint="Export the project with `gns3-minivm project export`.",
        ) from error
    except (zipfile.BadZipFile, EOFError, struct.error, zstandard.ZstdError) as error:
        raise UserError(
            f"{path} is not a portable project of GNS3, or is incomplete ({error})", hint=_FILE_HINT
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})", hint=_FILE_HINT) from error


@contextmanager
def _member(archive: zipfile.ZipFile, path: Path, name: str) -> Iterator[IO[bytes]]:
    """The content of one file; also of zstd, the default of GNS3 3.0, which zipfile learns with Python 3.14 only."""
    member = archive.getinfo(name)
    if member.compress_type != _ZSTD:
        with archive.open(member) as stream:
            yield stream
        return
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as view:
        # APPNOTE.TXT 4.3.7: the lengths of name and extra field are the last four of 30 bytes, which these follow.
        start = member.header_offset + 30 + sum(struct.unpack_from("<26x2H", view, member.header_offset))
        with (
            memoryview(view)[start : start + member.compress_size] as content,
            zstandard.ZstdDecompressor().stream_reader(content) as stream,
        ):
            yield stream


def _topology(path: Path, text: bytes) -> dict[str, Any]:
    try:
        topology = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: its {PROJECT_FILE} is not JSON ({error})", hint=_FILE_HINT) from error
    if not isinstance(topology, dict):
        raise UserError(f"{path}: its {PROJECT_FILE} is not a GNS3 project", hint=_FILE_HINT)
    return topology


def _is_image(name: str) -> bool:
    return name.startswith(IMAGES) and not name.endswith("/")


def _needed(topology: Mapping[str, Any]) -> Iterator[NeededImage]:
    inner = topology.get("topology")
    nodes = inner.get("nodes") if isinstance(inner, dict) else None
    seen: set[str] = set()
    for node in nodes if isinstance(nodes, list) else []:
        properties = node.get("properties") if isinstance(node, dict) else None
        if not isinstance(properties, dict) or node.get("node_type") != "qemu":
            continue
        for field, value in properties.items():
            if not isinstance(value, str) or not value.strip() or not (field.endswith("_image") or field == "initrd"):
                continue
            filename = value.rpartition("/")[2]
            if filename not in seen:
                seen.add(filename)
                md5 = properties.get(f"{field}_md5sum")
                yield NeededImage(filename, str(node.get("name", "")), md5 if isinstance(md5, str) and md5 else None)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while chunk := source.read(_CHUNK_SIZE):
        checkpoint()
        target.write(chunk)
