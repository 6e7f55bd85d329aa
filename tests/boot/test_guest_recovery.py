"""Nothing that is wrong ends in a panic or a silent hang."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.guest.contract import GuestConfig
from tests.support.guest import assert_clean, boot, busybox_tree, guest_disk, overlay, raw_copy
from tests.support.tools import require_tool


@pytest.fixture(scope="module")
def disk(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert bundle.busybox is not None
    config = GuestConfig(cmd=("sh",))
    return guest_disk(tmp_path_factory.mktemp("recovery") / "disk.qcow2", busybox_tree(bundle.busybox), config)


def damaged(disk: Path, folder: Path, *commands: str) -> Path:
    """A copy of the disk after debugfs has been at it."""
    raw = raw_copy(disk, folder / "damaged.raw")
    for command in commands:
        subprocess.run([require_tool("debugfs"), "-w", "-R", command, str(raw)], check=True, capture_output=True)
    target = folder / "damaged.qcow2"
    subprocess.run([require_tool("qemu-img"), "convert", "-O", "qcow2", str(raw), str(target)], check=True)
    raw.unlink()
    return target


def test_single_opens_a_shell_before_the_root_is_mounted_and_leaving_it_boots(
    bundle: Bundle, disk: Path, tmp_path: Path
) -> None:
    with boot(bundle, [overlay(disk, tmp_path / "node.qcow2")], tmp_path, words="single") as guest:
        guest.expect("minivm: single")
        guest.shell()
        assert "/dev/vda" not in guest.run("cat /proc/mounts")
        assert guest.run("e2fsck -p /dev/vda >/dev/null; echo $?; ls -d /sysroot 2>&1").startswith("0")
        guest.send("exit\n")
        guest.shell()
        assert "/dev/vda / ext4 rw" in guest.run("cat /proc/mounts")
        # Those that the first shell has loaded are not looked for again.
        assert "minivm: module" not in guest.log


def test_init_is_process_1_on_the_console_with_the_root_mounted(bundle: Bundle, disk: Path, tmp_path: Path) -> None:
    node = overlay(disk, tmp_path / "node.qcow2")
    with boot(bundle, [node], tmp_path, words="init=/bin/sh") as guest:
        guest.shell()
        assert guest.run("echo $$; tty; echo kept > /root/file") == "1\n/dev/ttyS0"
        # Said by the child, which has the terminal by then.
        guest.send("sh -c 'echo ready; exec sleep 1000'\n")
        guest.expect("\nready\r\n")
        guest.send("\x03")
        guest.expect("GUEST> ")
        guest.send("sync; poweroff -f\n")
        guest.wait_off()
    raw = raw_copy(node, tmp_path / "raw")
    kept = subprocess.run([require_tool("debugfs"), "-R", "cat /root/file", str(raw)], capture_output=True, check=True)
    assert kept.stdout == b"kept\n"


def test_a_missing_init_is_said_and_the_machine_boots(bundle: Bundle, disk: Path, tmp_path: Path) -> None:
    with boot(bundle, [overlay(disk, tmp_path / "node.qcow2")], tmp_path, words="init=/no/such ro") as guest:
        guest.expect("minivm: init=/no/such: there is no such program")
        guest.shell()
        assert "/dev/vda / ext4 ro" in guest.run("cat /proc/mounts")


def test_a_missing_root_disk_ends_in_a_shell_that_names_it(bundle: Bundle, tmp_path: Path) -> None:
    with boot(bundle, [], tmp_path, words="root=/dev/vdx rootdelay=1") as guest:
        guest.expect("minivm: there is no root disk /dev/vdx after 1 s")
        guest.shell()
        guest.press_power_button()
        guest.wait_off()


def test_a_disk_without_a_file_system_ends_in_a_shell_that_says_so(bundle: Bundle, tmp_path: Path) -> None:
    empty = tmp_path / "empty.qcow2"
    subprocess.run([require_tool("qemu-img"), "create", "-q", "-f", "qcow2", str(empty), "8M"], check=True)
    with boot(bundle, [empty], tmp_path) as guest:
        guest.expect("minivm: /dev/vda was not mounted .*holds no ext4 file system")
        guest.shell()


def test_an_error_flag_is_checked_and_cleared(bundle: Bundle, disk: Path, tmp_path: Path) -> None:
    node = damaged(disk, tmp_path, "ssv state 2")
    with boot(bundle, [node], tmp_path) as guest:
        guest.expect("minivm: /dev/vda is marked as damaged, checking it")
        guest.shell()
        guest.press_power_button()
        guest.wait_off()
    assert_clean(node, tmp_path)


def test_damage_that_needs_decisions_ends_in_a_shell_and_leaving_it_tries_again(
    bundle: Bundle, disk: Path, tmp_path: Path
) -> None:
    # Two files that claim the same blocks.
    node = damaged(disk, tmp_path, "ssv state 2", "clri /etc")
    with boot(bundle, [node], tmp_path) as guest:
        guest.expect("minivm: e2fsck -p could not repair /dev/vda")
        guest.shell()
        guest.run("e2fsck -fy /dev/vda")
        guest.send("exit\n")
        guest.shell()
        assert "/dev/vda / ext4 rw" in guest.run("cat /proc/mounts")


def uuid_of(disk: Path, folder: Path) -> str:
    raw = raw_copy(disk, folder / "uuid.raw")
    shown = subprocess.run(
        [require_tool("dumpe2fs"), "-h", str(raw)], capture_output=True, text=True, check=True
    ).stdout
    raw.unlink()
    found = re.search(r"Filesystem UUID: +(\S+)", shown)
    assert found, shown
    return found[1]


def test_the_file_system_grows_to_a_larger_disk(bundle: Bundle, disk: Path, tmp_path: Path) -> None:
    words = f"root=UUID={uuid_of(disk, tmp_path).upper()} rootfstype=ext4 rootflags=noatime,errors=continue"
    node = overlay(disk, tmp_path / "node.qcow2", "3G")
    with boot(bundle, [node], tmp_path, words=words) as guest:
        guest.shell()
        assert "/dev/vda / ext4 rw,noatime,errors=continue" in guest.run("cat /proc/mounts")
        blocks = int(guest.run("stat -f -c %b /"))
        assert blocks * 4096 > 2.8e9
        guest.press_power_button()
        guest.wait_off()
    assert_clean(node, tmp_path)


def test_disks_in_the_other_order_boot_too(bundle: Bundle, disk: Path, tmp_path: Path) -> None:
    assert bundle.modules is not None
    modules = overlay(bundle.modules.path, tmp_path / "modules.qcow2")
    with boot(bundle, [modules, overlay(disk, tmp_path / "node.qcow2")], tmp_path) as guest:
        guest.shell()
        mounts = guest.run("cat /proc/mounts")
        assert "/dev/vdb / ext4" in mounts
        assert "/dev/vda /lib/modules ext4 ro" in mounts


def test_a_new_node_id_gives_a_new_identity_and_the_same_one_keeps_it(
    bundle: Bundle, disk: Path, tmp_path: Path
) -> None:
    ids = ["00000000-0000-4000-8000-00000000000" + digit for digit in "112"]
    edited = "e" * 32
    node = overlay(disk, tmp_path / "node.qcow2")
    for uuid, expected in zip(ids, ("", edited, ids[2].replace("-", "")), strict=True):
        with boot(bundle, [node], tmp_path / uuid[-1], options=["-uuid", uuid]) as guest:
            guest.shell()
            if expected:
                assert guest.run("cat /etc/machine-id") == expected
            guest.run(f"echo {edited} > /etc/machine-id; sync")
            guest.press_power_button()
            guest.wait_off()
        shutil.rmtree(tmp_path / uuid[-1])
