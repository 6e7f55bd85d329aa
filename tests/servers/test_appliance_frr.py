"""frr-minivm: two routers on a real GNS3 server form an OSPF adjacency over a link, from the console that users get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gns3_minivm.gns3.model import Node
from tests.support.appliances import add_node, appliance_lab, connect, start, vtysh, vtysh_command
from tests.support.gns3 import GNS3Process
from tests.support.lab import Lab
from tests.support.telnet import Console
from tests.support.tools import require_tool

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
async def lab(gns3_v3: GNS3Process, docker_host: str) -> AsyncIterator[Lab]:
    require_tool("qemu-system-x86_64")
    async with appliance_lab(gns3_v3, docker_host, "frr-minivm") as lab:
        yield lab


@pytest.fixture(scope="module")
async def routers(lab: Lab) -> AsyncIterator[tuple[Node, Node]]:
    one, other = await add_node(lab, "frr-minivm", "r1", "DAEMONS=ospf"), await add_node(lab, "frr-minivm", "r2")
    await connect(lab, one, 0, other, 7)
    await start(lab, one, other)
    yield one, other


async def test_routers_become_neighbours_and_learn_routes_and_keep_their_configuration(
    lab: Lab, routers: tuple[Node, Node]
) -> None:
    one, other = routers
    async with vtysh(lab, one) as first, vtysh(lab, other) as second:
        for client, device, number in ((first, "eth0", 1), (second, "eth7", 2)):
            await configure_ospf(client, device, number)
        await shows(first, "show ip ospf neighbor", "Full/")
        await shows(first, "show ip route ospf", "10.255.0.2/32")
        first.send("ping 10.255.0.2\n")
        await first.read_until("64 bytes from 10.255.0.2")
        first.send("\x03")
        await first.read_until("packets transmitted(?s:.*)r1# $")
        assert "Integrated configuration saved" in await vtysh_command(first, "write memory")
    await lab.stop(one)
    await start(lab, one)
    async with vtysh(lab, one) as first:
        await shows(first, "show ip ospf neighbor", "Full/")
        await shows(first, "show ip route ospf", "10.255.0.2/32")


async def test_the_kernel_argument_chooses_the_daemons_and_the_machine_forwards(
    lab: Lab, routers: tuple[Node, Node]
) -> None:
    one, other = routers
    async with vtysh(lab, one) as first, vtysh(lab, other) as second:
        assert (await vtysh_command(first, "show daemons")).split() == ["zebra", "ospfd", "watchfrr", "staticd"]
        assert {"bgpd", "ospfd", "ospf6d"} <= set((await vtysh_command(second, "show daemons")).split())
        for client in (first, second):
            client.send("exit\n")
            await client.wait_for_shell()
            assert (
                await client.run("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding") == "1\n1\n"
            )
            # From the module disk.
            await client.run("ip link add red type vrf table 10 && ip link delete red")
            assert int(await client.run("cat /proc/sys/net/mpls/platform_labels")) > 0
            client.send("exit\n")


async def configure_ospf(client: Console, device: str, number: int) -> None:
    await vtysh_command(
        client,
        "configure terminal",
        "router ospf",
        "exit",
        f"interface {device}",
        f"ip address 10.0.12.{number}/24",
        # Without the wait for the election of a designated router.
        "ip ospf network point-to-point",
        # Without KVM on a busy machine, guests' clocks differ by factors; many hellos fit into this.
        "ip ospf hello-interval 1",
        "ip ospf dead-interval 120",
        "ip ospf area 0",
        "interface lo",
        f"ip address 10.255.0.{number}/32",
        "ip ospf area 0",
        "end",
    )


async def shows(client: Console, command: str, wanted: str, limit_s: float = 300) -> None:
    deadline = time.monotonic() + limit_s
    while wanted not in (shown := await vtysh_command(client, command)):
        assert time.monotonic() < deadline, f"{command!r} still shows:\n{shown}"
        await asyncio.sleep(1)
