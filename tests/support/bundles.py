"""A kernel bundle in a cache without apt or a compiler: whole as far as the host looks at it, and of any content."""

from __future__ import annotations

import hashlib

from gns3_minivm.base.artifacts import Artifact, Kind, measure, server_filename
from gns3_minivm.base.cache import Cache
from gns3_minivm.bundle import build
from gns3_minivm.bundle.model import BUSYBOX_FILE, INITRD_FILE, KERNEL_FILE, MODULES_FILE, Bundle, PackageRecord, load
from gns3_minivm.bundle.modules.module_list import read_module_list
from tests.support.debs import elf

_FILES = {
    Kind.KERNEL: (KERNEL_FILE, "vmlinuz", ""),
    Kind.INITRD: (INITRD_FILE, "initrd", ""),
    Kind.MODULES: (MODULES_FILE, "modules", ".qcow2"),
}
_APPLETS = b"\0[\0[[\0ash\0cat\0ls\0sh\0\0"
"""The table of names that a busybox holds."""


def put_bundle(cache: Cache, version: str = "6.1.0-9-test", kinds: tuple[Kind, ...] = tuple(_FILES)) -> Bundle:
    """Make the bundle that this release would take by itself, with files of these kinds."""
    digits = hashlib.sha256(f"{version} {kinds}".encode()).hexdigest()
    package = PackageRecord(
        name=f"linux-image-{version}",
        version="6.1.90-1",
        architecture="amd64",
        source="linux 6.1.90-1",
        filename=f"linux-image-{version}.deb",
        sha256=digits,
        size_bytes=1,
    )
    with cache.make("kernels", digits) as work:
        found: dict[Kind, Artifact] = {}
        if not work.ready:
            (work.folder / BUSYBOX_FILE).write_bytes(elf() + _APPLETS)
            for kind in kinds:
                file, stem, suffix = _FILES[kind]
                path = work.folder / file
                path.write_bytes(f"{kind} of {version} ".encode() * 500)
                found[kind] = measure(kind, path, server_filename(stem, version, digits, suffix))
            bundle = Bundle(
                id=digits,
                flavour=build.FLAVOUR,
                kernel_version=version,
                architecture="amd64",
                kernel=found[Kind.KERNEL],
                initrd=found.get(Kind.INITRD),
                modules=found.get(Kind.MODULES),
                packages=(package,),
                made_by=build._made_by(read_module_list()),
                folder=work.folder,
            )
            work.manifest = bundle.as_dict()
    return load(work.entry)
