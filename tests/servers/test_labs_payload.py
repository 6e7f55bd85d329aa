"""A node's payload on real GNS3 servers: put into its directory, named in its options, found by the guest."""

from __future__ import annotations

import hashlib
import random

import pytest

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.guest.contract import qemu_options
from gns3_minivm.guest.payload import NODE_FILE_NAME, GuestCommand, GuestFile, NodePayload, qemu_option
from tests.support.gns3 import GNS3Process
from tests.support.lab import Lab, open_lab
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool

pytestmark = pytest.mark.either_generation

# Far more than a command line holds, and more than a megabyte.
BINARY = random.Random(2).randbytes(1_500_000)


async def hand_over(lab: Lab, node_id: str, payload: NodePayload) -> None:
    await lab.server.write_node_file(lab.project_id, node_id, NODE_FILE_NAME, payload.encode())


async def test_a_node_boots_with_the_payload_in_its_directory(gns3_server: GNS3Process) -> None:
    require_tool("qemu-system-x86_64")
    (await gns3_minivm("register", "busybox-minivm", "--server", gns3_server.url, "--json")).result()
    payload = NodePayload(
        hostname="its-own",
        env={"ROLE": "router"},
        addresses={"eth0": ("192.0.2.1/24",), "eth1": ("2001:db8::1/64",)},
        files=(GuestFile(path="/srv/binary", content=BINARY, owner="nobody", mode=0o600),),
        commands=(GuestCommand("echo $ROLE >/root/role"),),
    )
    async with open_lab(gns3_server, "busybox-minivm") as lab:
        node = await lab.add_node("given-name")
        await hand_over(lab, node.node_id, payload)
        options = f"{qemu_options(X86_64)} {qemu_option()}"
        await lab.server.update_node(lab.project_id, node.node_id, properties={"options": options})
        await lab.start(node)
        async with lab.console(node) as console:
            shown = await console.run("hostname; cat /root/role; md5sum </srv/binary; stat -c %a /srv/binary")
            assert shown.split() == ["its-own", "router", hashlib.md5(BINARY).hexdigest(), "-", "600"]
            addresses = await console.run("ip addr")
            assert "192.0.2.1/24" in addresses and "2001:db8::1/64" in addresses
        await lab.stop(node)
        # Another payload counts from the next start on.
        await hand_over(lab, node.node_id, NodePayload(addresses={"eth1": ("198.51.100.1/24",)}))
        await lab.start(node)
        async with lab.console(node) as console:
            assert (await console.run("hostname")).split() == ["given-name"]
            addresses = await console.run("ip addr")
            assert "198.51.100.1/24" in addresses and "192.0.2.1/24" not in addresses
        await lab.stop(node)
