"""network-automation-minivm on a real GNS3 server: its tools reach a device whose ssh knows only old algorithms."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import docker
import pytest

from gns3_minivm.gns3.model import Node
from tests.support.appliances import add_node, appliance_lab, connect, eventually, register, shell, start
from tests.support.gns3 import GNS3Process
from tests.support.lab import Lab
from tests.support.tools import require_tool

pytestmark = pytest.mark.long

OLD_DEVICE = "gns3-minivm-test-old-device"
DEVICE = "10.9.0.2"
DOCKERFILE = b"""\
FROM debian:bookworm-slim
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends install openssh-server \
 && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_*
RUN ssh-keygen -q -t rsa -b 1024 -N "" -f /etc/ssh/old_key \
 && mkdir -p /run/sshd \
 && echo root:lab | chpasswd \
 && printf "%s\\n" \
        "HostKey /etc/ssh/old_key" "RequiredRSASize 1024" "HostKeyAlgorithms ssh-rsa" \
        "KexAlgorithms diffie-hellman-group1-sha1" "Ciphers aes128-cbc" "MACs hmac-sha1" \
        "PermitRootLogin yes" "UsePAM no" "Subsystem sftp internal-sftp" >/etc/ssh/sshd_config
CMD ["sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e"]
"""
NETMIKO = f"""\
import netmiko
with netmiko.ConnectHandler(device_type='linux', host='{DEVICE}', username='root', password='lab', conn_timeout=120,
                            auth_timeout=120, banner_timeout=120, read_timeout_override=120) as device:
    print('netmiko:', device.send_command('uname -n').strip())
"""
NAPALM = "import napalm, pyntc; print('napalm:', napalm.get_network_driver('ios').__name__, 'pyntc:', pyntc.__name__)"


@pytest.fixture(scope="module")
async def lab(gns3_v2: GNS3Process, docker_host: str) -> AsyncIterator[Lab]:
    require_tool("qemu-system-x86_64")
    client = docker.DockerClient(base_url=docker_host, timeout=600)
    try:
        client.images.build(fileobj=io.BytesIO(DOCKERFILE), tag=OLD_DEVICE, network_mode="host", rm=True)
    finally:
        client.close()
    await register(gns3_v2, docker_host, OLD_DEVICE)
    async with appliance_lab(gns3_v2, docker_host, "network-automation-minivm") as lab:
        yield lab


@pytest.fixture(scope="module")
async def automation(lab: Lab) -> AsyncIterator[Node]:
    """A running node with an old device beside it."""
    node = await add_node(lab, "network-automation-minivm", "automation", "ip.eth0=10.9.0.1/24")
    device = await add_node(lab, OLD_DEVICE, "old-device", f"ip.eth0={DEVICE}/24")
    await connect(lab, node, 0, device, 0)
    await start(lab, node, device)
    yield node


async def test_its_tools_reach_an_old_device(lab: Lab, automation: Node) -> None:
    async with shell(lab, automation) as console:
        await eventually(console, f"ping -c 1 -W 5 {DEVICE}")
        ssh = f"sshpass -p lab ssh -o ConnectTimeout=120 -o StrictHostKeyChecking=no root@{DEVICE} uname -n"
        await eventually(console, f"{ssh} | grep -qx old-device")
        # It is the settings of the appliance that make this work.
        status, output = await console.run_unchecked(ssh.replace("ssh -o", "ssh -F /dev/null -o", 1))
        assert status == 255 and "no matching key exchange method found" in output
        assert "netmiko: old-device" in await run_python(lab, automation, NETMIKO)
        assert "napalm: IOSDriver pyntc: pyntc" in await run_python(lab, automation, NAPALM)
        ansible = (
            f"ansible all -i {DEVICE}, -u root -e ansible_password=lab -T 120 -m ansible.builtin.raw -a 'uname -n'"
        )
        said = await console.run(ansible)
        assert "old-device" in said and "CHANGED" in said
        await console.run("ansible-doc cisco.ios.ios_config | grep -q running-config")


async def run_python(lab: Lab, node: Node, program: str) -> str:
    """Run a program with the appliance's Python; it is typed as a file, as a user would."""
    async with shell(lab, node) as console:
        lines = "".join(f"echo {shell_word(line)} >>/root/program.py; " for line in program.splitlines())
        await console.run(f": >/root/program.py; {lines} true")
        return await console.run("python3 /root/program.py 2>&1")


def shell_word(line: str) -> str:
    return '"' + line.replace('"', '\\"') + '"'
