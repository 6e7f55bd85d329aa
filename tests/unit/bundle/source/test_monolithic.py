"""The kernel that is compiled: with a stand-in for make, which leaves what a real one would."""

from __future__ import annotations

import asyncio
import os
import tarfile
from pathlib import Path

import pytest

from gns3_minivm.base import resources
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import PackageError, ToolError
from gns3_minivm.base.events import Event, Events, Note, StepAdvanced, StepFinished
from gns3_minivm.bundle import build
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.packages.package_set import DebFiles, KernelPart
from gns3_minivm.bundle.source import monolithic, toolchain
from gns3_minivm.bundle.source.compile import read_configuration
from gns3_minivm.bundle.source.toolchain import HostTools, is_needed
from tests.support.debs import bundle_debs, elf
from tests.support.kernel_source import make_tools, source_deb, source_debs

INIT = elf({".text": b"init"})


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No compiler and no real source: tests/oracle and tests/boot have those."""
    folder = make_tools(tmp_path / "tools")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(toolchain, "missing_tools", list)
    monkeypatch.setattr(monolithic, "init_binary", lambda *_: INIT)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def make(cache: Cache, debs: list[Path], events: Events | None = None) -> Bundle:
    return monolithic.build(DebFiles(debs, kernel=KernelPart.SOURCE), HostTools(), cache, events or Events())


def leftovers(cache: Cache) -> list[Path]:
    return [*(cache.root / "work").iterdir(), *(cache.root / "kernels").glob("*")]


def test_the_kernel_is_one_file_with_the_initramfs_inside(cache: Cache, tmp_path: Path) -> None:
    bundle = make(cache, source_debs(tmp_path))
    assert bundle.artifacts == (bundle.kernel,)
    assert bundle.kernel.filename.startswith("vmlinuz-6.1.5-2-monolithic-")
    image = bundle.kernel.path.read_bytes()
    assert INIT in image and b"bin/busybox" in image and b"sbin/e2fsck.gz" in image
    assert bundle.busybox is not None


def test_the_manifest_names_packages_licences_compiler_and_configuration(cache: Cache, tmp_path: Path) -> None:
    bundle = make(cache, source_debs(tmp_path))
    source = next(record for record in bundle.packages if record.name == "linux-source-6.1")
    assert (source.version, source.source, source.licences) == ("6.1.5-2", "linux 6.1.5-2", ("GPL-2",))
    assert (bundle.folder / source.licence_file).is_file()
    assert bundle.compiled["compiler"] == (
        "gcc (Debian 12.2.0-14) 12.2.0; GNU ld 2.40; LZ4 command line interface v1.9.4, by Yann Collet"
    )
    configuration = (bundle.folder / "config").read_text().splitlines()
    wanted = read_configuration(resources.folder("kernel") / "monolithic.config")
    assert set(wanted) < set(configuration) and 'CONFIG_INITRAMFS_SOURCE="minivm.cpio"' in configuration


def test_the_same_source_and_compiler_give_the_same_bytes_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(Cache(tmp_path / "one"), source_debs(tmp_path))
    for name, value in {"KCFLAGS": "-O3", "CROSS_COMPILE": "x-", "TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    second = make(Cache(tmp_path / "another.folder"), source_debs(tmp_path))
    assert first.kernel.path.read_bytes() == second.kernel.path.read_bytes()
    assert first.kernel.filename == second.kernel.filename and first.id == second.id


def test_another_source_or_compiler_gives_another_name(cache: Cache, tmp_path: Path, tools: Path) -> None:
    names = {make(cache, source_debs(tmp_path)).kernel.filename}
    names.add(make(cache, source_debs(tmp_path, version="6.1.6-1")).kernel.filename)
    (tools / "gcc").write_text("#!/bin/sh\necho gcc 13\n")
    names.add(make(cache, source_debs(tmp_path)).kernel.filename)
    assert len(names) == 3


def test_it_is_compiled_once_and_found_without_asking_anyone(cache: Cache, tmp_path: Path, tools: Path) -> None:
    debs = source_debs(tmp_path)
    bundle = make(cache, debs)
    (tools / "make").write_text("#!/bin/sh\nexit 1\n")
    assert make(cache, debs) == bundle
    assert build.find(cache, monolithic.FLAVOUR) == bundle
    assert build.find(cache) is None, "it is not the distribution's"


def test_one_with_another_configuration_is_not_used(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(cache, source_debs(tmp_path))
    other = tmp_path / "monolithic.config"
    other.write_text("CONFIG_VIRTIO_BLK=y  # disks\n")
    monkeypatch.setattr(monolithic, "_configuration", lambda: other)
    assert build.find(cache, monolithic.FLAVOUR) is None


def test_progress_counts_what_is_compiled(cache: Cache, tmp_path: Path) -> None:
    seen: list[Event] = []
    make(cache, source_debs(tmp_path), Events(seen.append))
    assert any(isinstance(event, StepAdvanced) and event.done == 1 and event.total for event in seen)
    assert "6.1.5-2-monolithic" in [event.detail for event in seen if isinstance(event, StepFinished)]


def test_a_failure_shows_the_compilers_words_and_leaves_nothing(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        make(cache, source_debs(tmp_path, {"fail": ""}))
    assert "kernel/fork.c:12:3: error: 'struct task' has no member named 'x'" in caught.value.message
    assert "kernel/9.o" not in caught.value.message and "bzImage` ended with status 2" in caught.value.message
    assert leftovers(cache) == []


async def test_ctrl_c_ends_all_programs_and_leaves_nothing(cache: Cache, tmp_path: Path) -> None:
    started = tmp_path / "started"
    debs = source_debs(tmp_path, {"hang": str(started)})
    task = asyncio.create_task(run_blocking(make, cache, debs))
    while not started.exists() or not started.read_text().strip():
        assert not task.done(), task.exception()
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers(cache) == []
    stat = Path("/proc", started.read_text().strip(), "stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_options_that_the_source_does_not_know_are_told_and_essential_ones_refused(
    cache: Cache, tmp_path: Path
) -> None:
    seen: list[Event] = []
    make(cache, source_debs(tmp_path, {"unknown": "CONFIG_MPLS=y\n"}), Events(seen.append))
    notes = [event for event in seen if isinstance(event, Note)]
    assert [note.level for note in notes] == ["warning"] and "MPLS" in notes[0].message
    with pytest.raises(PackageError, match="VIRTIO_BLK"):
        make(cache, source_debs(tmp_path, {"unknown": "CONFIG_VIRTIO_BLK=y\n"}))


def test_packages_that_are_no_source_are_refused(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="a kernel, which this flavour does not use"):
        make(cache, bundle_debs(tmp_path))
    with pytest.raises(PackageError, match="missing: linux-source-VERSION"):
        make(cache, source_debs(tmp_path)[1:])
    with pytest.raises(PackageError, match="sources of several kernels"):
        make(cache, [*source_debs(tmp_path), source_deb(tmp_path, name="linux-source-6.12")])


def test_missing_tools_are_named_with_the_packages_that_have_them(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "missing_tools", lambda: ["bc", "libelf-dev"])
    with pytest.raises(ToolError, match="bc, libelf-dev") as caught:
        make(cache, source_debs(tmp_path))
    assert "sudo apt install bc libelf-dev" in caught.value.hint


@pytest.mark.parametrize("name", ["my cache", "my,cache", "my:cache", "my%cache", "my'cache"])
def test_a_folder_whose_name_make_cannot_take_is_refused_at_once(tmp_path: Path, name: str) -> None:
    cache = Cache(tmp_path / name)
    with pytest.raises(ToolError, match="no kernel can be compiled below .*my.cache") as caught:
        make(cache, source_debs(tmp_path))
    assert "--cache" in caught.value.hint
    assert leftovers(cache) == []


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("Makefile", True),
        ("arch/Kconfig", True),
        ("arch/x86/entry/entry_64.S", True),
        ("arch/arm/boot/dts/a.dts", False),
        ("Documentation/networking/bonding.rst", False),
        ("Documentation/Kconfig", True),
        ("tools/arch/x86/include/asm/inat.h", True),
    ],
)
def test_what_of_the_source_is_unpacked(path: str, needed: bool) -> None:
    assert is_needed(path) is needed


def test_a_line_of_the_configuration_that_sets_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "monolithic.config"
    path.write_text("# CONFIG_A is not set# why\n\n## Title\nCONFIG_B=y  # why\nCONFIG C\n")
    with pytest.raises(PackageError, match="line 5"):
        read_configuration(path)
    path.write_text(path.read_text().replace("CONFIG C\n", ""))
    assert read_configuration(path) == ["# CONFIG_A is not set", "CONFIG_B=y"]


@pytest.mark.parametrize("has_filter", [True, False], ids=["filter", "python-before-3.11.4"])
@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("l/../../outside", tarfile.REGTYPE, ""),
        ("l/a/link", tarfile.SYMTYPE, "../../outside"),
        ("l/link", tarfile.SYMTYPE, "/outside"),
        ("l/link", tarfile.LNKTYPE, "l/../../outside"),
        ("l/device", tarfile.CHRTYPE, ""),
    ],
)
def test_a_source_that_leads_out_of_its_folder_is_damaged(
    name: str, kind: bytes, target: str, has_filter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_filter:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    elif not hasattr(tarfile, "data_filter"):
        return  # the other case is this Python's
    tarball, work = tmp_path / "linux.tar", tmp_path / "work"
    work.mkdir()
    with tarfile.open(tarball, "w") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        archive.addfile(entry)
    with HostTools().open(work, Events()) as place, pytest.raises(PackageError, match=r"linux\.tar is damaged"):
        place.unpack(tarball, Events())
    assert not [path for path in tmp_path.rglob("*") if path.name in ("outside", "link", "device")]
