"""Which lab is meant, and what the commands for labs do without a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gns3_minivm.base.errors import NodeError, UsageError
from gns3_minivm.cli.frame.run import run_command_line
from gns3_minivm.gns3.model import Node
from gns3_minivm.ops.labs.find import console_of, default_lab
from gns3_minivm.ops.labs.outputs import shape_of

SERVER = ("--server", "http://127.0.0.1:9")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GNS3_MINIVM_LAB", raising=False)
    monkeypatch.delenv("GNS3_MINIVM_SERVER", raising=False)
    return tmp_path


def test_the_lab_of_a_folder_is_its_lab_file_or_its_only_topology(folder: Path) -> None:
    with pytest.raises(UsageError, match="no lab is named, and there is no lab.yml here"):
        default_lab()
    (folder / "one.clab.yml").touch()
    assert default_lab() == "one.clab.yml"
    (folder / "two.clab.yaml").touch()
    with pytest.raises(UsageError, match="several topologies here: one.clab.yml, two.clab.yaml"):
        default_lab()
    (folder / "lab.yaml").touch()
    assert default_lab() == "lab.yaml"
    (folder / "lab.yml").touch()
    assert default_lab() == "lab.yml"


def run(*words: str) -> int:
    return run_command_line(words)


def test_a_picture_of_a_file_needs_no_server(folder: Path) -> None:
    (folder / "lab.yml").write_text(
        "{name: pic, nodes: {r1: {image: frr, position: [300, 40]}, sw: {template: Ethernet switch}},"
        " links: [['r1:eth3', sw]]}"
    )
    assert run("lab", "graph", "--output", "lab.svg", "--dry-run") == 0
    assert not (folder / "lab.svg").exists()
    assert run("lab", "graph", "--output", "lab.svg") == 0
    root = ElementTree.parse(folder / "lab.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["eth3", "r1", "frr", "sw", "Ethernet switch"]
    assert "translate(300 40)" in (folder / "lab.svg").read_text()
    # An existing file is left alone.
    assert run("lab", "graph", "--output", "lab.svg") == 2
    assert run("lab", "graph", "--output", "lab.svg", "--force") == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("exec", "r1", "--lab", "x"), 2, "Missing argument"),
        (("exec", "r1", "--lab", "x", *SERVER, "ls", "-l"), 2, "No such option"),
        (("exec", "r1", "--lab", "x", *SERVER, "--env", "NAME", "--", "ls"), 2, "must be NAME=VALUE"),
        (("exec", "r1", "--lab", "x", "--", "ls"), 2, "exactly one GNS3 server is needed"),
        (("exec", "r1", *SERVER, "--", "ls"), 2, "no lab is named"),
        (("exec", "r1", "--lab", "x", *SERVER, "--", "ls"), 125, "127.0.0.1:9"),
        (("console", "r1", "--lab", "x", *SERVER), 1, "127.0.0.1:9"),
        (("inventory", "x", *SERVER), 2, "Missing option '--format'"),
        (("test", "x", *SERVER), 2, "'x' is not a lab file"),
        (("graph", "no.yml"), 2, "no.yml cannot be read"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_what_is_wrong_is_told_apart_from_what_the_command_in_the_node_does(
    capfd: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, said: str
) -> None:
    assert run("lab", *words) == status
    assert said in capfd.readouterr().err


def test_a_file_without_checks_or_for_which_there_is_no_room_is_told_before_anything_is_asked(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "lab.yml").write_text("{name: x, nodes: {a: {image: i}}}")
    assert run("lab", "test", *SERVER) == 2
    assert "has no checks" in capfd.readouterr().err
    (folder / "lab.yml").write_text("{name: x, nodes: {a: {image: i}}, tests: [{node: a, exec: 'true', name: fine}]}")
    assert run("lab", "test", *SERVER, "--junit", "no/such/folder.xml") == 2
    capfd.readouterr()
    assert run("lab", "test", *SERVER, "--dry-run") == 0
    assert "would check: fine" in capfd.readouterr().out


def node(**values: object) -> Node:
    known: dict[str, Any] = {"project_id": "p", "node_id": "n", "name": "r1", "node_type": "qemu", "status": "started",
             "compute_id": "local", "template_id": None, "console_host": "h", "console_port": 5000, "ports": (),
             "properties": {}, "console_type": "telnet"}  # fmt: skip
    return Node(**{**known, **values})


def test_only_nodes_that_run_and_have_a_telnet_console_can_be_reached() -> None:
    assert console_of(node()) == ("h", 5000)
    with pytest.raises(NodeError, match="node r1 is stopped"):
        console_of(node(status="stopped"))
    with pytest.raises(NodeError, match="node r1 is stopped"):
        console_of(node(status="stopped", console_port=None))
    with pytest.raises(UsageError, match=r"node r1 \(qemu\) has a vnc console, not a telnet one"):
        console_of(node(console_type="vnc"))
    for values in ({"console_type": "none", "console_port": None}, {"console_port": None}):
        with pytest.raises(UsageError, match=r"node r1 \(qemu\) has no console$"):
            console_of(node(**values))


@pytest.mark.parametrize(
    ("texts", "shape"),
    [
        (("frr-minivm", "qemu"), "router"),
        (("Ethernet switch", "ethernet_switch"), "switch"),
        (("openvswitch-minivm", "qemu"), "switch"),
        (("Cloud", "cloud"), "cloud"),
        (("NAT", "nat"), "cloud"),
        (("debian-minivm", "qemu", ":/symbols/classic/router.svg"), "router"),
        (("nginx:1.27", ""), "machine"),
        (("signature", ""), "machine"),
    ],
)
def test_nodes_look_like_what_they_are(texts: tuple[str, ...], shape: str) -> None:
    assert shape_of(*texts) == shape


def test_nothing_is_left_of_a_file_that_cannot_be_written(folder: Path) -> None:
    (folder / "lab.yml").write_text("{name: x, nodes: {a: {image: i}}}")
    (folder / "taken").mkdir()
    assert run("lab", "graph", "--output", "taken") == 2
    assert sorted(os.listdir(folder)) == ["lab.yml", "taken"]
