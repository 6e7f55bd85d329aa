"""Images as blobs, for tests that serve or store them."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.layers import file, tar_bytes

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


def layout(image: BlobImage) -> dict[str, bytes]:
    """The files of OCI's layout."""
    index = json.dumps({"schemaVersion": 2, "manifests": [image.top]}).encode()
    blobs = {f"blobs/{digest.replace(':', '/')}": data for digest, data in image.blobs.items()}
    return blobs | {"index.json": index, "oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}


def saved(image: BlobImage, tag: str) -> dict[str, bytes]:
    """The files of ``docker save`` before Docker 25."""
    config = image.blobs[image.manifest["config"]["digest"]]
    name = f"{sha256(config)[7:]}.json"
    layers = {f"{number}/layer.tar": layer for number, layer in enumerate(image.layers)}
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": list(layers)}]).encode()
    return {name: config, **layers, "manifest.json": manifest}


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def archive(files: Mapping[str, bytes]) -> bytes:
    """The files as a tar archive."""
    return tar_bytes([file(name, data) for name, data in files.items()])
