"""A Debian image with what network hosts use as an ordinary user: nothing that works under Docker is lost."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import docker
import pytest

from gns3_minivm.bundle.model import Bundle
from tests.support.guest import Guest, boot, overlay
from tests.support.minivm import gns3_minivm

DOCKERFILE = b"""FROM debian:bookworm-slim
RUN apt-get update \\
 && apt-get install -y --no-install-recommends ifupdown iproute2 iputils-ping libcap2-bin sudo \\
 && rm -rf /var/lib/apt/lists/* \\
 && useradd --create-home --shell /bin/bash admin \\
 && echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin \\
 && echo 'root:secret' | chpasswd \\
 && cp /bin/ping /usr/local/bin/ping-by-capability && setcap cap_net_raw+ep /usr/local/bin/ping-by-capability \\
 && printf 'auto lo\\niface lo inet loopback\\nsource-directory /etc/network/interfaces.d\\n' \\
    > /etc/network/interfaces \\
 && printf 'auto eth0\\niface eth0 inet static\\n address 10.5.0.1/24\\n up echo up > /root/eth0\\n' \\
    > /etc/network/interfaces.d/eth0
USER admin
CMD ["bash"]
"""
TAG = "gns3-minivm-test-debian"


@pytest.fixture(scope="module")
async def guest(bundle: Bundle, docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guest]:
    folder = tmp_path_factory.mktemp("debian")
    client = docker.DockerClient(base_url=docker_host)
    try:
        client.images.build(fileobj=io.BytesIO(DOCKERFILE), tag=TAG, network_mode="host", rm=True)
    finally:
        client.close()
    converted = folder / "disk.qcow2"
    finished = await gns3_minivm("convert", TAG, "-o", str(converted), environment={"DOCKER_HOST": docker_host})
    assert finished.status == 0, finished.err
    assert bundle.modules is not None
    disks = (overlay(converted, folder / "node.qcow2"), overlay(bundle.modules.path, folder / "modules.qcow2"))
    with boot(bundle, disks, folder, options=["-m", "256", "-device", "virtio-net-pci"]) as running:
        running.shell()
        yield running


def test_the_main_program_is_the_users(guest: Guest) -> None:
    assert guest.run("id -un; pwd; echo $HOME; tty") == "admin\n/\n/home/admin\n/dev/pts/0"


def test_ping_works_for_an_ordinary_user_with_and_without_a_capability_in_the_file(guest: Guest) -> None:
    assert "1 received" in guest.run("ping -c 1 127.0.0.1")
    assert guest.run("getcap /usr/local/bin/ping-by-capability").endswith("cap_net_raw=ep")
    # Without the sockets that need no privilege the capability alone must do.
    guest.run(
        "sudo sysctl -w net.ipv4.ping_group_range='1 0' || echo '1 0' | sudo tee /proc/sys/net/ipv4/ping_group_range"
    )
    assert "1 received" in guest.run("/usr/local/bin/ping-by-capability -c 1 127.0.0.1")


def test_sudo_and_su_become_root(guest: Guest) -> None:
    assert guest.run("sudo id -un") == "root"
    guest.send("su -c 'id -un; tty'\n")
    guest.expect("Password: ")
    assert "root\n/dev/pts/" in guest.run("secret").replace("\n\n", "\n")


def test_the_images_own_interfaces_are_configured(guest: Guest) -> None:
    assert "inet 10.5.0.1/24" in guest.run("ip address show eth0")
    assert guest.run("sudo cat /root/eth0; cat /run/network/ifstate.eth0") == "up\neth0"


def test_device_nodes_are_there_and_can_be_made(guest: Guest) -> None:
    assert guest.run("test -c /dev/null -a -w /dev/null && echo there") == "there"
    assert guest.run("sudo mknod /root/null c 1 3 && echo x | sudo tee /root/null | wc -c") == "2"


def test_modules_load_by_themselves_in_an_image_that_has_no_modprobe(guest: Guest) -> None:
    assert guest.run("dpkg -s kmod >/dev/null 2>&1 || readlink /sbin/modprobe") == "/run/minivm/bin/modprobe"
    assert "br0" in guest.run("sudo ip link add br0 type bridge && ip link show br0")
    assert guest.run("sudo modprobe openvswitch && sudo lsmod | grep -o ^openvswitch") == "openvswitch"
