"""Layers as tar files, made with the standard library's writer, so that ours is not judged by itself."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.formats.tar import read_layers
from gns3_minivm.formats.tree import FileTree

Item = tuple[tarfile.TarInfo, bytes]


@dataclass(frozen=True)
class TarLayer:
    """What ``read_layers`` takes."""

    path: Path
    offset: int
    size: int
    diff_id: str


def item(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    data: bytes = b"",
    *,
    mode: int = 0o644,
    target: str = "",
    xattrs: Mapping[str, bytes] | None = None,
    **fields: Any,
) -> Item:
    """One entry; ``fields`` are attributes of TarInfo."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size = kind, mode, target, len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    info.pax_headers = {
        f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in (xattrs or {}).items()
    }
    return info, data


def file(name: str, data: bytes = b"", **fields: Any) -> Item:
    return item(name, data=data, **fields)


def directory(name: str, mode: int = 0o755, **fields: Any) -> Item:
    return item(name, tarfile.DIRTYPE, mode=mode, **fields)


def symlink(name: str, target: str, **fields: Any) -> Item:
    return item(name, tarfile.SYMTYPE, target=target, mode=0o777, **fields)


def hard_link(name: str, target: str, **fields: Any) -> Item:
    return item(name, tarfile.LNKTYPE, target=target, **fields)


def tar_bytes(items: Iterable[Item], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream, mode="w", format=tar_format, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, data in items:
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def layer_of(path: Path, data: bytes) -> TarLayer:
    path.write_bytes(data)
    return TarLayer(path, 0, len(data), f"sha256:{path.name}")


def merged(folder: Path, *layers: bytes | list[Item]) -> FileTree:
    """The tree of layers, base layer first; each is given as entries or as the bytes of a tar file."""
    files = []
    for number, layer in enumerate(layers):
        data = layer if isinstance(layer, bytes) else tar_bytes(layer)
        files.append(layer_of(folder / f"layer{number}", data))
    return read_layers(files)


def paths(tree: FileTree) -> list[str]:
    return [path.decode("utf-8", "surrogateescape") for path, _ in tree.walk()]
