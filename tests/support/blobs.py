"""Files of random bytes as images: every test has names and contents of its own."""

from __future__ import annotations

import os
from pathlib import Path

from gns3_minivm.base.artifacts import Artifact, Kind, measure


def random_artifact(folder: Path, kind: Kind = Kind.DISK, size_bytes: int = 200_000, stem: str = "blob") -> Artifact:
    """A new file; its name has the form that recipes give."""
    filename = f"{stem}-{os.urandom(6).hex()}"
    path = folder / filename
    path.write_bytes(os.urandom(size_bytes))
    return measure(kind, path, filename)
