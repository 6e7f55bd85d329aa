"""A small image and a small kernel bundle whose bytes are the same everywhere, and the md5 that they have had so far.

``python -m tests.support.golden FOLDER`` makes them and prints what it found as JSON: in other environments, and under
other CPUs, where nothing but this package and its two codec libraries is there.  Nothing that goes in comes from a
library that compresses, nor from a clock.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tarfile
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Events
from gns3_minivm.bundle import build
from gns3_minivm.bundle.modules.module_list import ModuleList
from gns3_minivm.bundle.packages.package_set import DebFiles
from gns3_minivm.convert.options import Compression, DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.images.files.oci_layout import find_in_folder
from tests.support.debs import VERSION, elf, kernel_files, make_deb
from tests.support.layers import Item, directory, file, hard_link, item, symlink, tar_bytes

# File name, size and md5.  A change of an md5 alone makes published checksums wrong: raise convert.recipe.FORMAT or a
# number in bundle.build, so that the name changes with it; then take what `python -m tests.support.golden FOLDER`
# prints.
GOLDEN: dict[str, Any] = {
    "layers": [
        "sha256:15f2a377a59c022c08f981041dfbc243d9ff8b08f3ac868829719d67e4481c2c",
        "sha256:26e13d3363d4161ab5775c2f7df428e7a645bef674e33c0044bbb4bc3c431391",
    ],
    "disk zstd": [
        "image-15fd614b7150-fac456170a82.qcow2",
        "1900544",
        "b7d0e115e559722bb27277a4b15e45d6",
    ],
    "disk zlib": [
        "image-15fd614b7150-e31ddd1f7de2.qcow2",
        "2293760",
        "a4cd0b8ee39ef001d34ec1821de15948",
    ],
    "disk none": [
        "image-15fd614b7150-19a8f51767ad.qcow2",
        "6488064",
        "c347d7d7be136de21977b483261715c7",
    ],
    "kernel": [
        "vmlinuz-6.1.0-99-cloud-amd64-c27d39e9838b",
        "1300",
        "4d90b8c40df96cc7012bc3092a37bdc5",
    ],
    "initrd": [
        "initrd-6.1.0-99-cloud-amd64-4ac9dfe01c3d",
        "818176",
        "64a0fedf6cb90c9c801a152114f4fcf4",
    ],
    "modules": [
        "modules-6.1.0-99-cloud-amd64-9e60bc3fe405.qcow2",
        "720896",
        "5e625fbb4a69ffdfee620bd96c71a934",
    ],
}


def layers() -> list[bytes]:
    """Two layers with something of everything, and with data of many kinds for the codecs."""
    chance = random.Random(2026)
    words = [chance.randbytes(chance.randint(2, 9)) for _ in range(700)]
    text = b" ".join(chance.choices(words, k=120_000))
    numbers = b"".join(number.to_bytes(4, "little") for number in range(0, 3 * 130_000, 3))
    program = b"".join(chance.randbytes(5) + bytes(3) if place % 3 else words[place % 700] for place in range(60_000))
    fields: dict[str, Any] = {"mode": 0o4755, "uid": 5, "gid": 70_000, "mtime": 1_600_000_000.25}
    lower: list[Item] = [
        directory("bin", mtime=1_600_000_000),
        file("bin/program", program, **fields),
        file("bin/capable", text[:9000], mode=0o755, xattrs={"security.capability": b"\1\0\0\2" + bytes(16)}),
        hard_link("bin/other", "bin/program", **fields),
        symlink("lib", "usr/lib", mtime=5),
        symlink("far", "x" * 200),
        file("lib/text", text, mtime=1_700_000_000),
        file("lib/numbers", numbers, mtime=-1),
        file("lib/noise", chance.randbytes(200_000)),
        file("lib/zeros", text[:100] + bytes(300_000) + text[:100]),
        item("dev/null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
        item("run/pipe", tarfile.FIFOTYPE),
        file("gone/file", b"gone"),
        *(file(f"many/a name that makes the folder large {number:05}", b"%d" % number) for number in range(700)),
    ]
    upper = [file(".wh.gone"), file("lib/more", text[::-1]), file("run/.wh..wh..opq"), file("run/café", b"one")]
    return [tar_bytes(lower), tar_bytes(upper)]


def write_image(folder: Path) -> list[str]:
    """The image as a folder of OCI's layout; returns its diff IDs."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    found = [blob(layer, "layer.v1.tar") for layer in layers()]
    diff_ids = [one["digest"] for one in found]
    settings = {
        "Entrypoint": ["/bin/program", "--name", "ä b"], "Cmd": ["x"], "Env": ["PATH=/bin", "A=1"], "User": "1:2",
        "WorkingDir": "/lib", "ExposedPorts": {"80/tcp": {}, "22/tcp": {}}, "Labels": {"b": "2", "a": "1"},
        "StopSignal": "SIGINT", "Volumes": {"/data": {}},
    }  # fmt: skip
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    image = {"architecture": "amd64", "os": "linux", "config": settings, "rootfs": rootfs}
    config = blob(json.dumps(image).encode(), "config.v1+json")
    manifest = blob(json.dumps({"schemaVersion": 2, "config": config, "layers": found}).encode(), "manifest.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return diff_ids


def write_debs(folder: Path) -> list[Path]:
    """Packages that are not compressed, so that their own digests depend on no library."""
    folder.mkdir(parents=True)
    chance = random.Random(61)
    parts = [chance.randbytes(30) for _ in range(200)]
    files = {
        name: data + b"".join(chance.choices(parts, k=3000)) if name.endswith(".ko") else data
        for name, data in kernel_files().items()
    }
    busybox = elf({".text": b"".join(chance.choices(parts, k=9000))})
    return [
        make_deb(folder, f"linux-image-{VERSION}", files, compression=""),
        make_deb(folder, "busybox-static", {"bin/busybox": busybox}, compression=""),
        make_deb(folder, "e2fsck-static", {"sbin/e2fsck.static": elf({".text": b"e2fsck"})}, compression=""),
    ]


def make_disks(folder: Path) -> dict[str, list[str]]:
    """File name, size and md5 of the disk of an image, a folder of OCI's layout, with each compression."""
    found = {}
    for compression in get_args(Compression):
        image = find_in_folder(str(folder))
        disk = convert(
            image, DiskOptions(size_bytes=64 << 20, compression=compression), Cache(folder / "cache"), Events()
        )
        assert hashlib.md5(disk.path.read_bytes(), usedforsecurity=False).hexdigest() == disk.md5
        found[f"disk {compression}"] = [disk.filename, str(disk.size_bytes), disk.md5]
    return found


def make_bundle(folder: Path) -> dict[str, list[str]]:
    """File name, size and md5 of each part of a kernel bundle.

    The init, which a compiler makes, and the module list are fixed.
    """
    modules = ModuleList(("virtio_pci", "virtio_blk"), ("virtio_net", "tun"))
    with (
        patch.object(build, "init_binary", lambda *_: elf({".text": b"init"})),
        patch.object(build, "read_module_list", lambda: modules),
    ):
        bundle = build.build(DebFiles(write_debs(folder / "debs")), Cache(folder / "cache"), Events())
    return {str(part.kind): [part.filename, str(part.size_bytes), part.md5] for part in bundle.artifacts}


def make_all(folder: Path) -> dict[str, Any]:
    """Everything: the value of GOLDEN."""
    folder.mkdir(exist_ok=True)
    diff_ids = write_image(folder / "image")
    return {"layers": diff_ids, **make_disks(folder / "image"), **make_bundle(folder / "bundle")}


if __name__ == "__main__":
    print(json.dumps(make_all(Path(sys.argv[1]))))
