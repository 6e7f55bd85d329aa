"""Labs that run, on real servers of both generations: made by the command, used, changed, stopped and started again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.gns3 import GNS3Process
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool

LIMIT = ("--timeout", "900")


@dataclass
class RunningLab:
    """A lab file and its server; ``text`` is written before each command that reads it."""

    path: Path
    url: str
    environment: dict[str, str]
    options: tuple[str, ...] = ()

    async def up(self, text: str = "", *words: str) -> dict[str, Any]:
        if text:
            self.path.write_text(text)
        command = ("lab", "up", str(self.path), "--server", self.url, "--json", *LIMIT, *self.options, *words)
        return (await gns3_minivm(*command, environment=self.environment, timeout_s=3600)).result()

    async def does(self, name: str, *words: str) -> dict[str, Any]:
        return (await gns3_minivm("lab", name, str(self.path), "--server", self.url, "--json", *words)).result()

    async def run(self, node: str, command: str) -> str:
        """What a shell command in a node prints; it has to succeed."""
        words = ("lab", "exec", "--lab", str(self.path), "--server", self.url, "--wait", "300", node, "--")
        done = await gns3_minivm(*words, "sh", "-c", command)
        assert done.status == 0, f"{node}: {command}: ended with {done.status}\n{done.out}\n{done.err}"
        return done.out

    async def boots(self, *nodes: str) -> dict[str, str]:
        """An identity of each node's present boot."""
        return {node: await self.run(node, "cat /proc/sys/kernel/random/boot_id") for node in nodes}


@pytest.fixture
async def lab(gns3_server: GNS3Process, tmp_path: Path, docker_host: str) -> AsyncIterator[RunningLab]:
    require_tool("qemu-system-x86_64")
    made = RunningLab(tmp_path / "lab.yml", gns3_server.url, {"DOCKER_HOST": docker_host}, ("--build-network", "host"))
    yield made
    await gns3_minivm("lab", "destroy", str(made.path), "--server", made.url, "--yes")


NEIGHBOURS = """
name: neighbours
nodes:
  left: {appliance: busybox-minivm, interfaces: {eth0: 192.0.2.1/24}}
  right:
    appliance: busybox-minivm
    interfaces: {eth0: 192.0.2.2/24}
    files: {/etc/motd: "hello\\n"}
  sw: {template: Ethernet switch}
links:
  - [left:eth0, sw]
  - [right:eth0, sw:Ethernet5]
"""


@pytest.mark.long
async def test_a_lab_runs_and_only_a_changed_node_is_restarted(lab: RunningLab) -> None:
    first = await lab.up(NEIGHBOURS)
    rows = {row["name"]: row for row in first["nodes"]}
    assert {name: row["state"] for name, row in rows.items()} == {"left": "ready", "right": "ready", "sw": "started"}
    assert rows["left"]["console"].startswith("telnet://127.0.0.1:")
    await lab.run("left", "for i in 1 2 3 4 5; do ping -c 1 -W 1 192.0.2.2 && exit; done; exit 1")
    before = await lab.boots("left", "right")
    again = await lab.up(NEIGHBOURS.replace("hello", "good morning").replace("192.0.2.2/24", "192.0.2.3/24"))
    assert [(item["node"], item["restart"]) for item in again["changes"]["nodes"]] == [("right", True)]
    assert again["changes"]["links"] == []
    after = await lab.boots("left", "right")
    assert after["left"] == before["left"] and after["right"] != before["right"]
    assert await lab.run("right", "cat /etc/motd") == "good morning\n"
    await lab.run("left", "for i in 1 2 3 4 5; do ping -c 1 -W 1 192.0.2.3 && exit; done; exit 1")
    nothing = await lab.up()
    assert nothing["changes"]["nodes"] == [] and nothing["changes"]["links"] == []
    stopped = await lab.does("down")
    assert [row["state"] for row in stopped["nodes"]] == ["stopped", "stopped", "started"]
    waited = await gns3_minivm("lab", "wait", str(lab.path), "--server", lab.url, "--json")
    errors = json.loads(waited.out.splitlines()[-1])["errors"]
    assert waited.status != 0 and set(errors) == {"node left", "node right"}
    assert [item["node"] for item in (await lab.up())["changes"]["nodes"]] == ["left", "right"]
    ready = await lab.does("wait")
    assert [row["state"] for row in ready["nodes"]][:2] == ["ready", "ready"]


