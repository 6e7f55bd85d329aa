"""The image that needs no Docker: a root made of the kernel bundle's own busybox.

The root is one layer: ``bin/busybox``, a link for each of its applets, and the files of an appliance's ``root`` folder
over it.  It is made without running busybox (which may be for another kind of CPU than this machine's), and the same
busybox and files give the same bytes.
"""

from __future__ import annotations

import io
import re
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

from gns3_minivm.errors import DamagedImageError, DiskFullError
from gns3_minivm.guest import GuestConfig
from gns3_minivm.images.model import Image, ImageInfo, Layer
from gns3_minivm.images.oci import ARCHITECTURE, sha256_id

DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "lib": 0o755,
    "lib/modules": 0o755,
    "mnt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/lib": 0o755,
    "usr/share": 0o755,
    "var": 0o755,
    "var/log": 0o755,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
    "var/www": 0o755,
}
LINKS = {
    "sbin": "bin",
    "usr/bin": "../bin",
    "usr/sbin": "../bin",
    "var/run": "/run",
    "var/lock": "/run/lock",
}

_NAME_TABLE = b"\0[\0[[\0"
_APPLET = re.compile(rb"[a-z0-9\[][a-z0-9_.\-+\[]*")


class EmbeddedImage(Image):
    """An image of busybox and the files of ``root``; ``config`` says what its guest runs."""

    def __init__(self, busybox: bytes, root: Path, *, name: str, version: str, config: GuestConfig) -> None:
        self._layer = make_layer(busybox, root)
        self.info = ImageInfo(
            reference=name,
            name=name,
            version=version,
            architecture=ARCHITECTURE,
            diff_ids=(sha256_id(self._layer),),
            config=config,
            size_bytes=len(self._layer),
        )

    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        path = spool / "layer"
        try:
            path.write_bytes(self._layer)
        except OSError as error:
            raise DiskFullError(
                f"cannot write {path}: {error.strerror}", hint="Make room, or choose another place with --cache."
            ) from error
        progress(len(self._layer))
        return [Layer(self.info.diff_ids[0], path, 0, len(self._layer))]


def applets(busybox: bytes) -> list[str]:
    """The names of a busybox's applets, read from the table in its program file.

    The table (``applet_names`` in busybox's include/applet_tables.h) is a sorted run of NUL-ended names, closed by an
    empty one; "[" and "[[" come first.  Raises DamagedImageError if there is none.
    """
    start = busybox.find(_NAME_TABLE)
    end = busybox.find(b"\0\0", start + 1)
    names = busybox[start + 1 : end].split(b"\0") if 0 <= start < end else []
    if len(names) < 3 or names != sorted(set(names)) or not all(_APPLET.fullmatch(name) for name in names):
        raise DamagedImageError(
            f"the busybox of the kernel bundle ({len(busybox)} bytes) holds no table of applets",
            hint="Build the bundle again: `gns3-minivm kernel build --rebuild`.",
        )
    return [name.decode("ascii") for name in names]


def make_layer(busybox: bytes, root: Path) -> bytes:
    """The root as one uncompressed tar layer."""
    entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def add(path: str, kind: bytes, mode: int, *, data: bytes = b"", target: str = "") -> None:
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.linkname, info.size = kind, mode, target, len(data)
        entries[path] = info, data

    for path, mode in DIRECTORIES.items():
        add(path, tarfile.DIRTYPE, mode)
    for path, target in LINKS.items():
        add(path, tarfile.SYMTYPE, 0o777, target=target)
    for applet in applets(busybox):
        add(f"bin/{applet}", tarfile.SYMTYPE, 0o777, target="busybox")
    add("bin/busybox", tarfile.REGTYPE, 0o755, data=busybox)
    for source in sorted(root.rglob("*")):
        path = source.relative_to(root).as_posix()
        if source.is_symlink():
            add(path, tarfile.SYMTYPE, 0o777, target=str(source.readlink()))
        elif source.is_file():
            executable = source.stat().st_mode & stat.S_IXUSR
            add(path, tarfile.REGTYPE, 0o755 if executable else 0o644, data=source.read_bytes())
        elif path not in entries:
            add(path, tarfile.DIRTYPE, 0o755)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        # Sorted, a directory comes before what is in it.
        for path in sorted(entries):
            info, data = entries[path]
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()
