"""Makes Debian packages, kernel modules and static programs for tests: small, but of the real formats."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import zstandard

VERSION = "6.1.0-99-cloud-amd64"

COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def ar(members: Sequence[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def make_deb(
    folder: Path,
    package: str,
    files: Mapping[str, bytes],
    *,
    version: str = "1.0-1",
    architecture: str = "amd64",
    compression: str = ".xz",
    **fields: str,
) -> Path:
    """Write PACKAGE_VERSION_ARCHITECTURE.deb."""
    control = {"Package": package, "Version": version, "Architecture": architecture, **fields}
    text = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in control.items())
    pack = COMPRESSIONS[compression]
    path = folder / f"{package}_{version}_{architecture}.deb"
    path.write_bytes(
        ar(
            [
                ("debian-binary", b"2.0\n"),
                (f"control.tar{compression}", pack(tar({"control": text.encode()}))),
                (f"data.tar{compression}", pack(tar(files))),
            ]
        )
    )
    return path


def elf(sections: Mapping[str, bytes] | None = None, *, machine: int = 62, interpreter: bool = False) -> bytes:
    """A 64-bit little-endian ELF file with these sections; ``interpreter`` makes it a dynamic program."""
    names = b"\0"
    body = b""
    rows = [bytes(64)]
    start = 64 + 56
    for name, data in {**(sections or {}), ".shstrtab": b""}.items():
        place = len(names)
        names += name.encode() + b"\0"
        data = names if name == ".shstrtab" else data
        rows.append(struct.pack("<IIQQQQIIQQ", place, 1, 0, 0, start + len(body), len(data), 0, 0, 1, 0))
        body += data
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, 0, 64, start + len(body), 0, 64, 56, 1, 64,
        len(rows), len(rows) - 1,
    )  # fmt: skip
    program = struct.pack("<IIQQQQQQ", 3 if interpreter else 1, 0, 0, 0, 0, 0, 0, 0)
    return header + program + body + b"".join(rows)


def module(*info: str, exports: Sequence[str] = ()) -> bytes:
    """A kernel module with these ``key=value`` strings, that gives these symbols to others."""
    strings = b"\0" + b"".join(f"__ksymtab_{name}".encode() + b"\0" for name in exports)
    return elf({".modinfo": b"".join(item.encode() + b"\0" for item in info), ".strtab": strings})


# modules.list names these; "crc32c_generic" needs nothing, "virtio_pci" needs what is below it.
MODULES: Mapping[str, bytes] = {
    "kernel/drivers/virtio/virtio.ko": module("license=GPL", "depends=", exports=["register_virtio_driver"]),
    "kernel/drivers/virtio/virtio_ring.ko": module("depends=virtio"),
    "kernel/drivers/virtio/virtio_pci.ko": module("depends=virtio,virtio-ring", "alias=pci:v00001AF4d*sv*sd*bc*sc*i*"),
    "kernel/drivers/block/virtio_blk.ko": module("depends=virtio", "alias=virtio:d00000002v*"),
    "kernel/drivers/net/virtio_net.ko": module("depends=virtio,virtio_ring", "softdep=pre: crc32c-generic"),
    "kernel/drivers/net/tun.ko": module("depends=", "alias=char-major-10-200", "alias=devname:net/tun"),
    "kernel/net/openvswitch/openvswitch.ko": module("depends=", "alias=net-pf-16-proto-16-family-ovs_flow"),
}


def kernel_files(version: str = VERSION, suffix: str = "", prefix: str = "") -> dict[str, bytes]:
    """The files of a kernel package; ``suffix`` compresses the modules, ``prefix`` is "usr/" in newer releases."""
    top = f"{prefix}lib/modules/{version}"
    files = {f"boot/vmlinuz-{version}": b"kernel image " * 100, f"boot/config-{version}": b"CONFIG_X=y\n"}
    files |= {f"{top}/{path}{suffix}": COMPRESSIONS[suffix](data) for path, data in MODULES.items()}
    files[f"{top}/modules.order"] = "".join(f"{path}\n" for path in MODULES).encode()
    files[f"{top}/modules.builtin"] = b"kernel/fs/ext4/ext4.ko\n"
    files[f"{top}/modules.builtin.modinfo"] = b"ext4.license=GPL\0ext4.alias=fs-ext4\0"
    files[f"usr/share/doc/linux-image-{version}/copyright"] = b"Format: x\n\nFiles: *\nLicense: GPL-2\n GPL text\n"
    return files


def busybox_deb(folder: Path, program: bytes | None = None) -> Path:
    text = b"See /usr/share/common-licenses/GPL-2.\n"
    files = {"bin/busybox": program or elf(), "usr/share/doc/busybox-static/copyright": text}
    return make_deb(folder, "busybox-static", files, Source="busybox (1.35)")


def e2fsck_deb(folder: Path, program: bytes | None = None) -> Path:
    return make_deb(folder, "e2fsck-static", {"sbin/e2fsck.static": program or elf({".text": b"e2fsck"})})


def kernel_deb(folder: Path, **more: str) -> Path:
    return make_deb(folder, f"linux-image-{VERSION}", kernel_files(**more))


def bundle_debs(folder: Path) -> list[Path]:
    """Three packages that make a bundle."""
    return [kernel_deb(folder), busybox_deb(folder), e2fsck_deb(folder)]
