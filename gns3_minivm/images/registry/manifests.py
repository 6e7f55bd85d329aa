"""Manifests and indexes, and the choice of a platform among those that an index offers.

OCI image-spec manifest.md, image-index.md and descriptor.md; Docker's "Image Manifest V 2, Schema 2" and manifest
lists, which have the same shape.  Schema 1 is not supported, nor are artifacts that are not images.

https://github.com/opencontainers/image-spec/blob/main/manifest.md
https://distribution.github.io/distribution/spec/manifest-v2-2/
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ArchitectureError, DamagedImageError
from gns3_minivm.base.plurals import counted
from gns3_minivm.images.oci import check_diff_ids, check_platform, legible

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
DOCUMENT_MAX = 4 << 20
"""Bytes of a manifest or configuration (distribution-spec, "Pushing Manifests")."""

_CONFIG_TYPES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_LAYER_TYPE = re.compile(
    r"application/vnd\.(oci\.image\.layer(\.nondistributable)?\.v1\.tar|docker\.image\.rootfs\.(diff|foreign\.diff)\.tar)"
    r"([.+](gzip|zstd))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DEPTH_MAX = 4
_HINT = "Push or save the image again."


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What a document says about a blob (OCI descriptor.md)."""

    media_type: str
    digest: str
    size: int
    platform: Mapping[str, Any] = field(default_factory=dict, compare=False)
    annotations: Mapping[str, Any] = field(default_factory=dict, compare=False)


class Blobs(ABC):
    """Where the blobs of an image can be read.  Methods block; ``pieces`` may be used by several threads at once."""

    @abstractmethod
    def document(self, descriptor: Descriptor) -> bytes:
        """A whole manifest, index or configuration; the caller checks its digest."""

    @abstractmethod
    def pieces(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob's bytes as they come; the caller checks size and digest."""


@dataclass(frozen=True)
class OciImage:
    """An image's configuration and, for each diff ID, the blob that holds the layer."""

    config: Mapping[str, Any]
    layers: Sequence[Descriptor]
    diff_ids: tuple[str, ...]


def read_image(reference: str, blobs: Blobs, top: Descriptor) -> OciImage:
    """Follow a descriptor to the image for this architecture.

    Raises ArchitectureError, DamagedImageError, and what ``blobs`` raises.
    """
    descriptor = top
    for _ in range(_DEPTH_MAX):
        manifest = read_document(reference, blobs, descriptor)
        if manifest.get("schemaVersion") == 1:
            raise DamagedImageError(
                f"the image {reference} has a manifest of schema 1, which is no longer in use", hint=_HINT
            )
        if "manifests" not in manifest:
            return _image(reference, blobs, manifest)
        descriptor = choose(reference, descriptors(reference, manifest.get("manifests")))
    raise DamagedImageError(f"the image {reference} has indexes within indexes, more than {_DEPTH_MAX} deep")


def _image(reference: str, blobs: Blobs, manifest: Mapping[str, Any]) -> OciImage:
    (config_at,) = descriptors(reference, [manifest.get("config")])
    layers = descriptors(reference, manifest.get("layers"))
    other = [item.media_type for item in (config_at,) if item.media_type not in _CONFIG_TYPES]
    other += [item.media_type for item in layers if not _LAYER_TYPE.fullmatch(item.media_type)]
    if other:
        raise DamagedImageError(
            f"{reference} is not an ordinary image: it contains {other[0][:80]!r}",
            hint="Encrypted images, charts and other artifacts cannot be converted.",
        )
    config = read_document(reference, blobs, config_at)
    check_platform(reference, str(config.get("os") or ""), str(config.get("architecture") or ""))
    rootfs = config.get("rootfs")
    diff_ids = check_diff_ids(reference, rootfs.get("diff_ids") if isinstance(rootfs, dict) else None)
    if len(diff_ids) != len(layers):
        raise DamagedImageError(
            f"the image {reference} has {counted(len(layers), 'layer')}, but its configuration names {len(diff_ids)}",
            hint=_HINT,
        )
    return OciImage(config, layers, diff_ids)


def choose(reference: str, offered: Sequence[Descriptor]) -> Descriptor:
    """The descriptor for linux/amd64; the plain architecture is preferred to a variant of it.

    Raises ArchitectureError that names what there is.
    """
    # Attestations say "unknown/unknown"; a single image in a folder often says nothing.
    known = [item for item in offered if item.platform.get("architecture") != "unknown"]
    if len(known) == 1 and not known[0].platform:
        return known[0]
    fitting = [
        item for item in known if item.platform.get("os") == "linux" and item.platform.get("architecture") == X86_64.oci
    ]
    if fitting:
        return min(fitting, key=lambda item: str(item.platform.get("variant") or ""))
    names = [_platform_name(item) for item in known]
    raise ArchitectureError(
        f"the image {reference} is made for {', '.join(dict.fromkeys(names)) or 'nothing'}; "
        f"only linux/{X86_64.oci} can run",
        hint="Another tag or image may be made for it.",
    )


def _platform_name(descriptor: Descriptor) -> str:
    parts = [descriptor.platform.get(key) for key in ("os", "architecture", "variant")]
    return legible("/".join(str(part)[:40] for part in parts if part)) or "an unnamed platform"


def read_document(reference: str, blobs: Blobs, descriptor: Descriptor) -> dict[str, Any]:
    """A JSON object whose digest and size have been checked."""
    if descriptor.size > DOCUMENT_MAX:
        raise DamagedImageError(
            f"{descriptor.digest} of the image {reference} has {descriptor.size} bytes; at most {DOCUMENT_MAX} "
            "are allowed"
        )
    data = blobs.document(descriptor)
    found = digest_of(data, descriptor.digest)
    if found != descriptor.digest:
        raise DamagedImageError(
            f"a document of the image {reference} has the digest {found} ({len(data)} bytes), not {descriptor.digest}",
            hint=_HINT,
        )
    return parse_object(reference, data)


def parse_object(reference: str, data: bytes) -> dict[str, Any]:
    """The JSON object that some bytes are; raises DamagedImageError."""
    try:
        value = json.loads(data)
        if _SURROGATE_ESCAPE.search(data):
            value = _without_surrogates(value)
    except (ValueError, RecursionError) as error:
        raise DamagedImageError(f"a document of {reference} is not JSON: {error}", hint=_HINT) from error
    if not isinstance(value, dict):
        raise DamagedImageError(f"a document of {reference} is not a JSON object", hint=_HINT)
    return value


def _without_surrogates(value: Any) -> Any:
    """Halves of UTF-16 pairs, which no text can hold, become U+FFFD, as in Go, and so in what an engine says."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def descriptors(reference: str, values: Any) -> list[Descriptor]:
    """The descriptors of a document; raises DamagedImageError for anything else."""
    if not isinstance(values, list):
        raise DamagedImageError(f"a manifest of {reference} has no list of blobs", hint=_HINT)
    found = []
    for value in values:
        digest = value.get("digest") if isinstance(value, dict) else None
        size = value.get("size") if isinstance(value, dict) else None
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or not isinstance(size, int) or size < 0:
            raise DamagedImageError(
                f"a manifest of {reference} has {str(value)[:100]} in place of a descriptor", hint=_HINT
            )
        extra = {key: value[key] for key in ("platform", "annotations") if isinstance(value.get(key), dict)}
        found.append(Descriptor(media_type=str(value.get("mediaType") or ""), digest=digest, size=size, **extra))
    return found


def digest_of(data: bytes, like: str) -> str:
    """The digest of some bytes, by the algorithm of the digest ``like``."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
