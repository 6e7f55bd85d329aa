"""A node with many adapters on real GNS3 servers, which attach them in different ways."""

from __future__ import annotations

import re

import pytest

from tests.support.gns3 import GNS3Process
from tests.support.lab import open_lab
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool


@pytest.mark.either_generation
async def test_sixteen_adapters_are_there_in_the_order_of_gns3(gns3_server: GNS3Process) -> None:
    require_tool("qemu-system-x86_64")
    words = ("busybox-minivm", "--as", "sixteen", "--adapters", "16", "--server", gns3_server.url)
    (await gns3_minivm("register", *words, "--json")).result()
    async with open_lab(gns3_server, "sixteen") as lab:
        node = await lab.add_node("many-ports")
        await lab.start(node)
        async with lab.console(node) as console:
            links = await console.run("ip -o link")
        names = re.findall(r"^\d+: (\w+)", links, re.MULTILINE)
        assert names == ["lo", *(f"eth{number}" for number in range(16))]
        addresses = re.findall(r"link/ether ([0-9a-f:]+)", links)
        assert addresses == [port.mac_address for port in node.ports]
        await lab.stop(node)
