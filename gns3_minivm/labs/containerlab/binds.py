"""Binds of a containerlab node: files and small folders of this machine that become files of the guest (blocking).

A guest has no part of the host's file system, so what is bound is copied: a bind that is read-only at each boot,
another one when it has changed here.  Devices and sockets are refused, and what is large belongs into the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gns3_minivm.base.errors import UsageError

SIZE_MAX_BYTES = 16 << 20
"""Of all files of one node together: a payload has room for 32 MiB, and files grow by a third in it."""
FILES_MAX = 4096


@dataclass
class Binds:
    """What a node's binds become: keys of a lab file; ``refused`` gives the reason for each that is refused."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    _size_bytes: int = 0

    def add(self, bind: str, folder: Path, variables: dict[str, str]) -> None:
        """Take one bind, ``SOURCE:TARGET[:OPTIONS]`` or ``TARGET``.

        Raises UsageError if it is malformed, or if its source does not exist.
        """
        source_text, target, options = _parts(bind)
        for name, value in variables.items():
            source_text = source_text.replace(name, value)
        if not source_text:
            self.folders[target] = {}
            return
        source = Path(os.path.abspath(folder / Path(source_text).expanduser()))
        if not source.exists():
            raise UsageError(f"bind {bind!r}: {source} does not exist")
        found: dict[str, dict[str, Any]] = {}
        size_bytes = 0
        when = "boot" if "ro" in options.split(",") else "once"
        try:
            for path, inner in _files(source, target):
                found[inner] = {
                    "source": str(path),
                    "mode": f"{stat.S_IMODE(path.stat().st_mode) & 0o777:o}",
                    "when": when,
                }
                size_bytes += path.stat().st_size
                if self._size_bytes + size_bytes > SIZE_MAX_BYTES or len(found) + len(self.files) > FILES_MAX:
                    self.refused[bind] = (
                        f"{source} is too large to be copied (the files of a node: {SIZE_MAX_BYTES >> 20} MiB,"
                        f" {FILES_MAX} files); put it into the image"
                    )
                    return
        except OSError as error:
            raise UsageError(f"bind {bind!r}: {error.filename or source} cannot be read: {error.strerror}") from error
        if not source.is_dir() and not found:
            self.refused[bind] = f"{source} is not a file or folder but a device, a socket ..., which a VM does not see"
            return
        self._size_bytes += size_bytes
        self.files |= found
        if source.is_dir() and not found:
            self.folders[target] = {}


def target_of(bind: str) -> str:
    """The path in the guest.  Raises UsageError."""
    return _parts(bind)[1]


def _parts(bind: str) -> tuple[str, str, str]:
    source, target, options = (*bind.split(":"), "", "")[:3]
    if not target and bind.count(":") == 0:
        source, target = "", source
    if bind.count(":") > 2 or not target.startswith("/"):
        raise UsageError(f"bind {bind!r} must be SOURCE:/TARGET, SOURCE:/TARGET:OPTIONS or /TARGET")
    return source, os.path.normpath(target), options


def _files(source: Path, target: str, above: tuple[str, ...] = ()) -> Iterator[tuple[Path, str]]:
    """All files below, with their paths in the guest; anything but a file is left out."""
    if source.is_file():
        yield source, target
    elif source.is_dir() and (real := os.path.realpath(source)) not in above:
        for name in sorted(os.listdir(source)):
            yield from _files(source / name, f"{target.rstrip('/')}/{name}", (*above, real))
