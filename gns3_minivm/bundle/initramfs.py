"""The initial RAM disk: init, busybox, e2fsck and the few modules that a boot needs.

Its files are a part of the contract with the guest (kernel/CONTRACT.md)::

    init                       the guest's init, PID 1
    bin/busybox                static program
    sbin/e2fsck.gz             another, which init unpacks when it is needed
    dev/console                character device 5:1
    lib/modules/VERSION/...    uncompressed modules
    etc/modules.boot           paths of modules to load before the root disk is mounted, in order, one a line
    etc/modules.late           the same for after it
"""

from __future__ import annotations

import io
import stat
from collections.abc import Mapping, Sequence

from zlib_ng import zlib_ng

from gns3_minivm.bundle.modules.depmod import Module
from gns3_minivm.formats.content import Content
from gns3_minivm.formats.cpio import write_cpio
from gns3_minivm.formats.tree import FileTree

_GZIP_LEVEL = 2
"""The same bytes on every machine, as for the clusters of disks (formats.qcow2.codec)."""
_GZIP = 31
"""zlib's way to ask for a gzip header, in which it writes no time and no name."""


def make_initramfs(
    *,
    init: bytes,
    busybox: bytes,
    e2fsck: bytes,
    kernel_version: str,
    boot: Sequence[Module],
    late: Sequence[Module],
    contents: Mapping[str, Content],
) -> bytes:
    """The bytes of the initial RAM disk; ``contents`` holds the modules' files by their path."""
    tree = FileTree()
    for directory in ("bin", "dev", "etc", "lib", "proc", "run", "sbin", "sys", "tmp"):
        tree.add_directory(directory.encode())
    tree.add_file(b"init", init, 0o755)
    tree.add_file(b"bin/busybox", busybox, 0o755)
    # The kernel copies all of this page by page at every boot; a damaged file system is rare.
    tree.add_file(b"sbin/e2fsck.gz", zlib_ng.compress(e2fsck, _GZIP_LEVEL, _GZIP))
    # The kernel opens it before /dev is mounted; without it PID 1 has no standard streams.
    tree.add_node(b"dev/console", stat.S_IFCHR | 0o600, 5, 1)
    for name, modules in (("boot", boot), ("late", late)):
        paths = [f"lib/modules/{kernel_version}/{module.path}" for module in modules]
        for module, path in zip(modules, paths, strict=True):
            tree.add_file(path.encode(), contents[module.path])
        tree.add_file(f"etc/modules.{name}".encode(), "".join(f"/{path}\n" for path in paths).encode())
    archive = io.BytesIO()
    write_cpio(tree, archive)
    return archive.getvalue()
