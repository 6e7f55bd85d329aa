"""Compiling with a real compiler from the real source: the same bytes in any folder, here and in a container.

A kernel of few options stands for the one for labs, which takes several times as long.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gns3_minivm.base import resources
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.local import image_version
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.packages.apt import AptSource
from gns3_minivm.bundle.packages.package_set import KernelPart
from gns3_minivm.bundle.source import compile as compiling
from gns3_minivm.bundle.source import monolithic
from gns3_minivm.bundle.source.compile import read_configuration
from gns3_minivm.bundle.source.toolchain import HostTools, missing_tools
from gns3_minivm.ops.kernels.container import ContainerTools
from tests.support.tools import require_tool

pytestmark = pytest.mark.long

SMALL = """
CONFIG_64BIT=y            # x86-64
CONFIG_EXPERT=y
CONFIG_BLK_DEV_INITRD=y   # the initramfs
CONFIG_BINFMT_ELF=y       # init
CONFIG_PRINTK=y
CONFIG_TTY=y
CONFIG_RELOCATABLE=y
CONFIG_RETPOLINE=y        # objtool, which needs libelf
CONFIG_KERNEL_LZ4=y
CONFIG_IKCONFIG=y
# CONFIG_COMPAT_BRK is not set
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_small(tmp_path, monkeypatch)


def use_small(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = folder / "small.config"
    path.write_text(SMALL)
    patch.setattr(monolithic, "_configuration", lambda: path)
    patch.setattr(compiling, "_ESSENTIAL", ())


def build_here(folder: Path) -> Bundle:
    """Compile with this machine's tools."""
    require_tool("apt-get")
    assert missing_tools() == []
    cache = Cache(folder)
    bundle = monolithic.build(AptSource(cache, kernel=KernelPart.SOURCE), HostTools(), cache, Events())
    assert list((cache.root / "work").iterdir()) == []
    return bundle


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The kernel of few options, compiled with this machine's tools."""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        use_small(folder, patch)
        return build_here(folder / "cache")


@pytest.mark.usefixtures("small")
def test_another_folder_gives_the_same_bytes(here: Bundle, tmp_path: Path) -> None:
    there = build_here(tmp_path / "another.folder-with-a-longer+name")
    assert here.kernel.sha256 == there.kernel.sha256 and here.id == there.id
    assert image_version(here.kernel.path) == here.kernel_version
    assert here.kernel_version.endswith("-monolithic")
    assert (here.folder / "config").read_bytes() == (there.folder / "config").read_bytes()


@pytest.mark.usefixtures("small")
def test_a_container_compiles_where_this_machine_has_neither_tools_nor_apt(
    here: Bundle, docker_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    bundle = monolithic.build(None, ContainerTools(), Cache(tmp_path / "cache"), Events())
    assert image_version(bundle.kernel.path) == bundle.kernel_version
    assert {record.name for record in bundle.packages} >= {"busybox-static", "e2fsck-static"}
    assert bundle.compiled["compiler"].startswith("gcc (Debian")
    # Of the same tools and packages it makes the same bytes as this machine, and of others it says so.
    same = made_of(here) == made_of(bundle)
    assert (here.id == bundle.id, here.kernel.sha256 == bundle.kernel.sha256) == (same, same)


def made_of(bundle: Bundle) -> tuple[str, list[str]]:
    return bundle.compiled["compiler"], sorted(record.sha256 for record in bundle.packages)


def test_debians_source_knows_every_line_of_the_configuration(monolithic_bundle: Bundle) -> None:
    wanted = read_configuration(resources.folder("kernel") / "monolithic.config")
    completed = (monolithic_bundle.folder / "config").read_text().splitlines()
    lacking = [line for line in wanted if line not in completed]
    # An option that depends on one which is off is not mentioned at all.
    assert [line for line in lacking if not line.startswith("#")] == []


def test_the_image_is_one_file_below_nine_megabytes(monolithic_bundle: Bundle) -> None:
    assert monolithic_bundle.artifacts == (monolithic_bundle.kernel,)
    assert monolithic_bundle.kernel.size_bytes < 9_000_000
