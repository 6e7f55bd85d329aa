"""Every way to stop a guest ends in a clean disk: e2fsck finds nothing, and no journal waits to be replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.guest.contract import GuestConfig
from tests.support.guest import Guest, assert_clean, boot, busybox_tree, guest_disk, overlay

SERVICE = """#!/bin/sh
trap 'echo got USR1; echo stopped > /root/how; exit 0' USR1
echo service is up
while :; do sleep 0.2; done
"""


@pytest.fixture(scope="module")
def disk(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with a shell."""
    assert bundle.busybox is not None
    config = GuestConfig(cmd=("sh",))
    return guest_disk(tmp_path_factory.mktemp("stopping") / "disk.qcow2", busybox_tree(bundle.busybox), config)


def typed(command: str) -> Callable[[Guest], None]:
    return lambda guest: guest.send(command + "\n")


OFF: dict[str, Callable[[Guest], None]] = {
    "power button": Guest.press_power_button,
    # By its path: busybox's shell has an applet of that name.
    "poweroff": typed("/run/minivm/bin/poweroff"),
    "halt by the bundle's busybox": typed("/run/minivm/bin/busybox halt"),
    "end of the main program": typed("exit 3"),
    "SIGTERM to process 1": typed("kill 1"),
    "the request of other init systems": typed(r"printf '\x69\x19\x09\x03\x01\0\0\0\x30\0\0\0%0372d' 0 > /run/initctl"),
}


# init does the same for a halt as for poweroff.
@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.long] * way.startswith("halt")) for way in OFF])
def test_the_guest_powers_off_clean(bundle: Bundle, disk: Path, tmp_path: Path, way: str) -> None:
    node = overlay(disk, tmp_path / "node.qcow2")
    with boot(bundle, [node], tmp_path) as guest:
        guest.shell()
        # Something in the journal, something unsaved, and a process that holds a file open and does not want to end.
        guest.run("(trap '' TERM HUP; while :; do echo x; sleep 0.1; done >> /root/busy) & echo kept > /root/file")
        OFF[way](guest)
        guest.wait_off()
    assert_clean(node, tmp_path)


@pytest.mark.parametrize("way", ["/run/minivm/bin/reboot", "busybox reboot", "ctrl-alt-delete"])
def test_the_guest_restarts_clean(bundle: Bundle, disk: Path, tmp_path: Path, way: str) -> None:
    node = overlay(disk, tmp_path / "node.qcow2")
    # With -no-reboot QEMU ends where the machine would start again.
    with boot(bundle, [node], tmp_path, options=["-no-reboot"]) as guest:
        guest.shell()
        guest.run("echo kept > /root/file")
        if way == "ctrl-alt-delete":
            guest.monitor("sendkey ctrl-alt-delete")
        else:
            guest.send(f"{way}\n")
        assert "Restarting system" in guest.wait_off()
    assert_clean(node, tmp_path)


def test_a_service_gets_its_own_stop_signal_and_files_are_kept(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    config = GuestConfig(entrypoint=("/bin/service",), stop_signal="SIGUSR1")
    disk = guest_disk(tmp_path / "disk.qcow2", busybox_tree(bundle.busybox, {"bin/service": SERVICE}), config)
    node = overlay(disk, tmp_path / "node.qcow2")
    with boot(bundle, [node], tmp_path) as guest:
        guest.expect("service is up")
        guest.press_power_button()
        assert "got USR1" in guest.wait_off()
    assert_clean(node, tmp_path)
    with boot(bundle, [node], tmp_path, words="-- unused") as guest:
        guest.expect("service is up")
        guest.send("\r")
        guest.shell()
        assert guest.run("cat /root/how") == "stopped"


def test_the_images_own_power_button_script_is_run(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    script = "#!/bin/sh\necho script ran > /root/script\npoweroff\n"
    files = {"etc/acpi/PWRF/00000080": script, "etc/init.sh": "#!/bin/sh\nexec sh\n"}
    disk = guest_disk(tmp_path / "disk.qcow2", busybox_tree(bundle.busybox, files))
    node = overlay(disk, tmp_path / "node.qcow2")
    with boot(bundle, [node], tmp_path) as guest:
        guest.shell()
        guest.press_power_button()
        guest.wait_off()
    assert_clean(node, tmp_path)
    with boot(bundle, [node], tmp_path) as guest:
        guest.shell()
        assert guest.run("cat /root/script") == "script ran"
