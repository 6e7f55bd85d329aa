"""Images as blobs, for tests that serve or store them."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class BlobImage:
    """An image and everything that it is made of, by digest."""

    layers: list[bytes]
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def diff_ids(self) -> list[str]:
        return [sha256(layer) for layer in self.layers]

    @property
    def top(self) -> dict[str, Any]:
        return self.add(json.dumps(self.manifest).encode(), MANIFEST)

    def add(self, data: bytes, media_type: str) -> dict[str, Any]:
        self.blobs[sha256(data)] = data
        return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}

    def index(self, *platforms: str) -> dict[str, Any]:
        """An index in which every platform has this image."""
        entries = []
        for platform in platforms:
            system, architecture, *variant = platform.split("/")
            described = {"os": system, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
            entries.append(self.top | {"platform": described})
        return self.add(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), INDEX)


def make_image(
    layers: list[bytes],
    compress: Callable[[bytes], bytes] = lambda data: gzip.compress(data, mtime=0),
    *,
    architecture: str = "amd64",
) -> BlobImage:
    image = BlobImage(layers)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": image.diff_ids},
    }
    image.manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": image.add(json.dumps(config).encode(), CONFIG),
        "layers": [image.add(compress(layer), LAYER) for layer in layers],
    }
    return image
