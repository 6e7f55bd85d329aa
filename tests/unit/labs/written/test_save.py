"""What a server has, as a lab file; and as inventories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gns3_minivm.documents import parse_document
from gns3_minivm.gns3.model import Drawing, Link, LinkEnd, Node, Port, QemuTemplate, ServerTemplate
from gns3_minivm.guest.payload import GuestFile, NodePayload, qemu_option
from gns3_minivm.labs.canvas.drawings import desired_drawings
from gns3_minivm.labs.desired import payload_file
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.read import lab_from
from gns3_minivm.labs.written.inventory import Inventory, InventoryHost, group_name
from gns3_minivm.labs.written.save import SavedProject, lab_text

WORDS = "console=ttyS0 root=/dev/vda"
MINIVM = QemuTemplate(
    template_id="t-1", name="frr-minivm", kernel_image="vmlinuz", kernel_command_line=WORDS, adapters=2
)
TEMPLATES = {
    "t-1": ServerTemplate(template_id="t-1", name="frr-minivm", template_type="qemu", builtin=False, values=MINIVM),
    "t-2": ServerTemplate(
        template_id="t-2",
        name="my-image",
        template_type="qemu",
        builtin=False,
        values=replace(MINIVM, template_id="t-2", name="my-image"),
    ),
    "sw": ServerTemplate(
        template_id="sw", name="Ethernet switch", template_type="ethernet_switch", builtin=True, values=None
    ),
}
PORTS = [{"name": f"Ethernet{n}", "port_number": n, "type": "access", "vlan": 1} for n in range(8)]


def node(name: str, template: str = "t-1", **values: Any) -> Node:
    properties = {"ram": 256, "cpus": 1, "adapters": 2, "kernel_command_line": WORDS} | values.pop("properties", {})
    first = Node(
        project_id="p",
        node_id=f"id-{name}",
        name=name,
        node_type="qemu",
        status="stopped",
        compute_id="local",
        template_id=template,
        console_host="127.0.0.1",
        console_port=5000,
        ports=(),
        properties=properties,
        symbol=MINIVM.symbol,
    )
    return replace(first, **values)


def switch(name: str, mapping: list[dict[str, Any]]) -> Node:
    ports = tuple(
        Port(
            name=port["name"],
            adapter=0,
            port=port["port_number"],
            mac_address=None,
            short_name=f"e{port['port_number']}",
        )
        for port in mapping
    )
    return node(name, "sw", node_type="ethernet_switch", properties={"ports_mapping": mapping}, ports=ports, symbol="s")


def project(*nodes: Node, links: tuple[Link, ...] = (), **values: Any) -> SavedProject:
    settings = {"sw": {"symbol": "s", "ports_mapping": PORTS}}
    return SavedProject(
        name="lab",
        nodes=nodes,
        links=links,
        drawings=values.pop("drawings", ()),
        templates=TEMPLATES,
        template_settings=settings,
        **values,
    )


def read_back(text: str) -> Lab:
    """Every saved file is one that can be brought up."""
    return lab_from(parse_document(Path("saved.yml"), text, what="a lab"))


def test_a_node_as_its_template_makes_it_has_only_a_place() -> None:
    text = lab_text(project(node("r1", x=-50, y=70)), ["frr-minivm"])
    assert yaml.safe_load(text) == {
        "name": "lab",
        "nodes": {"r1": {"appliance": "frr-minivm", "position": [-50, 70]}},
    }
    assert read_back(text).nodes["r1"].appliance == "frr-minivm"


def test_what_differs_from_the_template_is_saved() -> None:
    changed = {"ram": 512, "adapters": 5, "kernel_command_line": f"{WORDS} mem=99"}
    one = node("r1", properties=changed, symbol=":/symbols/router.svg", compute_id="vm")
    payload = NodePayload(addresses={"eth0": ("10.0.0.1/24",)}, files=(GuestFile(path="/etc/motd", content=b"hi\n"),))
    saved = read_back(lab_text(project(one, payloads={"id-r1": payload}), [])).nodes["r1"]
    assert (saved.template, saved.ram, saved.cpus, saved.adapters) == ("frr-minivm", 512, None, 5)
    assert (saved.kernel_args, saved.symbol, saved.compute) == ("mem=99", ":/symbols/router.svg", "vm")
    assert saved.payload(Path()) == payload


@pytest.mark.parametrize(
    ("options", "filename"),
    [
        (f"-machine q35 {qemu_option('minivm-node')}", "minivm-node"),
        (f"-machine q35 {qemu_option('a b,c')}", "a b,c"),
        ("-fw_cfg name=opt/other,file=x", ""),
        ("-machine 'q35", ""),
    ],
)
def test_settings_that_were_handed_over_by_hand_are_found_too(options: str, filename: str) -> None:
    assert payload_file(node("r1", properties={"options": options})) == filename


def test_where_nodes_come_from_and_the_checks_are_kept_from_the_file() -> None:
    file = read_back(
        "{name: lab, nodes: {z: {image: 'docker://x:1', start: false}, a: {appliance: other}},"
        " tests: [{node: z, ping: a, within: 5}]}"
    )
    text = lab_text(project(node("a"), node("new", "t-2"), node("z")), [], file)
    saved = read_back(text)
    assert list(saved.nodes) == ["z", "a", "new"]
    assert (saved.nodes["z"].image, saved.nodes["a"].appliance, saved.nodes["new"].template) == (
        "docker://x:1",
        "other",
        "my-image",
    )
    assert not saved.nodes["z"].start and saved.nodes["a"].start
    assert saved.tests == file.tests


def test_links_have_ports_by_name_filters_and_style() -> None:
    ends = (LinkEnd("id-r1", 1), LinkEnd("id-sw", 0, 3))
    plain = Link(
        project_id="p", link_id="l1", ends=(replace(ends[0], label="eth1"), replace(ends[1], label="Ethernet3"))
    )
    special = Link(
        project_id="p",
        link_id="l2",
        ends=(LinkEnd("id-r1", 0), LinkEnd("id-sw", 0, 4)),
        filters={"delay": [50, 10], "packet_loss": [5]},
        style={"color": "#ff0000", "width": 3, "type": 2},
        suspended=True,
    )
    text = lab_text(project(node("r1"), switch("sw", PORTS), links=(plain, special)), [])
    assert yaml.safe_load(text)["links"][0] == ["r1:eth1", "sw:e3"]
    saved = read_back(text).links[1]
    assert saved.filters is not None and saved.filters.as_gns3() == special.filters
    assert saved.style is not None and saved.style.as_gns3() == special.style
    assert saved.suspend


def test_labels_of_links_are_saved_where_they_are_not_the_ports_names() -> None:
    link = Link(
        project_id="p", link_id="l1", ends=(LinkEnd("id-r1", 1, label="wan"), LinkEnd("id-sw", 0, 3, label="e3"))
    )
    saved = read_back(lab_text(project(node("r1"), switch("sw", PORTS), links=(link,)), [])).links[0]
    assert saved.labels == ["wan", "e3"]


def test_a_switch_with_other_ports_than_its_template_says_which() -> None:
    more = [*PORTS, {"name": "Ethernet8", "port_number": 8, "type": "dot1q", "vlan": 1}]
    nodes = read_back(lab_text(project(switch("a", PORTS), switch("b", more)), [])).nodes
    assert not nodes["a"].properties and nodes["b"].properties == {"ports_mapping": more}


def test_ports_that_the_built_in_switch_of_api_v2_has_anyway_are_not_saved() -> None:
    bare = replace(project(switch("sw", PORTS)), template_settings={"sw": {"symbol": "s"}})
    assert not read_back(lab_text(bare, [])).nodes["sw"].properties
    four = replace(project(switch("sw", PORTS[:4])), template_settings={"sw": {"symbol": "s"}})
    assert read_back(lab_text(four, [])).nodes["sw"].properties == {"ports_mapping": PORTS[:4]}


def test_drawings_are_saved_as_they_are_drawn() -> None:
    file = read_back("{name: lab, nodes: {a: {image: i}}, drawings: [{text: Site A, position: [5, 6], layer: 2}]}")
    (meant,) = desired_drawings(file)
    drawing = Drawing(drawing_id="d", svg=meant.svg, x=meant.x, y=meant.y, z=meant.z, rotation=meant.rotation)
    (again,) = desired_drawings(read_back(lab_text(project(node("a"), drawings=(drawing,)), [])))
    assert again.is_drawn_as(drawing)


HOSTS = (
    InventoryHost(
        name="r1",
        group="frr-minivm",
        address="10.0.0.1",
        console_host="127.0.0.1",
        console_port=5000,
        node_id="n-1",
        addresses=("10.0.0.1/24", "fd00::1/64"),
    ),
    InventoryHost(name="pc", group="VPCS", address="", console_host="127.0.0.1", console_port=None, node_id="n-2"),
)
INVENTORY = Inventory("http://gns3.example:3080", "lab", "p-1", HOSTS)


def test_ansible_has_the_nodes_of_a_template_as_a_group() -> None:
    everything = yaml.safe_load(INVENTORY.text("ansible"))["all"]
    assert everything["vars"]["gns3_project_id"] == "p-1"
    assert everything["children"] == {
        "frr_minivm": {
            "hosts": {
                "r1": {
                    "ansible_host": "10.0.0.1",
                    "gns3_node_id": "n-1",
                    "gns3_console_host": "127.0.0.1",
                    "gns3_console_port": 5000,
                    "addresses": ["10.0.0.1/24", "fd00::1/64"],
                }
            }
        },
        "VPCS": {"hosts": {"pc": {"gns3_node_id": "n-2"}}},
    }


def test_nornir_has_netmikos_way_to_the_console() -> None:
    hosts = yaml.safe_load(INVENTORY.text("nornir"))
    assert (hosts["r1"]["hostname"], hosts["pc"]["hostname"]) == ("10.0.0.1", "127.0.0.1")
    assert hosts["r1"]["connection_options"]["netmiko"]["port"] == 5000
    assert "connection_options" not in hosts["pc"]
    assert hosts["r1"]["data"]["group"] == "frr-minivm"


@pytest.mark.parametrize(
    ("text", "name"),
    [("frr-minivm", "frr_minivm"), ("Ethernet switch", "Ethernet_switch"), ("2960", "_2960"), ("", "nodes")],
)
def test_groups_have_names_that_ansible_takes(text: str, name: str) -> None:
    assert group_name(text) == name
