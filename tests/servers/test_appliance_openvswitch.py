"""openvswitch-minivm between hosts on a real GNS3 server: forwarding, VLANs, bonds, and settings that stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gns3_minivm.gns3.model import Node
from tests.support.appliances import add_node, appliance_lab, connect, eventually, shell, start
from tests.support.gns3 import GNS3Process
from tests.support.lab import Lab
from tests.support.telnet import Console
from tests.support.tools import require_tool

pytestmark = pytest.mark.long

# A guest's second may be a fraction of one, without KVM on a busy machine.
PING = "ping -c 3 -W 10 {}"
NO_ANSWER = "! ping -c 3 -W 5 {}"


@dataclass
class SwitchLab:
    """Two hosts on the ports 1 and 2 of a switch, and a host on port 1 of another one that is not linked to it yet."""

    lab: Lab
    switch: Node
    other_switch: Node
    hosts: tuple[Node, Node, Node]


@pytest.fixture(scope="module")
async def switched(gns3_v2: GNS3Process, docker_host: str) -> AsyncIterator[SwitchLab]:
    require_tool("qemu-system-x86_64")
    async with appliance_lab(gns3_v2, docker_host, "openvswitch-minivm", "busybox-minivm") as lab:
        switches = [await add_node(lab, "openvswitch-minivm", f"ovs-{number}") for number in (1, 2)]
        hosts = [
            await add_node(lab, "busybox-minivm", f"pc-{number}", f"ip.eth0=192.0.2.{number}/24")
            for number in (1, 2, 3)
        ]
        for host, switch, port in zip(hosts, (*switches[:1], *switches), (1, 2, 1), strict=True):
            await connect(lab, host, 0, switch, port)
        await start(lab, *switches, *hosts)
        yield SwitchLab(lab, switches[0], switches[1], (hosts[0], hosts[1], hosts[2]))


async def test_the_switch_forwards_keeps_vlans_apart_and_keeps_its_configuration(switched: SwitchLab) -> None:
    lab, (pc1, _, _) = switched.lab, switched.hosts
    async with shell(lab, pc1) as host:
        async with shell(lab, switched.switch) as switch:
            ports = (await ask(switch, "list-ports br0")).split()
            assert sorted(ports) == sorted(f"eth{number}" for number in range(1, 16))
            # The kernel's own datapath, from the module disk.
            assert "openvswitch" in await switch.run("cut -d' ' -f1 /proc/modules")
            assert "system@ovs-system" in await switch.run("ovs-appctl dpif/show")
            # With none, nothing is forwarded; so it is when it starts within ten seconds of the monotonic clock.
            assert "handlers:1 " in await switch.run("ovs-appctl memory/show")
            await switch.run("! grep 'n-handler-threads to 0' /var/log/openvswitch/ovs-vswitchd.log")
            await eventually(host, PING.format("192.0.2.2"))
            await switch.run("ovs-vsctl set port eth1 tag=10 && ovs-vsctl set port eth2 tag=20")
            await eventually(host, NO_ANSWER.format("192.0.2.2"))
            await switch.run("ovs-vsctl set port eth2 tag=10")
            await eventually(host, PING.format("192.0.2.2"))
            await switch.run(
                "ovs-vsctl -- --id=@p get port eth15 -- --id=@m create mirror name=m0 select-all=true output-port=@p"
                " -- set bridge br0 mirrors=@m"
            )
            await sees_the_mirror(switched, host)
            await switch.run("ovs-vsctl set port eth2 tag=20 && ovs-vsctl del-port eth7")
            identity = await ask(switch, "get Open_vSwitch . external_ids:system-id")
        await lab.stop(switched.switch)
        await start(lab, switched.switch)
        async with shell(lab, switched.switch) as switch:
            assert await ask(switch, "get Open_vSwitch . external_ids:system-id") == identity
            assert [await ask(switch, f"get port eth{number} tag") for number in (1, 2)] == ["10\n", "20\n"]
            assert "eth7" not in (await ask(switch, "list-ports br0")).split()
            assert (await ask(switch, "get bridge br0 mirrors")).strip() != "[]"
            await eventually(host, NO_ANSWER.format("192.0.2.2"))
            await switch.run("ovs-vsctl clear port eth1 tag && ovs-vsctl clear port eth2 tag")
            await eventually(host, PING.format("192.0.2.2"))


async def test_switches_bond_links_with_lacp_and_carry_vlans_over_them(switched: SwitchLab) -> None:
    lab, (pc1, _, _) = switched.lab, switched.hosts
    async with (
        shell(lab, switched.switch) as one,
        shell(lab, switched.other_switch) as other,
        shell(lab, pc1) as host,
    ):
        await asyncio.gather(*(bond(switch) for switch in (one, other)))
        for adapter in (3, 4):
            await connect(lab, switched.switch, adapter, switched.other_switch, adapter)
        for switch in (one, other):
            await eventually(switch, "test $(ovs-appctl lacp/show bond0 | grep -c 'current attached') = 2")
        await eventually(host, PING.format("192.0.2.3"))
        await other.run("ovs-vsctl set port eth1 tag=11")
        await eventually(host, NO_ANSWER.format("192.0.2.3"))


async def sees_the_mirror(switched: SwitchLab, host: Console) -> None:
    """What hosts of the first switch say to each other arrives at the other end of its port 15."""
    lab = switched.lab
    link_id = await connect(lab, switched.switch, 15, switched.other_switch, 15)
    async with shell(lab, switched.other_switch) as listener:
        await listener.run(
            "(tcpdump -Uni eth15 -c 3 'icmp[icmptype] == icmp-echo' >/root/mirrored 2>/root/tcpdump.log &)"
        )
        await eventually(listener, "grep -q listening /root/tcpdump.log")
        await eventually(host, PING.format("192.0.2.2"))
        await eventually(listener, "grep -c '192.0.2.1 > 192.0.2.2: ICMP echo request' /root/mirrored | grep -qx 3")
    # The other switch would send it back on the links that come next.
    await lab.server.delete_link(lab.project_id, link_id)


async def ask(switch: Console, command: str) -> str:
    """What ovs-vsctl answers, without its remarks on a busy machine's pace."""
    return await switch.run(f"ovs-vsctl {command} 2>/dev/null")


async def bond(switch: Console) -> None:
    await switch.run(
        "ovs-vsctl -- --if-exists del-port eth3 -- --if-exists del-port eth4"
        " -- add-bond br0 bond0 eth3 eth4 lacp=active bond_mode=balance-tcp && ovs-vsctl set port eth1 tag=10"
    )
