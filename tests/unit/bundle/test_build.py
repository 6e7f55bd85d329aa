"""A bundle from packages: made once, the same bytes each time, and found again without asking anyone."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from gns3_minivm.base.artifacts import Kind
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import DamagedImageError, PackageError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle import build
from gns3_minivm.bundle.model import Bundle, load
from gns3_minivm.bundle.packages.package_set import DebFiles
from gns3_minivm.bundle.unpack import licence_names
from gns3_minivm.formats import ext4
from gns3_minivm.formats.qcow2 import Qcow2Reader
from tests.support.debs import (
    MODULES,
    VERSION,
    bundle_debs,
    busybox_deb,
    e2fsck_deb,
    elf,
    kernel_deb,
    kernel_files,
    make_deb,
)

INIT = elf({".text": b"init"})


@pytest.fixture(autouse=True)
def ready_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler: tests/oracle and tests/boot have the real one."""
    monkeypatch.setattr(build, "init_binary", lambda *_: INIT)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def make(cache: Cache, debs: list[Path]) -> Bundle:
    return build.build(DebFiles(debs), cache, Events())


def read_cpio(data: bytes) -> dict[str, tuple[int, tuple[int, int], bytes]]:
    """A "newc" archive: name -> (mode, device, content)."""
    found: dict[str, tuple[int, tuple[int, int], bytes]] = {}
    place = 0
    while True:
        assert data[place : place + 6] == b"070701"
        fields = [int(data[place + 6 + 8 * n : place + 14 + 8 * n], 16) for n in range(13)]
        name_end = place + 110 + fields[11]
        name = data[place + 110 : name_end - 1].decode()
        start = name_end + -name_end % 4
        end = start + fields[6]
        if name == "TRAILER!!!":
            return found
        found[name] = fields[1], (fields[9], fields[10]), data[start:end]
        place = end + -end % 4


def test_a_bundle_has_the_kernel_and_names_that_a_server_takes(cache: Cache, tmp_path: Path) -> None:
    bundle = make(cache, bundle_debs(tmp_path))
    assert bundle.kernel_version == VERSION
    assert bundle.kernel.path.read_bytes() == kernel_files()[f"boot/vmlinuz-{VERSION}"]
    names = [artifact.filename for artifact in bundle.artifacts]
    for name, start in zip(names, ("vmlinuz-", "initrd-", "modules-"), strict=True):
        assert name.startswith(f"{start}{VERSION}-")
    assert names[2].endswith(".qcow2")
    assert bundle.busybox is not None and bundle.busybox.read_bytes() == elf()


def test_the_initramfs_has_what_the_contract_says(cache: Cache, tmp_path: Path) -> None:
    bundle = make(cache, bundle_debs(tmp_path))
    assert bundle.initrd is not None
    files = read_cpio(bundle.initrd.path.read_bytes())
    assert files["init"] == (0o100755, (0, 0), INIT)
    assert files["bin/busybox"][2] == elf()
    assert files["sbin/e2fsck.gz"][0] == 0o100644
    assert gzip.decompress(files["sbin/e2fsck.gz"][2]) == elf({".text": b"e2fsck"})
    assert files["dev/console"] == (0o020600, (5, 1), b"")
    top = f"/lib/modules/{VERSION}/kernel/drivers"
    assert files["etc/modules.boot"][2].decode().splitlines() == [
        f"{top}/virtio/virtio.ko",
        f"{top}/virtio/virtio_ring.ko",
        f"{top}/virtio/virtio_pci.ko",
        f"{top}/block/virtio_blk.ko",
    ]
    assert files["etc/modules.late"][2].decode().splitlines() == [f"{top}/net/virtio_net.ko"]
    listed = {line.strip("/") for part in ("boot", "late") for line in files[f"etc/modules.{part}"][2].decode().split()}
    assert {name for name in files if name.endswith(".ko")} == listed
    assert all(files[name][2] == MODULES[name.partition(f"{VERSION}/")[2]] for name in listed)


def test_the_module_disk_has_all_modules_and_their_indexes(cache: Cache, tmp_path: Path) -> None:
    bundle = make(cache, bundle_debs(tmp_path))
    assert bundle.modules is not None
    with Qcow2Reader(bundle.modules.path) as disk:
        reader = ext4.Ext4Reader(disk)
        assert reader.label == "minivm-modules"

        def read(path: str) -> bytes:
            ino = reader.lookup(f"{VERSION}/{path}".encode())
            assert ino is not None, path
            return reader.read_file(ino)

        assert {path: read(path) for path in MODULES} == MODULES
        assert b"virtio_pci.ko: " in read("modules.dep")
        assert read("modules.builtin") == b"kernel/fs/ext4/ext4.ko\n"


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz", ".zst"])
def test_compressed_modules_and_merged_usr_give_the_same_files(cache: Cache, tmp_path: Path, suffix: str) -> None:
    debs = [kernel_deb(tmp_path, suffix=suffix, prefix="usr/"), busybox_deb(tmp_path), e2fsck_deb(tmp_path)]
    bundle = make(cache, debs)
    assert bundle.initrd is not None
    files = read_cpio(bundle.initrd.path.read_bytes())
    path = "kernel/drivers/block/virtio_blk.ko"
    assert files[f"lib/modules/{VERSION}/{path}"][2] == MODULES[path]