# Without KVM on a busy machine the kernel measures its clock wrongly, and OSPF's intervals would be that much shorter.
SLOW_MACHINE = "tsc=unstable"


def router(number: int, interfaces: dict[str, str]) -> str:
    addresses = ", ".join(f"{name}: {address}" for name, address in interfaces.items())
    return f"""
  r{number}:
    appliance: frr-minivm
    kernel_args: {SLOW_MACHINE}
    env: {{DAEMONS: ospf}}
    interfaces: {{{addresses}}}
    files:
      /etc/frr/frr.conf:
        owner: frr:frr
        mode: "640"
        content: |
          frr defaults traditional
          router ospf
           ospf router-id 10.255.0.{number}
           network 10.0.0.0/8 area 0
           timers throttle spf 10 100 1000"""


def host(number: int) -> str:
    return f"""
  h{number}:
    appliance: busybox-minivm
    interfaces: {{eth0: {{address: 10.0.{number}.10/24, gateway: 10.0.{number}.1}}}}"""


ROUTERS = (
    "name: three-routers\nnodes:"
    + router(1, {"eth0": "10.0.1.1/24", "eth1": "10.1.12.1/30", "eth2": "10.1.13.1/30"})
    + router(2, {"eth0": "10.0.2.1/24", "eth1": "10.1.12.2/30", "eth2": "10.1.23.1/30"})
    + router(3, {"eth1": "10.1.13.2/30", "eth2": "10.1.23.2/30"})
    + host(1)
    + host(2)
    + """
links:
  - [h1:eth0, r1:eth0]
  - [h2:eth0, r2:eth0]
  - [r1:eth1, r2:eth1]
  - [r1:eth2, r3:eth1]
  - [r2:eth2, r3:eth2]
"""
)
REACHES = "for i in $(seq 120); do ping -c 1 -W 2 10.0.2.10 && exit; sleep 1; done; exit 1"


@pytest.mark.long
async def test_three_routers_with_ospf_carry_a_ping_from_end_to_end_and_around_a_broken_link(lab: RunningLab) -> None:
    report = await lab.up(ROUTERS)
    assert {row["state"] for row in report["nodes"]} == {"ready"}
    await lab.run("h1", REACHES)
    routes = await lab.run("r1", "vtysh -c 'show ip route ospf'")
    assert "10.0.2.0/24" in routes and "via 10.1.12.2" in routes
    before = await lab.boots("r1", "r2", "r3")
    # Without the direct link the way leads over the third router; nobody is restarted for it.
    cut = await lab.up(ROUTERS.replace("  - [r1:eth1, r2:eth1]\n", ""))
    assert cut["changes"]["nodes"] == [] and [item["verb"] for item in cut["changes"]["links"]] == ["delete"]
    await lab.run(
        "r1", "for i in $(seq 180); do ip route get 10.0.2.10 | grep -q 10.1.13.2 && exit; sleep 1; done; exit 1"
    )
    await lab.run("h1", REACHES)
    assert await lab.boots("r1", "r2", "r3") == before
    # One node is changed: it alone starts again, and the routes come back.
    changed = ROUTERS.replace("ospf router-id 10.255.0.3", "ospf router-id 10.255.0.33")
    again = await lab.up(changed)
    assert [item["node"] for item in again["changes"]["nodes"]] == ["r3"]
    after = await lab.boots("r1", "r2", "r3")
    assert [after[name] == before[name] for name in ("r1", "r2", "r3")] == [True, True, False]
    await lab.run("h1", REACHES)
    assert "10.255.0.33" in await lab.run("r3", "vtysh -c 'show ip ospf'")
