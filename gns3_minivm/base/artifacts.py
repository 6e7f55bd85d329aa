"""Artifacts: the files that the building half makes and the server half uploads.

An artifact's file name is formed from its recipe, before anything is built, and is never used for other bytes
(nodes of users are linked clones of it).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

_CHUNK_SIZE = 1 << 20


class Kind(StrEnum):
    """What a file is to a GNS3 template."""

    KERNEL = "kernel"
    INITRD = "initrd"
    MODULES = "modules"
    DISK = "disk"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished file on this machine; ``md5`` and ``sha256`` are lower-case hexadecimal."""

    kind: Kind
    path: Path
    filename: str
    size_bytes: int
    md5: str
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """The artifact as JSON shows it; the path is left to the caller."""
        return {
            "kind": str(self.kind),
            "filename": self.filename,
            "size_bytes": self.size_bytes,
            "md5": self.md5,
            "sha256": self.sha256,
        }


FindArtifact = Callable[[str], Artifact | None]
"""Finds the finished file of this machine that has a name on servers."""


def measure(kind: Kind, path: Path, filename: str) -> Artifact:
    """Read a file once and return its artifact; md5 and sha256 run on two threads."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    size_bytes = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_SIZE * 4):
            size_bytes += len(chunk)
            other = threading.Thread(target=md5.update, args=(chunk,))
            other.start()
            sha256.update(chunk)
            other.join()
    return Artifact(
        kind=kind, path=path, filename=filename, size_bytes=size_bytes, md5=md5.hexdigest(), sha256=sha256.hexdigest()
    )


def recipe_id(recipe: Mapping[str, Any]) -> str:
    """The sha256 (64 hexadecimal digits) of a recipe in canonical JSON: keys sorted, no spaces, ASCII."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def server_filename(stem: str, version: str, recipe: str, suffix: str = "") -> str:
    """Form ``STEM-VERSION-<12 hex><suffix>`` from characters that both GNS3 generations take.

    GNS3 unpacks names that end in ``.gz`` or ``.xz`` and treats names with "asa" as Cisco ASA, so neither occurs.
    """
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{stem}-{version}" if version else stem).strip("-.")
    label = re.sub(r"asa", "as-a", label, flags=re.IGNORECASE)
    return f"{label[:80]}-{recipe[:12]}{suffix}"
