"""Addresses that come from the network, and adapters as GNS3 2.2 places them."""

from __future__ import annotations

import time
from pathlib import Path

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.guest.contract import GuestConfig
from tests.support.guest import Guest, boot, busybox_tree, guest_disk

USER_NETWORK = "-netdev user,id=net{0} -device virtio-net-pci,netdev=net{0},mac=0c:00:00:00:00:0{0}"


def eventually(guest: Guest, command: str, wanted: str) -> None:
    """Run a command until its output holds what is wanted: leases and advertisements come beside the boot."""
    end = time.monotonic() + 200
    while wanted not in (shown := guest.run(command)):
        assert time.monotonic() < end, shown
        time.sleep(0.3)


def test_dhcp_and_router_advertisements_configure_interfaces(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    disk = guest_disk(tmp_path / "disk.qcow2", busybox_tree(bundle.busybox), GuestConfig(cmd=("sh",)))
    options = " ".join(USER_NETWORK.format(i) for i in range(2)).split()
    with boot(bundle, [disk], tmp_path, words="ip.eth0=dhcp ip.eth1=slaac", options=options) as guest:
        guest.shell()
        eventually(guest, "ip addr show eth0", "inet 10.0.2.15/24 brd 10.0.2.255")
        eventually(guest, "ip route", "default via 10.0.2.2 dev eth0")
        eventually(guest, "cat /etc/resolv.conf", "nameserver 10.0.2.3")
        eventually(guest, "ip -6 addr show eth1", "inet6 fec0::")
        assert "1 packets received" in guest.run("ping -c 1 10.0.2.2")
        addresses = guest.run("cat /sys/class/net/eth0/address /sys/class/net/eth1/address").split()
        assert addresses == ["0c:00:00:00:00:00", "0c:00:00:00:00:01"]
        guest.press_power_button()
        guest.wait_off()


def test_a_machine_without_network_cards_and_name_boots(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    tree = busybox_tree(bundle.busybox, {"etc/hostname": " \tfrom-the-image \n"})
    disk = guest_disk(tmp_path / "disk.qcow2", tree, GuestConfig(cmd=("sh",)))
    words = "ip.eth0=10.0.0.1/24 gw=10.0.0.254"
    with boot(bundle, [disk], tmp_path, words=words, name="") as guest:
        guest.expect("minivm: ip.eth0=10.0.0.1/24: the interface: No such device")
        guest.expect("minivm: gw=10.0.0.254: Network (is )?unreachable")
        guest.shell()
        assert guest.run("hostname; ls /sys/class/net") == "from-the-image\nlo"


def test_cards_are_up_also_with_a_kernel_that_insists_on_signed_modules(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    disk = guest_disk(tmp_path / "disk.qcow2", busybox_tree(bundle.busybox), GuestConfig(cmd=("sh",)))
    options = " ".join(USER_NETWORK.format(i) for i in range(2)).split()
    with boot(bundle, [disk], tmp_path, words="module.sig_enforce lockdown=integrity", options=options) as guest:
        guest.shell()
        flags = guest.run("cat /sys/class/net/eth0/flags /sys/class/net/eth1/flags /proc/sys/kernel/tainted").split()
        assert flags == ["0x1003", "0x1003", "0"]
        guest.press_power_button()
        guest.wait_off()
