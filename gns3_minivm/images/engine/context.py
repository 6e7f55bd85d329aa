"""The Docker context of an appliance: what it holds, and a hash that names exactly that.

The context is sent as a tar archive in which everything belongs to root, dates from 1970 and has the mode 0644 or 0755,
so that the same files give the same layers on every machine, whatever its umask and whenever they were checked out.
``.dockerignore`` is honoured.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gns3_minivm.base.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """One name in a context; ``path`` is relative, with slashes."""

    path: str
    source: Path
    mode: int
    """The file type and one of the permissions 0644, 0755, 0777."""


def scan(folder: Path, without: Collection[str] = ()) -> list[Entry]:
    """All entries of a context in the order of their paths, less ``without`` and what .dockerignore names."""
    if not (folder / "Dockerfile").is_file():
        raise ConfigError(
            f"{folder} has no Dockerfile", hint="An appliance with `build` needs one beside its appliance.yaml."
        )
    entries = []
    for path in _paths(folder):
        if path in without:
            continue
        source = folder / path
        mode = source.lstat().st_mode
        if stat.S_ISDIR(mode):
            entries.append(Entry(path, source, stat.S_IFDIR | 0o755))
        elif stat.S_ISLNK(mode):
            entries.append(Entry(path, source, stat.S_IFLNK | 0o777))
        elif stat.S_ISREG(mode):
            entries.append(Entry(path, source, stat.S_IFREG | (0o755 if mode & 0o100 else 0o644)))
        else:
            raise ConfigError(f"{source} is neither a file, a directory nor a symbolic link")
    return entries


def _paths(folder: Path) -> list[str]:
    ignore = folder / ".dockerignore"
    if not ignore.is_file():
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    from docker.utils.build import exclude_paths

    lines = [line.strip() for line in ignore.read_text(encoding="utf-8").splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    return sorted(path.replace(os.sep, "/") for path in exclude_paths(str(folder), patterns) if path)


def content_hash(entries: list[Entry]) -> str:
    """The sha256 (64 hexadecimal digits) of the paths, modes and contents."""
    digest = hashlib.sha256()
    for entry in entries:
        content = _content(entry)
        digest.update(f"{entry.mode:o} {len(content)} {entry.path}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def _content(entry: Entry) -> bytes:
    if stat.S_ISLNK(entry.mode):
        return os.fsencode(os.readlink(entry.source))
    return entry.source.read_bytes() if stat.S_ISREG(entry.mode) else b""


def write_context(entries: list[Entry], stream: IO[bytes]) -> None:
    """Write the context as the tar archive that the engine takes."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.mode = stat.S_IMODE(entry.mode)
            if stat.S_ISDIR(entry.mode):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            elif stat.S_ISLNK(entry.mode):
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(entry.source)
                archive.addfile(info)
            else:
                with entry.source.open("rb") as source:
                    info.size = os.fstat(source.fileno()).st_size
                    archive.addfile(info, source)
