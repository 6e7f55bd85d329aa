"""The image that needs no Docker: a root made of the kernel bundle's own busybox.

The root is one layer: ``bin/busybox``, a link for each of its applets, and the files of an appliance's ``root`` folder
over it.  It is made without running busybox (which may be for another kind of CPU than this machine's), and the same
busybox and files give the same bytes.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.tar import write_tar
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images.model import Image, ImageInfo, Layer
from gns3_minivm.images.oci import sha256_id

DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "etc/network": 0o755,
    # ifup looks into these, empty or not.
    "etc/network/if-down.d": 0o755,
    "etc/network/if-post-down.d": 0o755,
    "etc/network/if-pre-up.d": 0o755,
    "etc/network/if-up.d": 0o755,
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
# The machine has an init already; a root that seems to bring its own would be taken for a whole system.
NOT_LINKED = frozenset({"busybox", "init", "linuxrc"})

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
            architecture=X86_64.oci,
            diff_ids=(sha256_id(self._layer),),
            config=config,
            size_bytes=len(self._layer),
        )

    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        path = spool / "layer"
        try:
            path.write_bytes(self._layer)
        except OSError as error:
            raise (disk_error(error, spool) or error) from error
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
            f"the busybox of the kernel bundle ({len(busybox)} bytes) has no table of applets",
            hint="Build the bundle again: `gns3-minivm kernel build --rebuild`.",
        )
    return [name.decode("ascii") for name in names]


def make_layer(busybox: bytes, root: Path) -> bytes:
    """The root as one uncompressed tar layer."""
    tree = FileTree()
    for path, mode in DIRECTORIES.items():
        tree.add_directory(path.encode(), mode)
    for path, target in LINKS.items():
        tree.add_symlink(path.encode(), target.encode())
    for applet in applets(busybox):
        if applet not in NOT_LINKED:
            tree.add_symlink(f"bin/{applet}".encode(), b"busybox")
    tree.add_file(b"bin/busybox", busybox, 0o755)
    for source in sorted(root.rglob("*")):
        name = os.fsencode(source.relative_to(root).as_posix())
        if source.is_symlink():
            tree.add_symlink(name, os.fsencode(source.readlink()))
        elif source.is_file():
            tree.add_file(name, source.read_bytes(), 0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)
        elif tree.lookup(name, follow=True) is None:
            tree.add_directory(name)
    stream = io.BytesIO()
    write_tar(tree, stream)
    return stream.getvalue()
