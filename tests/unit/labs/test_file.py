"""A lab file: what it becomes, and how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.guest.payload import GuestFile
from gns3_minivm.labs.canvas.drawings import desired_drawings
from gns3_minivm.labs.model import LabEnd, Position
from gns3_minivm.labs.read import payloads, read_lab

FULL = """
name: two-routers
compute: local
nodes:
  r1:
    appliance: frr-minivm
    env: {DAEMONS: ospfd}
    interfaces: {eth0: 10.0.12.1/30, eth1: [10.0.1.1/24, "fd00::1/64"]}
    files: {/etc/frr/frr.conf: {source: frr.conf, owner: "frr:frr", mode: "640"}}
    position: [10, -20]
    label: {x: 5, y: -40}
  h1: {image: "docker://debian:bookworm-slim", ram: 128, interfaces: {eth3: dhcp}, start: false}
  sw: {template: Ethernet switch, properties: {ports_mapping: []}, symbol: ":/symbols/cloud.svg"}
links:
  - [r1:eth0, "sw: Ethernet1"]
  - {ends: [r1:eth1, h1:eth0], filters: {delay: [10, 2], packet_loss: 0}, style: {color: "#ff0000", type: dashed}}
  - [h1:eth1, sw]
drawings:
  - {text: "<Area> 0", position: {x: 0, y: 1}, size: 20}
  - {rectangle: [100, 50], position: [0, 0], layer: -1}
