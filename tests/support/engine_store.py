"""A folder as in the data of dockerd (storage driver overlay2), made without it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from gns3_minivm.images.model import chain_id


def split(archive: bytes) -> list[dict[str, Any]]:
    """What the engine keeps of an archive beside its files."""
    entries: list[dict[str, Any]] = []
    end = 0
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            entries.append({"type": 2, "payload": base64.b64encode(archive[end : member.offset_data]).decode()})
            named: dict[str, Any] = {"type": 1, "name": member.name, "payload": None}
            try:
                member.name.encode()
            except UnicodeEncodeError:
                named = {"type": 1, "name_raw": base64.b64encode(os.fsencode(member.name)).decode(), "payload": None}
            size = member.size if member.isreg() else 0
            entries.append(named | ({"size": size} if size else {}))
            end = member.offset_data + size
    entries.append({"type": 2, "payload": base64.b64encode(archive[end:]).decode()})
    return [{**entry, "position": number} for number, entry in enumerate(entries)]


def packed(entries: list[dict[str, Any]]) -> bytes:
    return gzip.compress(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))


class Store:
    """A folder as that of dockerd."""

    def __init__(self, root: Path, *archives: bytes) -> None:
        self.diff_ids = [f"sha256:{hashlib.sha256(archive).hexdigest()}" for archive in archives]
        self.folders = [root / "overlay2" / f"l{number}" / "diff" for number in range(len(archives))]
        self.splits: list[Path] = []
        for number, (archive, folder) in enumerate(zip(archives, self.folders, strict=True)):
            folder.mkdir(parents=True)
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                # Debian 12's own Python has no filters yet.
                options: Any = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
                tar.extractall(folder, **options)
            chain = chain_id(self.diff_ids[: number + 1]).removeprefix("sha256:")
            path = root / "image" / "overlay2" / "layerdb" / "sha256" / chain / "tar-split.json.gz"
            path.parent.mkdir(parents=True)
            path.write_bytes(packed(split(archive)))
            self.splits.append(path)

    def inspected(self) -> dict[str, Any]:
        upper, *lower = [str(folder) for folder in reversed(self.folders)]
        data = {"UpperDir": upper, **({"LowerDir": ":".join(lower)} if lower else {})}
        return {"GraphDriver": {"Name": "overlay2", "Data": data}}
