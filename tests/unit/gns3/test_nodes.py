"""What a server says of a node that dies while it is started, in our words."""

from __future__ import annotations

import re

import pytest

from gns3_minivm.base.errors import NodeError
from gns3_minivm.gns3 import nodes
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from tests.support.fake_gns3 import fake_gns3, reply, text

NODE = {"project_id": "p", "node_id": "n", "name": "r1", "node_type": "qemu"}
STARTED, STOPPED = reply(NODE | {"status": "started"}), reply(NODE | {"status": "stopped"})
CONSOLE = "Could not start Telnet QEMU console [Errno 111] Connect call failed"


@pytest.mark.parametrize("said", [CONSOLE, "Not connected"])
async def test_a_node_that_ends_while_it_is_wired_is_told_with_qemus_words(said: str) -> None:
    async with fake_gns3() as fake, await connect(parse_address(fake.url, username="u", password="p")) as client:
        fake.on("POST /v3/projects/p/nodes/n/start", reply({"message": said}, 409))
        # The server notices a moment after its answer.
        fake.on("GET /v3/projects/p/nodes/n", STARTED, STOPPED)
        fake.on("GET /v3/projects/p/nodes/n/files/qemu.log", text("qemu: no such option\n"))
        with pytest.raises(NodeError, match=r"(?s)'r1' was started but is already stopped.*no such option"):
            await client.start_node("p", "n")


async def test_a_node_that_runs_without_its_console_is_told_in_the_servers_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "_NOTICED_S", 0.1)
    async with fake_gns3() as fake, await connect(parse_address(fake.url, username="u", password="p")) as client:
        fake.on("POST /v3/projects/p/nodes/n/start", reply({"message": CONSOLE}, 409))
        fake.on("GET /v3/projects/p/nodes/n", STARTED)
        with pytest.raises(NodeError, match=re.escape(CONSOLE)):
            await client.start_node("p", "n")