def test_the_manifest_names_packages_versions_licences_and_digests(cache: Cache, tmp_path: Path) -> None:
    bundle = make(cache, bundle_debs(tmp_path))
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    rows = {row["name"]: row for row in manifest["packages"]}
    assert rows["busybox-static"]["licences"] == ["GPL-2"]
    assert rows[f"linux-image-{VERSION}"]["licences"] == ["GPL-2"]
    assert (bundle.folder / rows["busybox-static"]["licence_file"]).read_bytes().startswith(b"See /usr/share")
    assert all(row["version"] and len(row["sha256"]) == 64 for row in rows.values())
    assert load(bundle.folder) == bundle


def test_the_same_packages_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debs = bundle_debs(tmp_path)
    first = make(Cache(tmp_path / "one"), debs)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    umask = os.umask(0o077)
    try:
        second = make(Cache(tmp_path / "two"), debs[::-1])
    finally:
        os.umask(umask)
    assert [a.as_dict() for a in first.artifacts] == [a.as_dict() for a in second.artifacts]
    assert first.id == second.id


def test_another_init_changes_the_initrd_and_nothing_else(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(cache, bundle_debs(tmp_path))
    monkeypatch.setattr(build, "init_binary", lambda *_: elf({".text": b"another"}))
    second = make(cache, bundle_debs(tmp_path))
    assert first.id != second.id
    pairs = zip(first.artifacts, second.artifacts, strict=True)
    assert [one.kind for one, other in pairs if one.filename != other.filename] == [Kind.INITRD]


def test_a_bundle_is_found_without_packages_and_a_second_build_does_nothing(cache: Cache, tmp_path: Path) -> None:
    assert build.find(cache) is None
    debs = bundle_debs(tmp_path)
    bundle = make(cache, debs)
    before = {path: path.stat().st_mtime_ns for path in bundle.folder.iterdir()}
    assert make(cache, debs) == bundle
    assert {path: path.stat().st_mtime_ns for path in bundle.folder.iterdir()} == before
    for path in debs:
        path.unlink()
    assert build.find(cache) == bundle
    assert build.list_bundles(cache) == [bundle]


def test_a_bundle_of_other_guest_sources_is_listed_and_not_used(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make(cache, bundle_debs(tmp_path))
    monkeypatch.setattr(build, "source_digest", lambda: "0" * 64)
    assert build.find(cache) is None
    assert build.list_bundles(cache) == [bundle]


def test_a_damaged_bundle_is_not_found_and_is_built_again(cache: Cache, tmp_path: Path) -> None:
    debs = bundle_debs(tmp_path)
    bundle = make(cache, debs)
    bundle.kernel.path.chmod(0o644)
    bundle.kernel.path.write_bytes(b"short")
    with pytest.raises(DamagedImageError, match="vmlinuz has 5 bytes"):
        load(bundle.folder)
    assert build.find(cache) is None
    assert make(cache, debs).kernel == bundle.kernel
    assert build.find(cache) == bundle


def test_a_build_that_fails_leaves_nothing(cache: Cache, tmp_path: Path) -> None:
    debs = bundle_debs(tmp_path)
    debs[0].write_bytes(debs[0].read_bytes()[:-900])
    with pytest.raises(PackageError, match=f"linux-image-{VERSION}_1.0-1_amd64.deb"):
        make(cache, debs)
    assert cache.entries("kernels") == []
    assert list((cache.root / "work").iterdir()) == []


def test_a_meta_package_is_told_as_having_no_kernel(cache: Cache, tmp_path: Path) -> None:
    meta = make_deb(tmp_path, "linux-image-cloud-amd64", {}, Depends="linux-image-x")
    with pytest.raises(PackageError, match="no kernel image") as caught:
        make(cache, [meta, busybox_deb(tmp_path), e2fsck_deb(tmp_path)])
    assert "only points to another one" in caught.value.hint


def test_a_kernel_without_its_module_package_is_told(cache: Cache, tmp_path: Path) -> None:
    image = make_deb(tmp_path, f"linux-image-{VERSION}", {f"boot/vmlinuz-{VERSION}": b"kernel"})
    with pytest.raises(PackageError, match="no kernel modules"):
        make(cache, [image, busybox_deb(tmp_path), e2fsck_deb(tmp_path)])


def test_packages_of_two_kernels_are_told(cache: Cache, tmp_path: Path) -> None:
    other = make_deb(tmp_path, "linux-modules-6.8.0-1-generic", kernel_files("6.8.0-1-generic"))
    with pytest.raises(PackageError, match="is for the kernel 6.8.0-1-generic, but another package is for"):
        make(cache, [kernel_deb(tmp_path), other, busybox_deb(tmp_path), e2fsck_deb(tmp_path)])


@pytest.mark.parametrize(
    ("program", "words"),
    [(elf(interpreter=True), "is not a static program"), (elf(machine=183), "another CPU"), (b"#!/bin/sh", "ELF")],
)
def test_a_busybox_that_the_guest_could_not_run_is_told(
    cache: Cache, tmp_path: Path, program: bytes, words: str
) -> None:
    with pytest.raises(PackageError, match=words):
        make(cache, [kernel_deb(tmp_path), busybox_deb(tmp_path, program), e2fsck_deb(tmp_path)])


def test_licence_names_come_from_both_forms_of_copyright_files() -> None:
    assert licence_names("License: GPL-2+\n text\nLicense: BSD-3-clause\nLicense: GPL-2+\n") == (
        "BSD-3-clause",
        "GPL-2+",
    )
    assert licence_names("can be found in `/usr/share/common-licenses/GPL-2'.") == ("GPL-2",)
    assert licence_names("All rights reserved.") == ()
