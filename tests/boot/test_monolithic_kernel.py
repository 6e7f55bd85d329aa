"""The monolithic kernel in guests: one file boots what the distribution's boots with an initrd and a module disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from gns3_minivm.bundle.model import Bundle
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("monolithic_bundle")]


async def test_a_guest_boots_without_an_initrd(monolithic_bundle: Bundle) -> None:
    require_tool("qemu-system-x86_64")
    words = ("boot", "busybox-minivm", "--kernel", "monolithic", "--json")
    result = (await gns3_minivm(*words, "--run", "uname -r; cat /proc/mounts")).result()
    version, *mounts = result["output"].splitlines()
    assert version == monolithic_bundle.kernel_version
    assert any(line.startswith(("/dev/vda / ext4 rw", "/dev/root / ext4 rw")) for line in mounts)
    assert "-initrd" not in result["command_line"] and str(monolithic_bundle.kernel.path) in result["command_line"]


async def test_a_guest_boots_with_the_least_memory_that_a_template_may_have(monolithic_bundle: Bundle) -> None:
    require_tool("qemu-system-x86_64")
    least = str(monolithic_bundle.minimum_ram_mb)
    words = ("boot", "busybox-minivm", "--kernel", "monolithic", "--ram", least, "--run", "echo up", "--json")
    assert (await gns3_minivm(*words)).result()["output"] == "up"


async def test_convert_takes_its_busybox_from_that_bundle_as_well(tmp_path: Path) -> None:
    target = tmp_path / "disk.qcow2"
    finished = await gns3_minivm("convert", "busybox-minivm", "--kernel", "monolithic", "-o", str(target))
    assert finished.status == 0, finished.err
    assert target.is_file()
