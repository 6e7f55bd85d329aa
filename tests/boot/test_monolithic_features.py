"""What a network lab wants of the monolithic kernel, used in a booted guest (``monolithic_features.sh``).

The guest is a Debian with systemd and the programs of a network lab: one boot for all.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from gns3_minivm.base import resources
from gns3_minivm.bundle.model import CONFIG_FILE, Bundle
from gns3_minivm.bundle.source.compile import read_configuration
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.guest.exec import ExecRequest, ExecResult, GuestExec
from gns3_minivm.guest.payload import FW_CFG_NAME, GuestFile, NodePayload
from tests.support.guest import Guest, assert_clean, boot, busybox_tree, guest_disk, overlay
from tests.support.minivm import gns3_minivm
from tests.support.monolithic_config import read_options, weaknesses
from tests.support.tools import require_tool

pytestmark = pytest.mark.long

DOCKERFILE = b"""FROM debian:bookworm-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        bpftool conntrack dbus e2fsprogs ethtool ipset iproute2 iptables iputils-ping libteam-utils nftables \
    openvswitch-switch ppp \
        pppoe procps smcroute socat systemd systemd-sysv tcpdump util-linux-extra wireguard-tools \
    && rm -rf /var/lib/apt/lists/* && systemctl mask smcroute.service
CMD ["/sbin/init"]
"""
TAG = "gns3-minivm-test-monolithic"
SCRIPT = Path(__file__).with_name("monolithic_features.sh")
FEATURES = re.findall(r"^feature_(\w+)\(\)", SCRIPT.read_text(), re.MULTILINE)
OPTIONS = (
    "-m 512 -smp 2 -device virtio-rng-pci -device virtio-balloon-pci -device virtio-serial-pci "
    "-device virtserialport,chardev=port,name=lab -device virtconsole,chardev=hvc "
    "-nic user,model=virtio-net-pci,restrict=on,net=10.91.0.0/24 -nic user,model=e1000,restrict=on,net=10.92.0.0/24"
).split()
CHANNELS = ("port", "hvc")
BOOT_LIMIT_S = 600.0
FEATURE_LIMIT_S = 900.0
CHANGE_LIMIT_S = 300.0


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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the guest's files are; what it writes to virtio's serial ports is in those of CHANNELS."""
    return tmp_path_factory.mktemp("lab-guest")


@pytest.fixture(scope="module")
def guest(monolithic_bundle: Bundle, disk: Path, folder: Path) -> Iterator[Guest]:
    """A booted guest that has the script."""
    node = overlay(disk, folder / "node.qcow2")
    (folder / "payload").write_bytes(
        NodePayload(files=(GuestFile(path="/root/features", content=SCRIPT.read_bytes()),)).encode()
    )
    options = [*OPTIONS, "-fw_cfg", f"name={FW_CFG_NAME},file={folder / 'payload'}"]
    options += [word for name in CHANNELS for word in ("-chardev", f"file,id={name},path={folder / name}")]
    with boot(monolithic_bundle, [node], folder, name="lab-1", options=options) as running:
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
            return await commands.run(ExecRequest(argv=argv))
    finally:
        writer.transport.abort()


def test_each_line_of_the_configuration_is_in_effect(monolithic_bundle: Bundle) -> None:
    made = (monolithic_bundle.folder / CONFIG_FILE).read_text().splitlines()
    wanted = read_configuration(resources.folder("kernel") / "monolithic.config")
    lost = [line for line in wanted if not line.startswith("#") and line not in made]
    assert lost + [line for line in wanted if line.startswith("#") and f"{line.split()[1]}=y" in made] == []
    assert weaknesses(read_options(made)) == []


async def test_the_configuration_of_the_bundle_is_that_of_its_kernel(monolithic_bundle: Bundle, guest: Guest) -> None:
    running = await run(guest, "cat", "/proc/config.gz")
    assert gzip.decompress(running.stdout) == (monolithic_bundle.folder / CONFIG_FILE).read_bytes()


def test_there_is_one_file_of_less_than_9_mb(monolithic_bundle: Bundle) -> None:
    assert (monolithic_bundle.initrd, monolithic_bundle.modules) == (None, None)
    assert monolithic_bundle.kernel.size_bytes < 9_000_000


async def test_what_is_written_to_virtios_serial_ports_and_console_reaches_the_host(folder: Path, guest: Guest) -> None:
    port = "port=$(grep -lx lab /sys/class/virtio-ports/*/name) && port=${port%/name} && port=/dev/${port##*/}"
    words = f"{port} && echo through a port >$port && echo through a console >/dev/hvc0"
    result = await run(guest, "sh", "-c", words)
    assert result.exit_status == 0, result.stderr
    async with asyncio.timeout(CHANGE_LIMIT_S):
        while b"through a port" not in (folder / "port").read_bytes():
            await asyncio.sleep(0.1)
        while b"through a console" not in (folder / "hvc").read_bytes():
            await asyncio.sleep(0.1)


async def test_the_balloon_takes_memory_and_gives_it_back(guest: Guest) -> None:
    async def memory_kib() -> int:
        shown = await run(guest, "sed", "-n", "s/^MemTotal: *\\([0-9]*\\) kB$/\\1/p", "/proc/meminfo")
        return int(shown.stdout)

    whole = await memory_kib()
    async with asyncio.timeout(CHANGE_LIMIT_S):
        guest.monitor("balloon 384")
        while await memory_kib() > whole - 120_000:
            await asyncio.sleep(0.2)
        guest.monitor("balloon 512")
        while await memory_kib() < whole:
            await asyncio.sleep(0.2)


def test_qemu_starts_the_uncompressed_kernel_directly(monolithic_bundle: Bundle, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(uncompressed(monolithic_bundle.kernel.path.read_bytes()))
    bundle = replace(monolithic_bundle, kernel=replace(monolithic_bundle.kernel, path=kernel))
    assert monolithic_bundle.busybox is not None
    disk = guest_disk(tmp_path / "disk.qcow2", busybox_tree(monolithic_bundle.busybox), GuestConfig(cmd=("/bin/sh",)))
    # Without the note that CONFIG_PVH puts into it, QEMU refuses an ELF file.
    with boot(bundle, [disk], tmp_path) as running:
        running.shell()
        assert running.run("uname -r") == monolithic_bundle.kernel_version


def uncompressed(image: bytes) -> bytes:
    """The kernel inside a bzImage that LZ4 has packed (Linux, Documentation/x86/boot.rst: payload_offset)."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    # The last four bytes say how long it will be.
    payload = image[start : start + length - 4]
    return subprocess.run([require_tool("lz4"), "-dc"], input=payload, capture_output=True, check=True).stdout


@pytest.mark.parametrize("feature", FEATURES)
async def test_the_lab_kernel_has(feature: str, guest: Guest) -> None:
    result = await run(guest, "sh", "/root/features", feature)
    said = (result.stdout + result.stderr).decode("utf-8", "replace")
    assert result.exit_status == 0, said