tests:
  - {node: r1, ping: 10.0.12.2}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "lab.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_a_lab(tmp_path: Path) -> None:
    (tmp_path / "frr.conf").write_bytes(b"router ospf\n")
    lab = read_lab(written(tmp_path, FULL))
    assert (lab.name, list(lab.nodes), lab.compute_of("h1")) == ("two-routers", ["r1", "h1", "sw"], "local")
    assert lab.nodes["r1"].position == Position(x=10, y=-20)
    assert [node.source for node in lab.nodes.values()] == ["frr-minivm", "docker://debian:bookworm-slim", ""]
    assert lab.links[0].ends == [LabEnd(node="r1", interface="eth0"), LabEnd(node="sw", interface="Ethernet1")]
    assert lab.links[2].ends[1].interface is None
    filters, style = lab.links[1].filters, lab.links[1].style
    assert filters is not None and filters.as_gns3() == {"delay": [10, 2]}
    assert style is not None and style.as_gns3() == {"color": "#ff0000", "type": 2}
    assert [lab.adapters_needed(name) for name in lab.nodes] == [2, 4, 0]
    found = payloads(lab)
    assert set(found) == {"r1", "h1"}
    assert found["r1"].files == (
        GuestFile(path="/etc/frr/frr.conf", content=b"router ospf\n", owner="frr:frr", mode=0o640),
    )
    text, box = desired_drawings(lab)
    assert "&lt;Area&gt; 0" in text.svg and box.z == -1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nnodes: {r1: {appliance: x, colour: red}}", ":2:28: unknown key 'nodes.r1.colour'"),
        ("name: a\nnodes:\n  r1: {appliance: x}\n  r1: {appliance: y}", ":4:3: the key 'nodes.r1' appears twice"),
        ("nodes: {r1: {appliance: x}}", ":1:1: the key 'name' is missing"),
        ("name: a\nnodes: {}", ":2:1: nodes: should not be empty"),
        ("name: a\nnodes: {r1: {}}", ":2:9: nodes.r1: exactly one of appliance, image and template is needed"),
        ("name: a\nnodes:\n  r1: {appliance: x, image: y}", ":3:3: nodes.r1: exactly one of"),
        ("name: a\nnodes: {r_1: {appliance: x}}", ":2:9: nodes.r_1: String should match pattern"),
        ('name: a\nnodes: {"12": {appliance: x}}', ":2:9: nodes.12: should contain a letter"),
        (
            "name: a\nnodes:\n  r1:\n    image: x\n    interfaces:\n      eth0: 10.0.0.1/33",
            ":6:7: nodes.r1.interfaces.eth0",
        ),
        ("name: a\nnodes: {r1: {appliance: x, properties: {ram: 1}}}", "properties are allowed with template only"),
        ("name: a\nnodes: {r1: {appliance: x, kernel_args: 'a=\"b'}}", "a quotation mark is not closed"),
        ("name: a\nnodes: {r1: {appliance: x, ram: 2}}", ":2:28: nodes.r1.ram: Input should be greater than or equal"),
        (
            "name: a\nnodes: {a: {appliance: x}}\nlinks: [[a:eth0]]",
            ":3:9: links.0.ends: List should have at least 2 items",
        ),
        ("name: a\nnodes: {a: {appliance: x}}\nlinks: [[a:eth0, b:eth0]]", ":3:18: there is no node named 'b'"),
        ("name: a\nnodes: {a: {appliance: x}}\nlinks:\n  - [a:eth0, a:eth1]", "connects a node with itself"),
        (
            "name: a\nnodes: {a: {image: x}, b: {image: x}}\nlinks:\n  - [a:eth0, b:eth0]\n  - [b:eth1, a:eth0]",
            ":5:14: the interface a:eth0 is used twice (first in line 4)",
        ),
        (
            "name: a\nnodes: {a: {appliance: x}, b: {appliance: x}}\nlinks:\n  - [a:ens3, b:eth0]",
            ":4:6: 'a:ens3' does not name an interface of a MiniVM",
        ),
        ("name: a\nnodes: {a: {appliance: x}, s: {template: y}}\nlinks:\n  - [a, s]", "'a' does not name an interface"),
        ("name: a\nnodes: {t: {template: x}, s: {template: y}}\nlinks:\n  - [t, s]", "does not name an interface"),
        (
            "name: a\nnodes: {a: {appliance: x, adapters: 1}, b: {appliance: x}}\nlinks:\n  - [a:eth1, b:eth0]",
            ":2:27: node a has 1 adapter, but eth1 is used",
        ),
        ("name: a\nnodes: {a: {appliance: x}}\ntests: [{node: b, ping: 1.1.1.1}]", ":3:10: there is no node named 'b'"),
        ("name: a\nnodes: {a: {appliance: x}}\ntests: [{node: a}]", "exactly one of ping and exec is needed"),
        ("name: a\nnodes: {a: {appliance: x}}\npath: x", ":3:1: unknown key 'path'"),
        ("name: a\nnodes: {a: {appliance: x}}\ndrawings: [{position: [0, 0]}]", "exactly one of text, rectangle"),
        ("name: a/b\nnodes: {a: {appliance: x}}", ":1:1: name: String should match pattern"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_lab(path)
    assert said in caught.value.message and str(path) in caught.value.message


def test_a_source_that_is_not_there_is_told_with_its_node(tmp_path: Path) -> None:
    lab = read_lab(written(tmp_path, "name: a\nnodes: {r1: {appliance: x, files: {/etc/x: {source: gone}}}}"))
    with pytest.raises(ConfigError, match=r"lab\.yml:2:\d+: node r1: .*gone"):
        payloads(lab)


@pytest.mark.parametrize(
    ("svg", "said"),
    [
        ("<svg", "not an SVG"),
        ("<html></html>", "not an SVG"),
        ('<svg><image href="data:x"/></svg>', "its only element"),
    ],
)
def test_a_drawing_that_a_server_would_not_keep_is_refused(tmp_path: Path, svg: str, said: str) -> None:
    text = f"name: a\nnodes: {{r1: {{appliance: x}}}}\ndrawings: [{{svg: '{svg}', position: [0, 0]}}]"
    with pytest.raises(ConfigError, match=rf"drawing 1: .*{said}"):
        desired_drawings(read_lab(written(tmp_path, text)))
