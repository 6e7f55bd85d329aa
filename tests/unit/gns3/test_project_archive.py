"""Portable projects of GNS3: what is in them, what their nodes lack, and files that are none."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from gns3_minivm.base.errors import UserError
from gns3_minivm.gns3.project_archive import NeededImage, add_image, image_md5, read_archive, take_image, write_carrier

NODE = {
    "name": "pc-1",
    "node_type": "qemu",
    "properties": {
        "hda_disk_image": "disk.qcow2",
        "hda_disk_image_md5sum": "d" * 32,
        "hda_disk_image_backed": "hda_disk.qcow2",
        "kernel_image": "/opt/gns3/images/QEMU/vmlinuz",
        "initrd": "initrd",
        "initrd_md5sum": "e" * 32,
        "cdrom_image": "",
        "ram": 64,
    },
}
PROJECT = {
    "name": "lab",
    "project_id": "1-2",
    "revision": 9,
    "version": "2.2.61",
    "topology": {"nodes": [NODE, {**NODE, "name": "pc-2"}, {"node_type": "docker", "properties": {"image": "x"}}]},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A project with its disk, and with its kernel where the export of a remote compute puts it."""
    target = tmp_path / "lab.gns3project"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("project.gns3", json.dumps(PROJECT))
        archive.writestr("images/QEMU/disk.qcow2", b"disk")
        archive.writestr("images/qemu/vmlinuz", b"kernel")
    return target


def test_an_archive_tells_what_its_nodes_need_and_what_it_lacks(path: Path) -> None:
    found = read_archive(path)
    assert (found.name, found.project_id, found.revision, found.version) == ("lab", "1-2", 9, "2.2.61")
    assert found.images == {"disk.qcow2": 4}
    assert found.needed == (
        NeededImage("disk.qcow2", "pc-1", "d" * 32),
        NeededImage("vmlinuz", "pc-1", None),
        NeededImage("initrd", "pc-1", "e" * 32),
    )
    assert [image.filename for image in found.lacking] == ["vmlinuz", "initrd"]


def test_an_image_is_added_and_what_was_there_stays(path: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"ram disk" * 1000)
    add_image(path, "initrd", source)
    assert [image.filename for image in read_archive(path).lacking] == ["vmlinuz"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("images/QEMU/initrd") == source.read_bytes()
        assert archive.read("images/QEMU/disk.qcow2") == b"disk"
    assert image_md5(path, "disk.qcow2") == _md5(b"disk")


def test_an_image_of_a_remote_compute_is_found_where_gns3_puts_it(path: Path, tmp_path: Path) -> None:
    assert take_image(path, "vmlinuz", tmp_path / "out") and (tmp_path / "out").read_bytes() == b"kernel"
    assert not take_image(path, "initrd", tmp_path / "none") and not (tmp_path / "none").exists()


def test_archives_of_zstd_are_read(tmp_path: Path) -> None:
    # As GNS3 3.0 writes them by default; Python's zipfile does not write them before 3.14.
    path = tmp_path / "zstd.gns3project"
    path.write_bytes(zstd_zip({"project.gns3": json.dumps(PROJECT).encode(), "images/QEMU/disk.qcow2": b"disk"}))
    found = read_archive(path)
    assert found.name == "lab" and image_md5(path, "disk.qcow2") == _md5(b"disk")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is incomplete"),
        (b"no zip at all", "is incomplete"),
        (b"PK\x05\x06" + bytes(18), "has no project.gns3"),
    ],
)
def test_what_is_no_project_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_archive(path)
    assert caught.value.hint


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff"])
def test_a_project_file_that_is_none_is_told(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "x"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("project.gns3", text)
    with pytest.raises(UserError, match=r"its project\.gns3 is not"):
        read_archive(path)


def test_a_truncated_archive_is_told(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="is incomplete"):
        read_archive(path)


def test_a_project_without_nodes_lacks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    topologies: list[Any] = [{}, {"topology": {"nodes": [None, {"node_type": "qemu"}]}}, {"topology": []}]
    for topology in topologies:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("project.gns3", json.dumps(topology))
        assert read_archive(path).needed == ()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def zstd_zip(files: dict[str, bytes]) -> bytes:
    """A zip file of zstd members with data descriptors, as GNS3 streams it."""
    out, directory = b"", b""
    for name, data in files.items():
        packed, encoded, offset = zstandard.ZstdCompressor().compress(data), name.encode(), len(out)
        sizes = struct.pack("<LLL", zlib.crc32(data), len(packed), len(data))
        out += struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 8, 93, 0, 33, 0, 0, 0, len(encoded), 0) + encoded
        out += packed + b"PK\x07\x08" + sizes
        directory += struct.pack("<4s6H", b"PK\x01\x02", 63, 20, 8, 93, 0, 33) + sizes
        directory += struct.pack("<5H2L", len(encoded), 0, 0, 0, 0, 0, offset) + encoded
    count, start = len(files), len(out)
    return out + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)


def test_a_carrier_is_a_project_that_brings_one_image_and_has_no_nodes(tmp_path: Path) -> None:
    image, carrier = tmp_path / "image", tmp_path / "carrier.gns3project"
    image.write_bytes(b"an image")
    project_id = write_carrier(carrier, "web.qcow2", image)
    archive = read_archive(carrier)
    assert (archive.project_id, archive.needed, archive.images) == (project_id, (), {"web.qcow2": 8})
    # By this name `doctor` knows one that was left behind.
    assert archive.name == f"gns3-minivm-{project_id}"
    assert image_md5(carrier, "web.qcow2") == hashlib.md5(b"an image", usedforsecurity=False).hexdigest()
    assert image_md5(carrier, "other.qcow2") is None
