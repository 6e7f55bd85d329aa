"""services-minivm and traffic-minivm in one lab on a real GNS3 server: one serves a client, two make traffic."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gns3_minivm.gns3.model import Node
from tests.support.appliances import add_node, appliance_lab, connect, eventually, shell, start
from tests.support.gns3 import GNS3Process
from tests.support.lab import Lab
from tests.support.tools import require_tool

pytestmark = pytest.mark.long

SERVER = "10.5.0.1"
# Asks an NTP server as of RFC 5905 for the time, and prints the stratum that it has.
NTP_QUESTION = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20);"
    f" s.sendto(b'\\x23' + bytes(47), ('{SERVER}', 123)); print('stratum', s.recv(48)[1])"
)


@dataclass
class ServicesLab:
    """The client's eth0 leads to the services, its eth1 to the peer's."""

    lab: Lab
    services: Node
    client: Node
    peer: Node


@pytest.fixture(scope="module")
async def served(gns3_v3: GNS3Process, docker_host: str) -> AsyncIterator[ServicesLab]:
    require_tool("qemu-system-x86_64")
    words = f"ip.eth0={SERVER}/24 DOMAIN=lab.test DNS_HOSTS=www-10.5.0.80 DHCP_LEASE=1h"
    async with appliance_lab(gns3_v3, docker_host, "services-minivm", "traffic-minivm") as lab:
        services = await add_node(lab, "services-minivm", "server", words)
        client = await add_node(lab, "traffic-minivm", "client", "ip.eth1=10.6.0.1/24")
        peer = await add_node(lab, "traffic-minivm", "peer", "ip.eth1=10.6.0.2/24")
        await connect(lab, services, 0, client, 0)
        await connect(lab, client, 1, peer, 1)
        await start(lab, services, client, peer)
        yield ServicesLab(lab, services, client, peer)


async def test_a_client_gets_a_lease_names_files_the_time_and_a_place_for_its_logs(served: ServicesLab) -> None:
    lab = served.lab
    async with shell(lab, served.services) as server, shell(lab, served.client) as client:
        status = await server.run("services")
        assert re.findall(r"^(\w+) +running", status, re.MULTILINE) == ["dhcp", "dns", "tftp", "http", "ntp", "syslog"]
        await eventually(client, "dhclient -1 eth0")
        address = (await client.run("ip -4 -o address show dev eth0")).split()[3]
        assert address.endswith("/24") and 128 <= int(address.split("/")[0].rpartition(".")[2]) <= 254
        assert SERVER in await client.run("ip route show default")
        resolver = await client.run("cat /etc/resolv.conf")
        assert f"nameserver {SERVER}" in resolver and "lab.test" in resolver
        # A name that was set, the server's own, and the one that the client got by asking for a lease.
        for name, wanted in (("www", "10.5.0.80"), ("server", SERVER), ("client", address.split("/")[0])):
            await eventually(client, f"host {name}.lab.test | grep -q 'has address {wanted}$'")
        await eventually(client, "host nothing.lab.test | grep -q 'not found: 3(NXDOMAIN)'")
        assert "The files of /srv/www." in await client.run(f"curl -s http://{SERVER}/")
        assert "README" in await client.run(f"curl -s http://{SERVER}/files/")
        assert "The files of /srv/tftp." in await client.run(f"curl -s tftp://{SERVER}/README")
        await eventually(client, f'python3 -c "{NTP_QUESTION}" | grep -E "stratum [1-9]"')
        for transport in ("udp", "tcp"):
            await client.run(f"logger -n {SERVER} --{transport} -P 514 --rfc3164 by-{transport}")
            await eventually(server, f"grep -q by-{transport} /var/log/lab/client.log")
        assert "client" in await server.run("services leases")


async def test_settings_of_the_kernel_command_line_are_told_when_they_are_wrong_and_services_can_be_left_out(
    served: ServicesLab,
) -> None:
    async with shell(served.lab, served.services) as server:
        _, output = await server.run_unchecked("SERVICES=dhcp,ftp DHCP_RANGE=10.5.0.50-10.5.0.60 services restart")
        assert "pgrep" not in output
        assert "there is no service ftp; there are: dhcp dns tftp http ntp syslog" in output
        assert re.findall(r"^(\w+) +(running|off)", output, re.MULTILINE) == [
            ("dhcp", "running"),
            *((name, "off") for name in ("dns", "tftp", "http", "ntp", "syslog")),
        ]
        assert "10.5.0.50,10.5.0.60,1h" in output
        await server.run("services restart")


async def test_traffic_is_made_measured_and_seen(served: ServicesLab) -> None:
    lab = served.lab
    async with shell(lab, served.client) as client, shell(lab, served.peer) as peer:
        await eventually(client, "ping -c 1 -W 5 10.6.0.2")
        await peer.run(
            "iperf3 -s -D && (tcpdump -Uni eth1 -c 20 -w /root/seen.pcap tcp port 5201 2>/root/tcpdump.log &)"
        )
        await eventually(peer, "grep -q listening /root/tcpdump.log")
        await eventually(client, "iperf3 -c 10.6.0.2 -n 200K --connect-timeout 20000 | grep receiver")
        await eventually(peer, "test $(tcpdump -nr /root/seen.pcap 2>/dev/null | grep -c 5201) = 20")
        # Answers that come late are none for a scanner.
        await eventually(
            client,
            "nmap -n -Pn -p 5201,5202 10.6.0.2 >/root/scan;"
            " grep -q '5201/tcp *open' /root/scan && grep -q '5202/tcp *closed' /root/scan",
        )
        await eventually(client, "mtr -n -r -c 2 10.6.0.2 | grep -q '1.|-- 10.6.0.2 '")
        await eventually(client, "hping3 -S -p 5201 -c 2 10.6.0.2 2>&1 | grep -q 'flags=SA'")
        await peer.run("(socat -u TCP-LISTEN:7000,reuseaddr OPEN:/root/relayed,creat &)")
        await eventually(client, "echo through-socat | socat -u - TCP:10.6.0.2:7000")
        await eventually(peer, "grep -q through-socat /root/relayed")
        scapy = "from scapy.all import *; print(sr1(IP(dst='10.6.0.2')/ICMP(), timeout=60, verbose=0).summary())"
        await eventually(client, f'python3 -c "{scapy}" | grep -q echo-reply')
        # From the module disk.
        await client.run("tc qdisc add dev eth1 root netem delay 300ms")
        found = re.search(r"min/avg/max/mdev = ([\d.]+)", await client.run("ping -c 2 -W 20 10.6.0.2"))
        assert found is not None and float(found[1]) >= 290
