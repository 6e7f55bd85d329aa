"""Odd values anywhere in a lab file or topology: a lab, or a mistake told with its place; nothing else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.labs.containerlab.read import read_lab_or_topology
from gns3_minivm.labs.containerlab.variables import put_in
from gns3_minivm.labs.read import payloads

TOPOLOGY = yaml.safe_load(
    """
    name: t
    mgmt: {network: n}
    topology:
      defaults: {kind: linux, image: i, env: {A: 1}, dns: {servers: [1.1.1.1], search: [x]}}
      kinds: {linux: {group: g, cmd: sh}}
      groups: {g: {exec: ["echo x"], labels: {graph-posX: "5", graph-posY: 6}}}
      nodes:
        a: {binds: ["/etc/hostname:/x:ro", /var], memory: 1gb, cpu: 2.5, sysctls: {net.x: 1}, user: 0, ports: ["1:1"]}
        b: {network-mode: none, env-files: [], entrypoint: "/a 'b c'"}
        br: {kind: bridge}
        h: {kind: host}
      links:
        - {endpoints: ["a:eth1", "br:x"], mtu: 1500, vars: {a: b}}
        - type: veth
          endpoints: [{node: a, interface: lan, mac: "02:00:00:00:00:01"},
                   {node: b, interface: eth2, ipv4: 10.0.0.1/24}]
        - {type: dummy, endpoint: {node: b, interface: eth3}}
        - {endpoints: ["a:eth5", "host:y"]}
    """
)
LAB = yaml.safe_load(
    """
    name: t
    nodes:
      a: {appliance: x, ram: 64, interfaces: {eth0: 10.0.0.1/24}, files: {/a: b}, position: [1, 2], label: {y: 3}}
      b: {template: Ethernet switch, properties: {ports_mapping: []}, start: false}
    links: [[a:eth0, b], {ends: [a:eth1, b:e1], filters: {delay: [1, 2]}, style: {color: "#ffffff"}}]
    drawings: [{text: x, position: [0, 0], size: 9}]
    tests: [{node: a, ping: b, within: 1}, {node: a, exec: [ls], matches: x, status: 1}]
    """
)
ODD: list[Any] = [None, True, -1, 0, 1 << 70, 1.5, float("inf"), float("nan"), "", "x", ":", "a:", "${",
                  "9" * 400 + "gb", "'", [], {}, [[]], ["x"], {"a": 1}, {1: 2}, {None: None}, "\x00",
                  "../../etc/passwd", "/", "host:x", "a:eth1"]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [at, *(place for key in keys for place in places(value[key], (*at, key)))]


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    changed = json.loads(json.dumps(value))
    inner = changed
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return changed


CASES = [("t.clab.yml", TOPOLOGY, at) for at in places(TOPOLOGY)] + [("lab.yml", LAB, at) for at in places(LAB)]


@given(st.sampled_from(CASES), st.sampled_from(ODD))
@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
@example(CASES[0], "x")
def test_an_odd_value_is_a_mistake_with_its_place_or_a_lab(case: tuple[str, Any, tuple[Any, ...]], odd: Any) -> None:
    name, document, at = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(yaml.dump(replaced(document, at, odd)))
        try:
            payloads(read_lab_or_topology(path).lab)
        except ConfigError as error:
            assert all(line.startswith(str(path)) for line in error.message.splitlines()), error.message


@given(st.text("${}:=-+aA_1 \n", max_size=30), st.dictionaries(st.sampled_from("aA_"), st.text(max_size=3)))
@settings(deadline=None)
def test_variables_in_any_text_come_to_an_end(text: str, environment: dict[str, str]) -> None:
    done = put_in(text, environment)
    if "$" not in text:
        assert done == text
