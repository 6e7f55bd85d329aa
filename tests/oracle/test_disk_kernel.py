"""The kernel mounts our file systems read-write, grows them, and replays their journal after a power cut."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

import pytest

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.convert.inspect import file_chunks, inspect_disk, list_files
from gns3_minivm.formats.content import Slice, Sparse
from gns3_minivm.guest.contract import GuestConfig
from tests.support.disks import GIB, MIB, run
from tests.support.guest import assert_clean, boot, busybox_tree, guest_disk, overlay
from tests.support.tools import require_tool

FILES = 20_000
# Looked up by name, so by the index, not by a walk through the directory; a console is not good at such names.
LOOK_UP = "#!/bin/sh\ncat /many/19999-é /many/0-é /many/12345-é\necho\n"
CONFIG = GuestConfig(cmd=("sh",), env=("PATH=/bin",))


@pytest.fixture(scope="module")
def disk(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of 1 GiB with what is hard: indexed directories of one and two levels, a deep extent tree, holes."""
    folder = tmp_path_factory.mktemp("kernel")
    assert bundle.busybox is not None
    (folder / "data").write_bytes(bytes(range(1, 256)) * 20)
    tree = busybox_tree(bundle.busybox, {"look-up": LOOK_UP})
    one = tree.add_file(b"linked", b"x")
    many = tree.add_directory(b"many")
    for number in range(FILES):
        tree.add_file(b"many/%d-\xc3\xa9" % number, b"%d" % number)
    long_names = tree.add_directory(b"long")
    long_names.children.update((b"%0255d" % number, one) for number in range(9_000))
    path = str(folder / "data")
    tree.add_file(b"sparse", Sparse(50 * GIB, tuple((n * 8 * MIB, Slice(path, n % 99, 4096)) for n in range(6_000))))
    assert len(many.children) == FILES
    return guest_disk(folder / "disk.qcow2", tree, CONFIG, GIB)


def test_the_kernel_uses_and_grows_what_was_written(bundle: Bundle, disk: Path, tmp_path: Path) -> None:
    assert bundle.modules is not None
    node = overlay(disk, tmp_path / "node.qcow2", "10G")
    data = (bytes(range(1, 256)) * 20)[5_999 % 99 :][:4096]
    with boot(bundle, [node, overlay(bundle.modules.path, tmp_path / "modules.qcow2")], tmp_path) as guest:
        guest.shell()
        assert int(guest.run("busybox df -k / | busybox awk 'END { print $2 }'")) > 9_500_000
        assert guest.run("ls /many | busybox wc -l; ls /long | busybox wc -l") == f"{FILES}\n9000"
        assert guest.run("/look-up") == "19999012345"
        assert guest.run("stat -c '%h %s' /linked") == "9001 1"
        last = guest.run(f"busybox dd if=/sparse bs=4096 skip={5_999 * 2048} count=1 2>/dev/null | busybox md5sum")
        assert last.split()[0] == hashlib.md5(data).hexdigest()
        # Full leaves are split, and blocks beyond the old end are used.
        guest.run("cd /many; for i in $(busybox seq 2000); do echo $i > new-name-$i; done; cd /", 600)
        guest.run("cd /long; for i in $(busybox seq 100); do echo > n$i; rm $(printf %0255d $i); done; cd /", 600)
        guest.run("busybox dd if=/dev/zero of=/filled bs=1M count=1100 2>/dev/null; echo x >> /sparse", 900)
        assert guest.run("ls /many | busybox wc -l; ls /long | busybox wc -l") == f"{FILES + 2000}\n9000"
        assert guest.run("busybox dmesg | grep -i ext4 | grep -i -E 'error|warning|corrupt'") == ""
        guest.press_power_button()
        guest.wait_off()
    assert_clean(node, tmp_path)
    # `inspect` reads what the kernel has made of it: descriptors elsewhere, a deeper hash tree, another size.
    found = inspect_disk(node).filesystem
    assert found is not None and "meta_bg" in found.features and found.size_bytes == 10 << 30
    assert (found.state, found.needs_recovery) == ("clean", False)
    assert sum(1 for _ in list_files(node, b"/many")) == FILES + 2000


def test_the_journal_is_replayed_after_a_power_cut(bundle: Bundle, disk: Path, tmp_path: Path) -> None:
    assert bundle.modules is not None
    disks = [overlay(disk, tmp_path / "node.qcow2"), overlay(bundle.modules.path, tmp_path / "modules.qcow2")]
    with boot(bundle, disks, tmp_path) as guest:
        guest.shell()
        guest.run("echo kept > /kept; busybox sync")
        guest.send(
            "cd /many; while true; do for i in 1 2 3 4 5 6 7 8 9; do echo $i > w$i; busybox mv w$i v$i; done; done\n"
        )
        guest.expect(r"done\r*\n")
        # Longer than the five seconds after which the kernel commits what is in its journal by itself.
        time.sleep(8)
        guest.process.kill()
    report = inspect_disk(disks[0])
    assert report.filesystem is not None and report.filesystem.needs_recovery
    assert any("journal is dirty" in warning for warning in report.warnings)
    shown = [file.as_dict() for file in list_files(disks[0], b"/")]
    assert b"".join(file_chunks(disks[0], b"/kept")) == b"kept\n"
    # The same as e2fsck makes of it, which replays the journal on the disk.
    raw = tmp_path / "replayed.img"
    run("qemu-img", "convert", "-O", "raw", disks[0], raw)
    subprocess.run([require_tool("e2fsck"), "-y", "-E", "journal_only", raw], check=False, capture_output=True)
    assert not inspect_disk(raw).filesystem.needs_recovery  # type: ignore[union-attr]
    assert [file.as_dict() for file in list_files(raw, b"/")] == shown
    assert sum(file["path"].startswith("/many/") for file in shown) >= FILES
    raw.unlink()
    with boot(bundle, disks, tmp_path) as guest:
        guest.shell()
        assert guest.run("cat /kept; ls /many | busybox grep -c ^[0-9]") == f"kept\n{FILES}"
        assert "recovery complete" in guest.run("busybox dmesg | grep -i ext4")
        guest.press_power_button()
        guest.wait_off()
    assert_clean(disks[0], tmp_path)
    after = inspect_disk(disks[0]).filesystem
    assert after is not None and after.journal is not None and after.journal.is_empty and not after.needs_recovery
