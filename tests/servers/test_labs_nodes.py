"""The whole way on real GNS3 servers of both generations: register, make nodes, and use them as a student would.

The guests run without hardware acceleration.  The bundle and the disks are made by the command itself and kept between
runs (tests/support/minivm.py).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gns3_minivm.gns3.model import Node
from tests.support.gns3 import GNS3Process
from tests.support.lab import Lab, open_lab
from tests.support.minivm import gns3_minivm
from tests.support.telnet import Console
from tests.support.tools import require_tool

# "Within seconds", on a machine that emulates the CPU and has other things to do.
POWER_OFF_LIMIT_S = 90


@pytest.fixture(scope="module")
async def busybox_lab(gns3_server: GNS3Process) -> AsyncIterator[Lab]:
    require_tool("qemu-system-x86_64")
    (await gns3_minivm("register", "busybox-minivm", "--server", gns3_server.url, "--json")).result()
    async with open_lab(gns3_server, "busybox-minivm") as lab:
        yield lab


@pytest.fixture(scope="module")
async def neighbours(busybox_lab: Lab) -> AsyncIterator[tuple[Node, Node]]:
    """Two running nodes, eth0 to eth0."""
    left, right = await busybox_lab.add_node("left-pc"), await busybox_lab.add_node("right-pc")
    await busybox_lab.link(left, right)
    await busybox_lab.start(left, right)
    yield left, right
    await asyncio.gather(busybox_lab.stop(left), busybox_lab.stop(right))


@pytest.fixture
async def node(busybox_lab: Lab) -> AsyncIterator[Node]:
    """A running node of its own."""
    made = await busybox_lab.add_node("single-pc")
    await busybox_lab.start(made)
    yield made
    await busybox_lab.server.delete_node(busybox_lab.project_id, made.node_id)


async def test_the_console_shows_a_shell_two_network_cards_and_the_nodes_name(
    busybox_lab: Lab, neighbours: tuple[Node, Node]
) -> None:
    for node in neighbours:
        async with busybox_lab.console(node) as console:
            assert (await console.run("hostname")).split() == [node.name]
            links = await console.run("ip -o link")
            assert re.findall(r"^\d+: (\w+)", links, re.MULTILINE) == ["lo", "eth0", "eth1"]
            addresses = re.findall(r"link/ether ([0-9a-f:]+)", links)
            # In the order of the ports in GNS3.
            assert addresses == [port.mac_address for port in node.ports]


async def test_neighbours_ping_each_other_over_a_link_and_not_without_it(
    busybox_lab: Lab, neighbours: tuple[Node, Node]
) -> None:
    left, right = neighbours
    async with busybox_lab.console(left) as console, busybox_lab.console(right) as other:
        for shell, address in ((console, "192.0.2.1/24"), (other, "192.0.2.2/24")):
            await shell.run(f"ip addr add {address} dev eth0 && ip link set eth0 up")
        await pings(console, "192.0.2.2")
        await pings(other, "192.0.2.1")
        links = await busybox_lab.server.links(busybox_lab.project_id)
        await busybox_lab.server.delete_link(busybox_lab.project_id, links[0].link_id)
        status, output = await console.run_unchecked("ping -c 2 -W 1 192.0.2.2")
        assert status == 1 and " 100% packet loss" in output
        # Plugged in again while both run.
        await busybox_lab.link(left, right)
        await pings(console, "192.0.2.2")


@pytest.mark.either_generation
async def test_a_file_stays_over_stop_and_start(busybox_lab: Lab, node: Node) -> None:
    async with busybox_lab.console(node) as console:
        await console.run("echo kept >/root/note && chmod 640 /root/note")
        await console.run("head -c 3000000 /dev/urandom >/var/big && md5sum /var/big >/var/big.md5")
    await busybox_lab.stop(node)
    await busybox_lab.start(node)
    async with busybox_lab.console(node) as console:
        assert await console.run("cat /root/note") == "kept\n"
        assert (await console.run("stat -c %a /root/note")).split() == ["640"]
        await console.run("md5sum -c /var/big.md5")


async def test_the_shutdown_signal_powers_the_guest_off_and_leaves_its_disk_clean(
    busybox_lab: Lab, node: Node, tmp_path: Path
) -> None:
    async with busybox_lab.console(node) as console:
        # Without a sync: what was written has to survive all the same.
        await console.run("echo unsynced >/root/last-words")
    started = time.monotonic()
    await busybox_lab.stop(node)
    assert time.monotonic() - started < POWER_OFF_LIMIT_S, "GNS3 had to kill the guest"
    assert await busybox_lab.status(node) == "stopped"
    await busybox_lab.check_disk(node, tmp_path)
    complaints = await qemu_complaints(busybox_lab, node)
    assert not complaints, complaints


@pytest.mark.either_generation
async def test_poweroff_inside_the_guest_stops_the_node(busybox_lab: Lab, node: Node, tmp_path: Path) -> None:
    async with busybox_lab.console(node) as console:
        console.send("poweroff\n")
        deadline = time.monotonic() + POWER_OFF_LIMIT_S
        while await busybox_lab.status(node) != "stopped":
            assert time.monotonic() < deadline, f"still running; the console shows:\n{console.transcript[-2000:]}"
            await asyncio.sleep(0.2)
    await busybox_lab.check_disk(node, tmp_path)


@pytest.mark.either_generation
async def test_a_renamed_node_has_its_new_name_at_the_next_start(busybox_lab: Lab, node: Node) -> None:
    # A guest that is still booting does not hear the power button, and GNS3 would wait two minutes for it.
    async with busybox_lab.console(node):
        pass
    await busybox_lab.stop(node)
    await busybox_lab.server.update_node(busybox_lab.project_id, node.node_id, name="renamed-pc")
    await busybox_lab.start(node)
    async with busybox_lab.console(node) as console:
        assert (await console.run("hostname")).split() == ["renamed-pc"]


@pytest.mark.either_generation
async def test_a_debian_node_pings_a_neighbour_and_keeps_installed_files(
    gns3_server: GNS3Process, docker_host: str, tmp_path: Path
) -> None:
    register = ("register", "debian-minivm", "--build-network", "host", "--server", gns3_server.url, "--json")
    (await gns3_minivm(*register, environment={"DOCKER_HOST": docker_host})).result()
    async with open_lab(gns3_server, "debian-minivm") as lab:
        left, right = await lab.add_node("deb-left"), await lab.add_node("deb-right")
        await lab.link(left, right, adapter=1)
        await lab.start(left, right)
        async with lab.console(left) as console, lab.console(right) as other:
            for shell, node, address in ((console, left, "192.0.2.1/24"), (other, right, "192.0.2.2/24")):
                assert (await shell.run("hostname")).split() == [node.name]
                assert re.findall(r"^\d+: (\w+)", await shell.run("ip -o link"), re.MULTILINE) == ["lo", "eth0", "eth1"]
                await shell.run(f"ip addr add {address} dev eth1 && ip link set eth1 up")
            await pings(console, "192.0.2.2")
            assert "Debian GNU/Linux 12" in await console.run("cat /etc/os-release")
            # Debian's own package database still works, offline.
            await console.run("dpkg --remove --force-depends traceroute", timeout_s=120)
            # An address for good, twice, as the usage text says.
            for address in ("192.168.0.2", "192.168.0.3"):
                text = rf"auto eth0\niface eth0 inet static\n\taddress {address}/24\n"
                await console.run(f"printf '{text}' >/etc/network/interfaces")
                await console.run("ifdown eth0; ifup eth0", timeout_s=120)
                assert (await console.run("ip -4 -o address show dev eth0")).split()[3] == f"{address}/24"
            machine_ids = {(await shell.run("cat /etc/machine-id")).strip() for shell in (console, other)}
            assert len(machine_ids) == 2
        for node in (left, right):
            started = time.monotonic()
            await lab.stop(node)
            assert time.monotonic() - started < POWER_OFF_LIMIT_S, "GNS3 had to kill the guest"
            await lab.check_disk(node, tmp_path)
        await lab.start(left)
        async with lab.console(left) as console:
            assert (await console.run_unchecked("test -e /usr/bin/traceroute"))[0] == 1


async def pings(console: Console, address: str) -> None:
    """Three answers to three pings, once the link is up and the address is known."""
    await console.run(f"for try in 1 2 3 4 5 6 7 8 9; do ping -c 1 -W 1 {address} && break; done")
    assert " 0% packet loss" in await console.run(f"ping -c 3 {address}")


async def qemu_complaints(lab: Lab, node: Node) -> str:
    """What QEMU itself wrote into the node's qemu.log, after the command line that GNS3 puts there."""
    log = await lab.server.node_log(lab.project_id, node.node_id)
    _, found, said = log.partition("Execution log:")
    assert found, log
    return said.strip()
