"""The embedded root is made of a busybox and a few files, without running it, to the same bytes everywhere."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images.embedded import EmbeddedImage, applets, make_layer

TABLE = b"\0[\0[[\0ash\0cat\0halt\0init\0linuxrc\0ls\0sh\0\0"
BUSYBOX = b"\x7fELF" + bytes(100) + b"\0other\0strings" + TABLE + b"more\0strings"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "etc" / "network").mkdir(parents=True)
    (folder / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    script = folder / "etc" / "init.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (folder / "etc" / "mtab").symlink_to("/proc/mounts")
    return folder


def unpacked(layer: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return {info.name: info for info in tar}


def test_applets_are_read_from_the_table_in_the_program() -> None:
    assert applets(BUSYBOX) == ["[", "[[", "ash", "cat", "halt", "init", "linuxrc", "ls", "sh"]


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\x7fELF nothing here",
        b"\0[\0[[\0cat",
        b"\0[\0[[\0zcat\0ash\0\0",
        b"\0[\0[[\0not/a/name\0\0",
    ],
)
def test_a_program_without_a_table_is_refused(wrong: bytes) -> None:
    with pytest.raises(DamagedImageError, match="no table of applets"):
        applets(wrong)


def test_every_applet_but_a_second_init_is_a_link(root: Path) -> None:
    entries = unpacked(make_layer(BUSYBOX, root))
    links = {name for name, info in entries.items() if info.issym() and info.linkname == "busybox"}
    assert links == {"bin/[", "bin/[[", "bin/ash", "bin/cat", "bin/halt", "bin/ls", "bin/sh"}
    assert entries["bin/busybox"].mode == 0o755 and entries["bin/busybox"].size == len(BUSYBOX)
    assert (entries["sbin"].linkname, entries["usr/bin"].linkname) == ("bin", "../bin")


def test_the_files_of_the_appliance_lie_over_it(root: Path) -> None:
    entries = unpacked(make_layer(BUSYBOX, root))
    assert entries["etc/init.sh"].mode == 0o755
    assert entries["etc/hosts"].mode == 0o644
    assert entries["etc/mtab"].linkname == "/proc/mounts"
    assert entries["tmp"].mode == 0o1777
    assert {(info.uid, info.gid, info.mtime) for info in entries.values()} == {(0, 0, 0)}


def test_neither_clock_nor_umask_nor_order_change_the_bytes(root: Path) -> None:
    before = make_layer(BUSYBOX, root)
    for path in root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))
            path.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)
    assert make_layer(BUSYBOX, root) == before
    # The digest is the image's identity: it must not change with Python's or our own version.
    assert hashlib.sha256(before).hexdigest() == "5e44c53e43c8bf83478a7a6df0f650f7724c85157a904e6388255ff82d038965"


def test_its_identity_is_known_and_its_layer_is_what_it_says(root: Path, tmp_path: Path) -> None:
    config = GuestConfig(cmd=("/etc/init.sh",))
    image = EmbeddedImage(BUSYBOX, root, name="busybox-minivm", version="1.0", config=config)
    told: list[int] = []
    (layer,) = image.fetch(tmp_path, told.append)
    data = layer.path.read_bytes()[layer.offset : layer.offset + layer.size]
    assert image.info.diff_ids == (layer.diff_id,) == ("sha256:" + hashlib.sha256(data).hexdigest(),)
    assert sum(told) == image.info.size_bytes == len(data)
