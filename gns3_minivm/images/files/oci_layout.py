"""``oci:FOLDER[:TAG]`` and ``oci-archive:FILE[:TAG]``: images in OCI's layout, in a folder or as a tar file.

index.json lists the images; a TAG is an entry's annotation ``org.opencontainers.image.ref.name``, and may be left out
where there is one image (for several platforms).

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from gns3_minivm.base.errors import DamagedImageError, ImageNotFoundError
from gns3_minivm.images.files.archive_file import HINT, ArchiveImage, open_file, read_documents, split_place
from gns3_minivm.images.model import Image
from gns3_minivm.images.oci import legible
from gns3_minivm.images.registry.image import OciSourceImage, oci_info
from gns3_minivm.images.registry.manifests import (
    DOCUMENT_MAX,
    Blobs,
    Descriptor,
    OciImage,
    choose,
    descriptors,
    parse_object,
    read_image,
)
from gns3_minivm.images.unpack import CHUNK_SIZE

INDEX = "index.json"
TAG_ANNOTATION = "org.opencontainers.image.ref.name"


def find_in_folder(place: str) -> Image:
    """Find an image in a folder of OCI's layout (blocking).

    Raises ImageNotFoundError, ArchitectureError, DamagedImageError.
    """
    path, tag = split_place(place)
    if not path.is_dir():
        state = "is not a folder" if path.exists() else "does not exist"
        raise ImageNotFoundError(f"{path} {state}", hint="Use oci: for a folder, oci-archive: for a tar file.")
    blobs = _Folder(path)
    if not (path / INDEX).is_file():
        raise DamagedImageError(f"{path} has no {INDEX}: it is not in the OCI layout", hint=HINT)
    with open_file(path / INDEX) as stream:
        index = stream.read(DOCUMENT_MAX)
    image, found = _find(f"oci:{place}", blobs, index, tag)
    return OciSourceImage(oci_info(f"oci:{place}", image, *_name(path.resolve().name, found)), image, [blobs])


def find_in_oci_archive(place: str) -> Image:
    """Find an image in an archive of OCI's layout (blocking); raises as ``find_in_folder`` does."""
    path, tag = split_place(place)
    documents = read_documents(path)
    if INDEX not in documents:
        hint = "Use docker-archive:FILE for an archive of docker save." if "manifest.json" in documents else HINT
        raise DamagedImageError(f"{path} has no {INDEX}: it is not in the OCI layout", hint=hint)
    image, found = _find(f"oci-archive:{place}", _Documents(path, documents), documents[INDEX], tag)
    stem = path.name.partition(".")[0]
    return ArchiveImage(oci_info(f"oci-archive:{place}", image, *_name(stem, found)), path)


def _find(reference: str, blobs: Blobs, index: bytes, tag: str) -> tuple[OciImage, Descriptor]:
    entries = descriptors(reference, parse_object(reference, index).get("manifests"))
    tags = list(dict.fromkeys(str(entry.annotations.get(TAG_ANNOTATION) or "") for entry in entries))
    there = legible(", ".join(filter(None, tags))) or "none with a tag"
    if tag:
        entries = [entry for entry in entries if entry.annotations.get(TAG_ANNOTATION) == tag]
    elif len(tags) > 1:
        raise ImageNotFoundError(f"{reference} holds several images: {there}", hint=f"Choose one: {reference}:TAG.")
    if not entries:
        raise ImageNotFoundError(f"{reference}: there is no such image; those there are: {there}")
    found = entries[0] if len(entries) == 1 else choose(reference, entries)
    return read_image(reference, blobs, found), found


def _name(stem: str, found: Descriptor) -> tuple[str, str]:
    """The annotation may be a tag, or a whole name with one."""
    tag = str(found.annotations.get(TAG_ANNOTATION) or "")
    name, colon, version = tag.rpartition("/")[2].partition(":")
    if colon:
        return name, version
    return stem or "image", tag or found.digest.rpartition(":")[2][:12]


class _Folder(Blobs):
    def __init__(self, path: Path) -> None:
        self._path = path

    def document(self, descriptor: Descriptor) -> bytes:
        with self._open(descriptor) as stream:
            return stream.read(DOCUMENT_MAX)

    def pieces(self, descriptor: Descriptor) -> Iterator[bytes]:
        with self._open(descriptor) as stream:
            while data := stream.read(CHUNK_SIZE):
                yield data

    def _open(self, descriptor: Descriptor) -> IO[bytes]:
        path = self._path / "blobs" / descriptor.digest.replace(":", "/")
        if not path.is_file():
            raise DamagedImageError(f"{self._path} does not contain the blob {descriptor.digest}", hint=HINT)
        return open_file(path)


class _Documents(Blobs):
    """The documents of an archive; its layers are taken out by their diff IDs."""

    def __init__(self, path: Path, documents: Mapping[str, bytes]) -> None:
        self._path = path
        self._documents = documents

    def document(self, descriptor: Descriptor) -> bytes:
        data = self._documents.get(f"blobs/{descriptor.digest.replace(':', '/')}")
        if data is None:
            raise DamagedImageError(f"{self._path} does not contain the document {descriptor.digest}", hint=HINT)
        return data

    def pieces(self, descriptor: Descriptor) -> Iterator[bytes]:
        raise NotImplementedError
