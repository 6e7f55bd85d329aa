"""A containerlab topology as it is, on real servers with guests: an engine's image, a bridge, exec and binds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.gns3 import GNS3Process
from tests.support.minivm import Finished, gns3_minivm
from tests.support.tools import require_tool

TOPOLOGY = """
name: clab-demo
topology:
  defaults:
    kind: linux
    image: ${BASE_IMAGE:=debian:bookworm-slim}
    env: {ROLE: host, GREETING: "${GREETING:-hello}"}
    cmd: sleep infinity
  nodes:
    h_1:
      binds: [files:/etc/demo:ro]
      exec:
        - sh -c 'echo "$$GREETING from $$ROLE" > /run/greeting'
      memory: 200MiB
    h2:
      env: {ROLE: server}
      ports: ["8080:80"]
    br0: {kind: bridge}
  links:
    - type: veth
      mtu: 1400
      endpoints:
        - {node: h_1, interface: eth1, ipv4: 10.1.0.1/24}
        - {node: br0, interface: port1}
    - type: veth
      endpoints:
        - {node: h2, interface: uplink, mac: "02:00:00:00:00:42", ipv4: 10.1.0.2/24}
        - {node: br0, interface: port2}
"""
BUSYBOX = "/run/minivm/bin/busybox"


@pytest.mark.parametrize("generation", [pytest.param("v2", marks=pytest.mark.long), "v3"])
async def test_a_topology_runs_as_it_is_and_what_cannot_be_honoured_is_listed_first(
    request: pytest.FixtureRequest, generation: str, docker_host: str, tmp_path: Path
) -> None:
    require_tool("qemu-system-x86_64")
    server: GNS3Process = request.getfixturevalue(f"gns3_{generation}")
    topology = tmp_path / "demo.clab.yml"
    topology.write_text(TOPOLOGY)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.conf").write_text("a setting\n")
    environment = {"DOCKER_HOST": docker_host, "GREETING": "good morning"}

    async def lab(name: str, *words: str) -> Finished:
        return await gns3_minivm("lab", name, *words, "--server", server.url, environment=environment)

    async def guest(node: str, *words: str) -> str:
        options = ("--lab", str(topology), "--server", server.url, node, "--", *words)
        done = await gns3_minivm("lab", "exec", *options, environment=environment)
        assert done.status == 0, done.err
        return done.out

    dry = await lab("up", str(topology), "--dry-run")
    assert re.search(r"demo\.clab\.yml:17:7: nodes\.h2\.ports: ", dry.out + dry.err), dry.out + dry.err
    try:
        up = (await lab("up", str(topology), "--json")).result()
        states = {node["name"]: node["state"] for node in up["nodes"]}
        # A switch is always on, and its console is not waited for.
        assert states == {"h-1": "ready", "h2": "ready", "br0": "started"}
        assert [line.partition(": ")[2] for line in up["unheeded"]] == [
            "nodes.h2.ports: a VM has no ports on the host: link it with a cloud or NAT node in GNS3",
            "node h_1 is called h-1: GNS3 accepts host names only",
            "eth0 has no link: there is no management network (h_1, h2)",
        ]
        assert await guest("h_1", "cat", "/run/greeting", "/etc/demo/a.conf") == "good morning from host\na setting\n"
        assert "mtu 1400" in await guest("h_1", BUSYBOX, "ip", "link", "show", "eth1")
        uplink = await guest("h2", BUSYBOX, "ip", "address", "show", "uplink")
        assert "02:00:00:00:00:42" in uplink and "10.1.0.2/24" in uplink
        assert await guest("h2", "sh", "-c", "echo $ROLE $CLAB_LABEL_CLAB_NODE_NAME") == "server h2\n"
        await guest("h_1", BUSYBOX, "ping", "-c", "3", "-w", "30", "10.1.0.2")
        again = (await lab("up", str(topology), "--dry-run", "--json")).result()
        assert (again["changes"]["nodes"], again["changes"]["links"]) == ([], [])
    finally:
        await lab("destroy", str(topology), "--yes")
