"""Bundles of kernels that are no packages: an image file and a folder of modules."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import PackageError, UsageError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle import build
from gns3_minivm.bundle.local import LICENCE, LocalKernel, image_version
from gns3_minivm.bundle.model import Bundle, load
from gns3_minivm.bundle.packages.package_set import DebFiles, KernelPart
from gns3_minivm.formats import ext4
from gns3_minivm.formats.qcow2 import Qcow2Reader
from gns3_minivm.ops.kernels.bundles import KernelOrigin, find_chosen, host_kernel
from gns3_minivm.ops.kernels.choice import KernelChoice
from tests.support.debs import COMPRESSIONS, MODULES, bundle_debs, busybox_deb, e2fsck_deb, module

VERSION = "6.12.5-monolithic+"
BUILT_IN = b"kernel/fs/ext4/ext4.ko\n"


@pytest.fixture(autouse=True)
def init(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "init_binary", lambda *_: b"the init")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def bzimage(folder: Path, version: str = VERSION) -> Path:
    """As much of a kernel image as tells its version (boot.rst: the header at 0x1F1)."""
    image = bytearray(0x3000)
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x20E, 0x2000)
    text = f"{version} (me@here) #1 SMP\0".encode()
    image[0x2200 : 0x2200 + len(text)] = text
    path = folder / "bzImage"
    path.write_bytes(image)
    return path


def module_folder(
    folder: Path, *, suffix: str = "", builtin: bytes | None = BUILT_IN, modules: Mapping[str, bytes] = MODULES
) -> Path:
    top = folder / "lib/modules" / VERSION
    for path, data in modules.items():
        target = top / f"{path}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(COMPRESSIONS[suffix](data))
    top.mkdir(parents=True, exist_ok=True)
    (top / "modules.order").write_text("".join(f"{path}\n" for path in modules))
    if builtin is not None:
        (top / "modules.builtin").write_bytes(builtin)
    # What "make modules_install" leaves, and what nobody wants to have in a bundle.
    (top / "build").symlink_to("/usr/src/linux")
    (top / "modules.dep").write_text("stale\n")
    return top


def programs(folder: Path) -> DebFiles:
    return DebFiles([busybox_deb(folder), e2fsck_deb(folder)], kernel=KernelPart.NONE)


def make(cache: Cache, image: Path, modules: Path | None, folder: Path) -> Bundle:
    return build.build(LocalKernel(image, modules, programs(folder)), cache, Events(), build.CUSTOM_FLAVOUR)


def refusal(cache: Cache, image: Path, modules: Path | None, folder: Path) -> PackageError:
    with pytest.raises(PackageError) as caught:
        make(cache, image, modules, folder)
    assert not cache.entries("kernels")
    return caught.value


def module_disk_names(bundle: Bundle) -> set[str]:
    assert bundle.modules is not None
    with Qcow2Reader(bundle.modules.path) as disk:
        reader = ext4.Ext4Reader(disk)
        return {path.decode().lstrip("/") for path, _ in reader.walk()}


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_modules_of_every_compression_become_plain_ones(cache: Cache, tmp_path: Path, suffix: str) -> None:
    bundle = make(cache, bzimage(tmp_path), module_folder(tmp_path, suffix=suffix), tmp_path)
    assert (bundle.flavour, bundle.kernel_version) == ("custom", VERSION)
    assert bundle.kernel.filename.startswith("vmlinuz-6.12.5-monolithic")
    assert bundle.modules is not None and bundle.initrd is not None
    initrd = bundle.initrd.path.read_bytes()
    assert MODULES["kernel/drivers/block/virtio_blk.ko"] in initrd
    names = module_disk_names(bundle)
    assert f"{VERSION}/kernel/drivers/net/tun.ko" in names
    assert f"{VERSION}/build" not in names
    assert load(bundle.folder) == bundle


def test_the_manifest_names_the_files_with_version_licence_and_digest(cache: Cache, tmp_path: Path) -> None:
    bundle = make(cache, bzimage(tmp_path), module_folder(tmp_path), tmp_path)
    rows = {record.name: record for record in bundle.packages}
    assert rows.keys() == {"linux-image", "linux-modules", "busybox-static", "e2fsck-static"}
    assert all(len(record.sha256) == 64 and record.version for record in rows.values())
    assert rows["linux-image"].filename == "bzImage"
    assert rows["linux-modules"].source == f"linux {VERSION}"
    assert rows["linux-image"].licences == rows["linux-modules"].licences == (LICENCE,)


def test_the_folder_above_the_modules_will_do(cache: Cache, tmp_path: Path) -> None:
    module_folder(tmp_path)
    bundles = [make(cache, bzimage(tmp_path), place, tmp_path) for place in (tmp_path, tmp_path / "lib/modules")]
    assert bundles[0].id == bundles[1].id


def test_another_module_gives_another_bundle_with_the_same_kernel_file(cache: Cache, tmp_path: Path) -> None:
    first = make(cache, bzimage(tmp_path), module_folder(tmp_path), tmp_path)
    path = tmp_path / "lib/modules" / VERSION / "kernel/drivers/net/tun.ko"
    path.write_bytes(module("depends=", "description=another"))
    second = make(cache, tmp_path / "bzImage", tmp_path, tmp_path)
    assert first.kernel.md5 == second.kernel.md5
    assert first.modules is not None and second.modules is not None
    assert first.modules.filename != second.modules.filename


def test_a_kernel_with_everything_built_in_has_no_module_disk(cache: Cache, tmp_path: Path) -> None:
    bundle = make(cache, bzimage(tmp_path), None, tmp_path)
    assert bundle.modules is None and bundle.initrd is not None
    assert load(bundle.folder) == bundle
    names = b"kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/block/virtio_blk.ko\n"
    listed = make(cache, tmp_path / "bzImage", module_folder(tmp_path, builtin=names, modules={}), tmp_path)
    assert listed.modules is None


def test_a_kernel_without_a_driver_for_the_root_disk_is_refused(cache: Cache, tmp_path: Path) -> None:
    without = {path: data for path, data in MODULES.items() if "virtio_blk" not in path}
    error = refusal(cache, bzimage(tmp_path), module_folder(tmp_path, modules=without), tmp_path)
    assert f"the kernel {VERSION} has no virtio_blk" in error.message
    shutil.rmtree(tmp_path / "lib")
    error = refusal(cache, tmp_path / "bzImage", module_folder(tmp_path, builtin=None), tmp_path)
    assert "has no ext4, neither as a module nor in modules.builtin" in error.message


def test_modules_of_another_kernel_are_refused(cache: Cache, tmp_path: Path) -> None:
    other = {"kernel/fs/ext4.ko": module("depends=", "vermagic=6.1.0-56-cloud-amd64 SMP preempt mod_unload")}
    error = refusal(cache, bzimage(tmp_path), module_folder(tmp_path, modules={**MODULES, **other}), tmp_path)
    assert "the module kernel/fs/ext4.ko is for the kernel 6.1.0-56-cloud-amd64" in error.message
    assert VERSION in error.message


def test_a_folder_without_modules_is_refused(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    error = refusal(cache, bzimage(tmp_path), tmp_path / "empty", tmp_path)
    assert "has neither kernel modules nor modules.builtin" in error.message
    assert f"/lib/modules/{VERSION}" in error.hint


@pytest.mark.parametrize(("data", "what"), [(b"\x7fELF" + bytes(100), "an ELF file"), (b"", "something else")])
def test_a_file_that_is_no_kernel_image_is_refused(tmp_path: Path, data: bytes, what: str) -> None:
    (tmp_path / "vmlinux").write_bytes(data)
    with pytest.raises(PackageError, match=f"is not an x86-64 kernel image.*{what}"):
        image_version(tmp_path / "vmlinux")


def test_a_kernel_package_beside_another_kernel_is_refused(tmp_path: Path) -> None:
    source = DebFiles(bundle_debs(tmp_path), kernel=KernelPart.NONE)
    with pytest.raises(PackageError, match="another one is named already"), source.resolve(Events()):
        pass


def test_the_kernel_of_this_machine_is_looked_for_where_distributions_put_it(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=f"runs the kernel {VERSION[:6]}.*/boot/vmlinuz-.* does not exist"):
        host_kernel(tmp_path, VERSION)
    modules = module_folder(tmp_path)
    shutil.copy(bzimage(tmp_path), modules / "vmlinuz")
    assert host_kernel(tmp_path, VERSION) == (modules / "vmlinuz", modules)
    (tmp_path / "boot").mkdir()
    shutil.copy(tmp_path / "bzImage", tmp_path / "boot" / f"vmlinuz-{VERSION}")
    assert host_kernel(tmp_path, VERSION)[0] == tmp_path / "boot" / f"vmlinuz-{VERSION}"


def test_options_that_contradict_each_other_are_refused(cache: Cache, tmp_path: Path) -> None:
    contradicting = (
        KernelOrigin(from_host=True, vmlinuz=tmp_path),
        KernelOrigin(modules=tmp_path),
        KernelOrigin(monolithic=True, from_host=True),
        KernelOrigin(monolithic=True, vmlinuz=tmp_path),
        KernelOrigin(container="debian"),
    )
    for origin in contradicting:
        with pytest.raises(UsageError):
            origin.build(cache, Events())


def test_a_bundle_is_taken_by_flavour_version_or_id_and_never_for_another(cache: Cache, tmp_path: Path) -> None:
    custom = make(cache, bzimage(tmp_path), module_folder(tmp_path), tmp_path)
    assert find_chosen(cache, KernelChoice()) is None
    debian = build.build(DebFiles(bundle_debs(tmp_path)), cache, Events())
    # The custom one is asked for again, and so the newest.
    make(cache, tmp_path / "bzImage", tmp_path, tmp_path)
    assert find_chosen(cache, KernelChoice()) == find_chosen(cache, KernelChoice(name="debian")) == debian
    for name in ("custom", f"custom:{VERSION}", custom.id[:8], custom.id):
        assert find_chosen(cache, KernelChoice(name=name)) == custom
    for name in ("host", "custom:6.0", "lab:6.1", "0123456789", custom.id[:3]):
        with pytest.raises(UsageError, match="there is no kernel bundle") as caught:
            find_chosen(cache, KernelChoice(name=name))
        assert f"custom:{VERSION} ({custom.id[:12]})" in caught.value.message
    assert find_chosen(cache, KernelChoice(name="monolithic")) is None, "it can be built now"
    with pytest.raises(UsageError):
        find_chosen(cache, KernelChoice(debs=(tmp_path,), name="custom"))
