"""What a network lab wants of the lab kernel, used in a booted guest (``lab_features.sh``) rather than read in its configuration.

The guest is a Debian with systemd and the programs of a network lab: one boot for all.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from gns3_minivm import resources
from gns3_minivm.bundle.compile import read_configuration
from gns3_minivm.bundle.model import CONFIG_FILE, Bundle
from gns3_minivm.guest_exec import ExecRequest, ExecResult, GuestExec
from gns3_minivm.guest_payload import FW_CFG_NAME, GuestFile, NodePayload
from tests.support.guest import Guest, assert_clean, boot, overlay
from tests.support.lab_config import read_options, weaknesses
from tests.support.minivm import gns3_minivm

pytestmark = pytest.mark.long

DOCKERFILE = b"""FROM debian:bookworm-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        bpftool conntrack dbus e2fsprogs ethtool ipset iproute2 iptables iputils-ping libteam-utils nftables openvswitch-switch ppp \
        pppoe procps smcroute socat systemd systemd-sysv tcpdump util-linux-extra wireguard-tools \
    && rm -rf /var/lib/apt/lists/* && systemctl mask smcroute.service
CMD ["/sbin/init"]
"""
TAG = "gns3-minivm-test-lab"
SCRIPT = Path(__file__).with_name("lab_features.sh")
FEATURES = re.findall(r"^feature_(\w+)\(\)", SCRIPT.read_text(), re.MULTILINE)
OPTIONS = (
    "-m 512 -smp 2 -device virtio-rng-pci -device virtio-balloon-pci -device virtio-serial-pci "
    "-chardev null,id=port -device virtserialport,chardev=port,name=lab "
    "-nic user,model=virtio-net-pci,restrict=on -device e1000"
).split()
BOOT_LIMIT_S = 600.0
FEATURE_LIMIT_S = 900.0


@pytest.fixture(scope="module")
async def disk(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian with systemd and the programs of a network lab."""
    client = docker.DockerClient(base_url=docker_host)
    try:
        client.images.build(fileobj=io.BytesIO(DOCKERFILE), tag=TAG, network_mode="host", rm=True)
    finally:
        client.close()
    target = tmp_path_factory.mktemp("lab") / "disk.qcow2"
    finished = await gns3_minivm("convert", TAG, "-o", str(target), environment={"DOCKER_HOST": docker_host})
    assert finished.status == 0, finished.err
    return target


@pytest.fixture(scope="module")
def guest(lab_bundle: Bundle, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A booted guest that has the script."""
    folder = tmp_path_factory.mktemp("lab-guest")
    node = overlay(disk, folder / "node.qcow2")
    (folder / "payload").write_bytes(NodePayload(files=(GuestFile("/root/features", SCRIPT.read_bytes()),)).encode())
    options = [*OPTIONS, "-fw_cfg", f"name={FW_CFG_NAME},file={folder / 'payload'}"]
    with boot(lab_bundle, [node], folder, name="lab-1", options=options) as running:
        running.expect(r"[#$] $", BOOT_LIMIT_S)
        yield running
        # Whatever the tests have left behind, the machine stops cleanly.
        running.press_power_button()
        running.wait_off(BOOT_LIMIT_S)
    assert_clean(node, folder)


async def run(guest: Guest, *argv: str) -> ExecResult:
    """Run a command in the guest."""
    reader, writer = await asyncio.open_connection(sock=guest.take_console())
    try:
        async with GuestExec(reader, writer) as commands, asyncio.timeout(FEATURE_LIMIT_S):
            await commands.hello(BOOT_LIMIT_S)
            return await commands.run(ExecRequest(argv))
    finally:
        writer.transport.abort()


def test_each_line_of_the_configuration_is_in_effect(lab_bundle: Bundle) -> None:
    made = (lab_bundle.folder / CONFIG_FILE).read_text().splitlines()
    wanted = read_configuration(resources.folder("kernel") / "lab.config")
    lost = [line for line in wanted if not line.startswith("#") and line not in made]
    assert lost + [line for line in wanted if line.startswith("#") and f"{line.split()[1]}=y" in made] == []
    assert weaknesses(read_options(made)) == []


async def test_the_configuration_of_the_bundle_is_that_of_its_kernel(lab_bundle: Bundle, guest: Guest) -> None:
    running = await run(guest, "cat", "/proc/config.gz")
    assert gzip.decompress(running.stdout) == (lab_bundle.folder / CONFIG_FILE).read_bytes()


def test_there_is_one_file_of_less_than_9_mb(lab_bundle: Bundle) -> None:
    assert (lab_bundle.initrd, lab_bundle.modules) == (None, None)
    assert lab_bundle.kernel.size_bytes < 9_000_000


@pytest.mark.parametrize("feature", FEATURES)
async def test_the_lab_kernel_has(feature: str, guest: Guest) -> None:
    result = await run(guest, "sh", "/root/features", feature)
    said = (result.stdout + result.stderr).decode("utf-8", "replace")
    assert result.exit_status == 0, said
