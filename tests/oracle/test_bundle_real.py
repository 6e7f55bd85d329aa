"""The kernel bundle from real packages, judged by apt, depmod, modprobe, e2fsck and cpio."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from gns3_minivm.base import resources
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import ToolError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle import build
from gns3_minivm.bundle.init_binary import compile_init, init_record, pinned_compiler
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.packages.apt import AptSource
from gns3_minivm.bundle.packages.deb import open_deb, sha256_of
from gns3_minivm.bundle.packages.owner import owning_package
from gns3_minivm.bundle.packages.package_set import DebFiles
from tests.support.disks import judge, run
from tests.support.tools import require_module, require_tool

INDEXES = [
    "modules.alias",
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.devname",
    "modules.softdep",
    "modules.symbols.bin",
]
ASKED = ["openvswitch", "nf_nat", "virtio_net", "vxlan", "mpls_router", "sch_netem", "wireguard", "ext4", "8021q"]


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The packages of today, from the apt of this machine."""
    require_tool("apt-get")
    folder = tmp_path_factory.mktemp("debs")
    with AptSource(Cache(tmp_path_factory.mktemp("cache"))).resolve(Events()) as found:
        found.fetch(folder, Events())
    return sorted(folder.glob("*.deb"))


@pytest.fixture(scope="session")
def bundle(debs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of these packages (the one that other tests share may be of another day)."""
    return build.build(DebFiles(debs), Cache(tmp_path_factory.mktemp("cache")), Events())


@pytest.fixture(scope="session")
def module_folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the module disk, taken out with debugfs: the root of a lib/modules."""
    assert bundle.modules is not None
    folder = tmp_path_factory.mktemp("modules")
    disk = folder / "modules.qcow2"
    shutil.copyfile(bundle.modules.path, disk)
    raw = judge(disk)
    (folder / "lib" / "modules").mkdir(parents=True)
    run(require_tool("debugfs"), "-R", f"rdump / {folder}/lib/modules", raw)
    raw.unlink()
    return folder


@pytest.fixture(scope="session")
def depmod_folder(bundle: Bundle, module_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same modules with the files that kmod's depmod makes of them."""
    folder = tmp_path_factory.mktemp("depmod") / "root"
    shutil.copytree(module_folder, folder)
    (folder / "lib/modules/lost+found").rmdir()
    run(require_tool("depmod"), "-b", folder, bundle.kernel_version)
    return folder


def test_the_packages_are_those_that_apt_names(bundle: Bundle, debs: list[Path]) -> None:
    records = {package.name: package for package in bundle.packages}
    assert len(debs) == len(records)
    for path in debs:
        record = records.pop(open_deb(path).control["Package"])
        assert sha256_of(path) == record.sha256
        assert record.size_bytes == path.stat().st_size
        assert record.licences and (bundle.folder / record.licence_file).stat().st_size > 500
        fields = run(require_tool("dpkg-deb"), "-f", path, "Package", "Version", "Architecture")
        assert fields.split() == (
            f"Package: {record.name} Version: {record.version} Architecture: {record.architecture}".split()
        )
    assert records == {}


def test_files_and_apt_give_the_same_bytes_with_other_users_locale_and_time_zone(
    bundle: Bundle, debs: list[Path], tmp_path: Path
) -> None:
    """As an ordinary user, too: apt of its own needs no root rights."""
    script = """
import json, os, sys
from pathlib import Path
from gns3_minivm.bundle import build
from gns3_minivm.bundle.packages.apt import AptSource
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Events
assert os.geteuid() != 0
cache = Cache(Path(sys.argv[1]) / "cache")
os.chdir("/")
os.umask(0o077)
made = build.build(AptSource(cache), cache, Events())
print(json.dumps([artifact.as_dict() for artifact in made.artifacts]))
"""
    # Not below pytest's folder, which is closed to other users.
    scratch = Path("/var/tmp") / f"gns3-minivm-test-{os.getpid()}"
    scratch.mkdir()
    as_user: list[str | Path] = []
    if os.geteuid() == 0:
        os.chown(scratch, 65534, 65534)
        # Python and the wheel may lie below root's home: that user may read everything, and write nothing of it.
        as_user = [require_tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
        as_user += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        as_user += ["--bounding-set=-all,+dac_read_search"]
    try:
        environment = os.environ | {"TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "HOME": "/nonexistent"}
        output = run(*as_user, sys.executable, "-c", script, scratch, env=environment)
    finally:
        shutil.rmtree(scratch)
    expected = [artifact.as_dict() for artifact in bundle.artifacts]
    assert json.loads(output) == expected
    again = build.build(DebFiles(debs), Cache(tmp_path / "cache"), Events())
    assert [artifact.as_dict() for artifact in again.artifacts] == expected


def test_depmod_makes_the_same_indexes(bundle: Bundle, module_folder: Path, depmod_folder: Path) -> None:
    ours = module_folder / "lib/modules" / bundle.kernel_version
    theirs = depmod_folder / "lib/modules" / bundle.kernel_version
    assert [name for name in INDEXES if (ours / name).read_bytes() != (theirs / name).read_bytes()] == []
    # Same lines in another order.
    assert sorted((ours / "modules.symbols").read_bytes().splitlines()) == (
        sorted((theirs / "modules.symbols").read_bytes().splitlines())
    )


def test_depmod_finds_the_same_needs(bundle: Bundle, module_folder: Path, depmod_folder: Path) -> None:
    def needs(folder: Path) -> dict[str, set[str]]:
        rows = (line.split(":") for line in (folder / "modules.dep").read_text().splitlines())
        return {path: set(needed.split()) for path, needed in rows}

    ours = needs(module_folder / "lib/modules" / bundle.kernel_version)
    theirs = needs(depmod_folder / "lib/modules" / bundle.kernel_version)
    assert len(ours) > 500
    assert ours == theirs


def test_everything_a_module_needs_is_loaded_before_it(bundle: Bundle, module_folder: Path) -> None:
    text = (module_folder / "lib/modules" / bundle.kernel_version / "modules.dep").read_text()
    lines = {path: needed.split() for path, needed in (line.split(":") for line in text.splitlines())}
    for path, needed in lines.items():
        order = [*reversed(needed), path]
        for place, one in enumerate(order):
            assert set(lines[one]) <= set(order[:place]), (path, one)


@pytest.mark.parametrize("name", ASKED)
def test_kmods_modprobe_finds_what_it_finds_with_depmods_files(
    bundle: Bundle, module_folder: Path, depmod_folder: Path, name: str
) -> None:
    def plan(folder: Path) -> list[str]:
        modprobe = require_tool("modprobe")
        output = run(modprobe, "-n", "--show-depends", "-d", folder, "-S", bundle.kernel_version, name)
        return [line.replace(str(folder), "") for line in output.splitlines()]

    ours, theirs = plan(module_folder), plan(depmod_folder)
    assert ours[-1] == theirs[-1]
    assert sorted(ours) == sorted(theirs)


def test_another_cpio_reads_the_initramfs(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.initrd is not None and bundle.busybox is not None
    busybox = tmp_path / "busybox"
    shutil.copyfile(bundle.busybox, busybox)
    busybox.chmod(0o755)
    with bundle.initrd.path.open("rb") as stream:
        rows = [line.split() for line in run(busybox, "cpio", "-itv", stdin=stream).splitlines()]
    modes = {row[-1]: row[0] for row in rows}
    assert modes["dev/console"].startswith("crw-------")
    assert modes["init"] == modes["bin/busybox"] == "-rwxr-xr-x"
    assert {"etc/modules.boot", "etc/modules.late", "sbin/e2fsck.gz"} <= modes.keys()
    assert all(row[1] == "0/0" or row[1:3] == ["root", "root"] for row in rows)


def test_the_init_is_a_small_static_program(tmp_path: Path) -> None:
    require_module("ziglang")
    data = compile_init(tmp_path)
    assert len(data) < 200_000
    assert compile_init(tmp_path) == data


def test_the_manifest_names_the_libraries_in_the_init(bundle: Bundle, tmp_path: Path) -> None:
    require_module("ziglang")
    record = init_record(compile_init(tmp_path))
    assert record == json.loads((bundle.folder / "manifest.json").read_text())["init"]
    (libc,) = record["libraries"]
    assert f"{libc['package']}=={libc['version']}" == pinned_compiler()
    assert (libc["file"], libc["licences"]) == ("libc.a", ["MIT"])


def test_the_libraries_of_another_compiler_are_those_that_dpkg_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", require_tool("musl-gcc"))
    record = init_record(compile_init(tmp_path))
    (libc,) = (library for library in record["libraries"] if library["file"] == "libc.a")
    archive = Path("/usr/lib/x86_64-linux-musl/libc.a")
    assert libc["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    owner = owning_package(archive)
    assert owner and (libc["package"], libc["version"]) == (owner.name.partition(":")[0], owner.version)
    assert "MIT" in libc["licences"]


def test_a_compiler_that_fails_is_shown_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(ToolError, match="build-init.sh") as caught:
        compile_init(tmp_path)
    assert str(resources.folder("kernel")) in caught.value.message
    assert f"pip install {pinned_compiler()}" in caught.value.hint


def test_the_kernel_image_is_what_qemu_boots_directly(bundle: Bundle) -> None:
    header = bundle.kernel.path.read_bytes()[:0x210]
    assert header[0x202:0x206] == b"HdrS"
    # Not an ELF file, which GNS3 3.0 takes for an IOU image.
    assert header[:4] != b"\x7fELF"


def test_dpkg_knows_which_package_a_file_is_of() -> None:
    require_tool("dpkg-query")
    owner = owning_package(Path("/bin/ls"))
    assert owner is not None
    assert (owner.name, owner.source.split()[0]) == ("coreutils", "coreutils")
    assert owner.version == owner.source.split()[1]
    assert owner.copyright.is_file()
    assert owning_package(Path(__file__)) is None
