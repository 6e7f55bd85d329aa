"""The difference between a lab file and a server's state: what is made, changed, restarted, removed, left alone."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.agent.desired import template_id
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ConfigError, ConflictError, NotFoundError, UsageError
from gns3_minivm.gns3.model import Drawing, Link, LinkEnd, Node, Port, Project, QemuTemplate, ServerTemplate
from gns3_minivm.guest.contract import kernel_command_line, qemu_options
from gns3_minivm.labs.canvas.drawings import desired_drawings
from gns3_minivm.labs.desired import DesiredNode, desired_node, find_template, payload_of, without_payload
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.plan import LabPlan, plan
from gns3_minivm.labs.plan_links import new_ends, stated_ends
from gns3_minivm.labs.read import payloads, read_lab
from gns3_minivm.labs.state import HALF_MADE, LabState, mark

VALUES = QemuTemplate(
    template_id=template_id("vm"),
    name="vm",
    adapters=2,
    kernel_command_line=kernel_command_line(),
    options=qemu_options(X86_64),
)
TEMPLATE = ServerTemplate(template_id=VALUES.template_id, name="vm", template_type="qemu", builtin=False, values=VALUES)
SWITCH = ServerTemplate(
    template_id=str(uuid.uuid4()), name="Ethernet switch", template_type="ethernet_switch", builtin=True, values=None
)
FILE = """
name: lab
nodes:
  a: {appliance: vm, interfaces: {eth0: 10.0.0.1/24}}
  b: {appliance: vm}
  sw: {template: Ethernet switch}
links:
  - [a:eth0, b:eth0]
  - [a:eth1, sw]
  - [b:eth1, sw:e1]
"""


@dataclass
class Case:
    """A lab file, and a server that has got it."""

    lab: Lab
    desired: list[DesiredNode]
    state: LabState

    def plan(self, **options: Any) -> LabPlan:
        return plan(self.lab, self.desired, self.state, desired_drawings(self.lab), **options)

    def with_node(self, which: str, **changes: Any) -> Case:
        nodes = tuple(replace(node, **changes) if node.name == which else node for node in self.state.nodes)
        return replace(self, state=replace(self.state, nodes=nodes))

    def with_file(self, folder: Path, text: str) -> Case:
        other = case(folder, text)
        return Case(other.lab, other.desired, self.state)


def node_of(desired: DesiredNode) -> Node:
    switch = desired.template is SWITCH
    ports = (
        [Port(name=f"Ethernet{n}", adapter=0, port=n, mac_address=None, short_name=f"e{n}") for n in range(8)]
        if switch
        else [
            Port(name=f"eth{n}", adapter=n, port=0, mac_address=None, short_name=f"eth{n}")
            for n in range(desired.properties["adapters"])
        ]
    )
    return Node(
        project_id="project",
        node_id=str(uuid.uuid4()),
        name=desired.name,
        node_type="ethernet_switch" if switch else "qemu",
        status="started",
        compute_id="local",
        template_id=desired.template_id,
        console_host="127.0.0.1",
        console_port=5000,
        ports=tuple(ports),
        properties={**desired.properties, "usage": "x"},
        console_type="telnet",
    )


def case(folder: Path, text: str = FILE) -> Case:
    path = folder / "lab.yml"
    path.write_text(text)
    lab = read_lab(path)
    found = payloads(lab)
    desired = [
        desired_node(lab, name, TEMPLATE if node.source else SWITCH, found.get(name))
        for name, node in lab.nodes.items()
    ]
    nodes = {item.name: node_of(item) for item in desired}
    minivms = {item.name for item in desired if item.is_minivm}
    taken = stated_ends(lab.links, nodes, minivms)
    links = []
    for number, link in enumerate(lab.links):
        ends = new_ends(link, nodes, minivms, taken)
        taken |= set(ends)
        links.append(Link(project_id="project", link_id=f"link-{number}", ends=ends))
    drawings = [
        Drawing(drawing_id=str(n), svg=s.svg, x=s.x, y=s.y, z=s.z, rotation=s.rotation)
        for n, s in enumerate(desired_drawings(lab))
    ]
    variables = mark("lab", "project", {name: node.node_id for name, node in nodes.items()})
    record = {name: node.node_id[:8] for name, node in nodes.items()}
    project = Project("project", "lab", "opened", variables)
    return Case(
        lab,
        desired,
        LabState(
            project=project, nodes=tuple(nodes.values()), links=tuple(links), drawings=tuple(drawings), record=record
        ),
    )


def verbs(planned: LabPlan) -> dict[str, str]:
    return {item.name: item.verb for item in planned.nodes}


def link_verbs(planned: LabPlan) -> list[str]:
    return [f"{item.verb} {item.text}" for item in planned.links if item.verb != "keep"]


def test_a_lab_that_is_there_needs_nothing(tmp_path: Path) -> None:
    planned = case(tmp_path).plan()
    assert planned.nothing_to_do and planned.in_step
    assert set(verbs(planned).values()) == {"keep"} and not link_verbs(planned)


def test_a_new_lab_is_made_whole(tmp_path: Path) -> None:
    there = case(tmp_path)
    planned = Case(there.lab, there.desired, LabState()).plan()
    assert verbs(planned) == {"a": "create", "b": "create", "sw": "create"}
    assert link_verbs(planned) == ["create a:eth0 -- b:eth0", "create a:eth1 -- sw", "create b:eth1 -- sw:e1"]
    assert not planned.in_step and all(item.start for item in planned.nodes)


def test_a_stopped_node_is_only_started(tmp_path: Path) -> None:
    planned = case(tmp_path).with_node("a", status="stopped").plan()
    assert planned.in_step and not planned.nothing_to_do
    assert [item.name for item in planned.nodes if item.start] == ["a"]
    assert case(tmp_path).with_node("a", status="stopped").plan(start=False).nothing_to_do


@pytest.mark.parametrize(
    ("new", "changes"),
    [
        ("b: {appliance: vm, ram: 512}", {"ram": (256, 512)}),
        ("b: {appliance: vm, cpus: 2}", {"cpus": (1, 2)}),
        ("b: {appliance: vm, adapters: 4}", {"adapters": (2, 4)}),
        ("b: {appliance: vm, kernel_args: single}",
         {"kernel_command_line": (kernel_command_line(), kernel_command_line("single"))}),
    ],
)  # fmt: skip
def test_a_running_node_is_restarted_for_what_qemu_is_told(
    tmp_path: Path, new: str, changes: Mapping[str, Any]
) -> None:
    planned = case(tmp_path).with_file(tmp_path, FILE.replace("b: {appliance: vm}", new)).plan()
    assert verbs(planned) == {"a": "keep", "b": "update", "sw": "keep"}
    b = next(item for item in planned.nodes if item.name == "b")
    assert (dict(b.changes), b.restart, b.start) == (changes, True, True)


def test_other_settings_of_the_guest_are_a_restart(tmp_path: Path) -> None:
    planned = case(tmp_path).with_file(tmp_path, FILE.replace("10.0.0.1", "10.0.0.9")).plan()
    a = next(item for item in planned.nodes if item.name == "a")
    assert list(a.changes) == ["settings"] and a.restart
    # Settings that are taken out are, too.
    gone = case(tmp_path).with_file(tmp_path, FILE.replace(", interfaces: {eth0: 10.0.0.1/24}", "")).plan()
    assert [list(item.changes) for item in gone.nodes if item.verb == "update"] == [["settings"]]


def test_place_label_and_symbol_need_no_restart(tmp_path: Path) -> None:
    new = 'b: {appliance: vm, position: [7, 8], label: {y: -30}, symbol: ":/symbols/cloud.svg"}'
    planned = case(tmp_path).with_file(tmp_path, FILE.replace("b: {appliance: vm}", new)).plan()
    b = next(item for item in planned.nodes if item.name == "b")
    assert b.verb == "update" and set(b.appearance) == {"position", "label", "symbol"}
    assert not b.restart and not b.start


def test_another_appliance_is_another_disk(tmp_path: Path) -> None:
    there = case(tmp_path)
    other = replace(TEMPLATE, template_id=template_id("other"))
    there.desired[1] = desired_node(there.lab, "b", other, None)
    planned = there.plan()
    assert [item.name for item in planned.destroyed] == ["b"]
    # Its links go with it.
    assert link_verbs(planned) == ["create a:eth0 -- b:eth0", "create b:eth1 -- sw:e1"]


def test_a_node_that_the_file_has_no_more_is_removed_and_others_are_left_alone(tmp_path: Path) -> None:
    there = case(tmp_path)
    stranger = replace(there.state.nodes[0], node_id=str(uuid.uuid4()), name="somebodys")
    there.state = replace(there.state, nodes=(*there.state.nodes, stranger))
    text = FILE.replace("  b: {appliance: vm}\n", "").replace("  - [a:eth0, b:eth0]\n", "").replace(
        "  - [b:eth1, sw:e1]\n", "")  # fmt: skip
    planned = there.with_file(tmp_path, text).plan()
    assert verbs(planned) == {"b": "delete", "a": "keep", "sw": "keep"}
    assert [node.name for node in planned.foreign] == ["somebodys"]


def test_a_node_that_was_renamed_in_gns3_gets_its_name_back(tmp_path: Path) -> None:
    planned = case(tmp_path).with_node("b", name="bee").plan()
    b = next(item for item in planned.nodes if item.name == "b")
    assert (b.verb, dict(b.changes)) == ("update", {"name": ("bee", "b")})


def test_nodes_are_known_by_their_names_where_their_ids_are_new(tmp_path: Path) -> None:
    # As after a snapshot was restored on API v3.
    there = case(tmp_path)
    there.state = replace(there.state, record=dict.fromkeys(there.state.record, "00000000"))
    planned = there.plan()
    assert set(verbs(planned).values()) == {"keep"} and not planned.marked


def test_what_an_earlier_run_has_left_half_made_is_removed(tmp_path: Path) -> None:
    there = case(tmp_path)
    x, y = HALF_MADE
    left = replace(there.state.nodes[0], node_id=str(uuid.uuid4()), name="vm-1", x=x, y=y)
    there.state = replace(there.state, nodes=(*there.state.nodes, left))
    planned = there.plan()
    assert verbs(planned)["vm-1"] == "delete" and not planned.foreign


def test_a_link_that_changed_ports_is_made_anew(tmp_path: Path) -> None:
    planned = case(tmp_path).with_file(tmp_path, FILE.replace("[a:eth0, b:eth0]", "[a:eth2, b:eth0]")).plan()
    assert link_verbs(planned) == ["create a:eth2 -- b:eth0", "delete a:eth0 -- b:eth0"]
    a = next(item for item in planned.nodes if item.name == "a")
    assert a.changes["adapters"] == (2, 3)


def test_filters_style_and_suspension_of_links_are_changed_in_place(tmp_path: Path) -> None:
    new = "{ends: [a:eth0, b:eth0], filters: {delay: 5}, style: {width: 3}, suspend: true}"
    planned = case(tmp_path).with_file(tmp_path, FILE.replace("[a:eth0, b:eth0]", new)).plan()
    link = next(item for item in planned.links if item.verb == "update")
    assert {key: new for key, (_, new) in link.changes.items()} == {
        "filters": {"delay": [5]}, "style": {"width": 3}, "suspend": True,
    }  # fmt: skip


def test_links_of_people_stay_unless_their_port_is_needed(tmp_path: Path) -> None:
    there = case(tmp_path)
    a = there.state.nodes[0]
    stranger = replace(a, node_id=str(uuid.uuid4()), name="somebodys")
    theirs = Link(project_id="project", link_id="theirs", ends=(LinkEnd(stranger.node_id, 0), LinkEnd(a.node_id, 2)))
    there.state = replace(there.state, nodes=(*there.state.nodes, stranger), links=(*there.state.links, theirs))
    assert not link_verbs(there.plan())
    wanting = there.with_file(tmp_path, FILE.replace("[a:eth0, b:eth0]", "[a:eth2, b:eth0]")).plan()
    assert "delete somebodys:0/0 -- a:2/0" in link_verbs(wanting)


def test_drawings_of_the_lab_are_replaced_and_those_of_people_stay(tmp_path: Path) -> None:
    there = case(tmp_path, FILE + "drawings: [{text: one, position: [0, 0]}]")
    theirs = Drawing(drawing_id="theirs", svg="<svg><text>theirs</text></svg>", x=0, y=0)
    there.state = replace(there.state, drawings=(*there.state.drawings, theirs))
    assert there.plan().nothing_to_do
    planned = there.with_file(tmp_path, FILE + "drawings: [{text: two, position: [0, 0]}]").plan()
    assert len(planned.drawings) == 1 and [drawing.drawing_id for drawing in planned.erased] == ["0"]


def test_a_built_in_node_that_another_generation_of_gns3_has_made_stays(tmp_path: Path) -> None:
    there = case(tmp_path)
    other_id = str(uuid.uuid3(uuid.NAMESPACE_DNS, "ethernet switch"))
    assert there.with_node("sw", template_id=other_id).plan().nothing_to_do
    # One of a template that somebody has made is another thing.
    for template in (str(uuid.uuid4()), "", None):
        assert verbs(there.with_node("sw", template_id=template).plan())["sw"] == "replace"
    assert verbs(there.with_node("sw", template_id=other_id, node_type="cloud").plan())["sw"] == "replace"


def test_a_port_that_is_not_there_is_told_with_the_free_ones(tmp_path: Path) -> None:
    there = case(tmp_path)
    path = tmp_path / "lab.yml"
    path.write_text(FILE.replace("sw:e1", "sw:e9"))
    with pytest.raises(
        ConfigError, match=r"lab\.yml:\d+:\d+: node sw has no port 'e9'; free ports: Ethernet0, Ethernet1"
    ) as caught:
        plan(read_lab(path), there.desired, there.state)
    assert "NODE:PORT" in caught.value.hint


def test_a_switch_without_a_free_port_is_told(tmp_path: Path) -> None:
    there = case(tmp_path)
    switch = there.state.nodes[2]
    nodes = {node.name: node for node in there.state.nodes}
    taken = {LinkEnd(switch.node_id, 0, n) for n in range(8)}
    with pytest.raises(UsageError, match="node sw has no free port"):
        new_ends(there.lab.links[1], nodes, {"a", "b"}, taken)


def test_settings_for_a_node_that_is_no_minivm_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.yml"
    path.write_text("name: a\nnodes: {sw: {template: Ethernet switch, ram: 64, env: {A: b}}}")
    lab = read_lab(path)
    with pytest.raises(ConfigError, match="node sw: env, ram cannot be set"):
        desired_node(lab, "sw", SWITCH, None)


def test_templates_are_found_by_name_or_id_and_others_are_told() -> None:
    twins = [TEMPLATE, replace(TEMPLATE, template_id=str(uuid.uuid4())), SWITCH]
    assert find_template(twins, "Ethernet switch", "here") is SWITCH
    assert find_template(twins, TEMPLATE.template_id, "here") is TEMPLATE
    with pytest.raises(ConflictError, match="2 templates named 'vm'"):
        find_template(twins, "vm", "here")
    with pytest.raises(NotFoundError, match="there is no template 'ethernet'") as caught:
        find_template(twins, "ethernet", "here")
    assert caught.value.hint == "The server's templates are: Ethernet switch."


def test_the_payload_is_known_by_the_options(tmp_path: Path) -> None:
    there = case(tmp_path)
    a, b, _ = there.desired
    assert payload_of(there.state.nodes[0]) == a.payload_name != ""
    assert payload_of(there.state.nodes[1]) == b.payload_name == ""
    assert without_payload(str(a.properties["options"])) == qemu_options(X86_64) == b.properties["options"]


def test_a_node_says_its_own_machine_type_and_whether_it_has_the_module_disk(tmp_path: Path) -> None:
    text = "name: lab\nnodes:\n  a: {image: web, machine: pc, ram: 96}\n  b: {image: web}\n"
    a, b = case(tmp_path, text).desired
    assert str(a.properties["options"]).startswith("-machine pc ") and a.properties["ram"] == 96
    assert b.properties["options"] == qemu_options(X86_64)
    with_modules = replace(TEMPLATE, values=replace(VALUES, hdb_disk_image="modules.qcow2", initrd="initrd"))
    lab = read_lab(tmp_path / "lab.yml")
    for stated, disk in ((None, None), (True, "modules.qcow2"), (False, "")):
        node = lab.nodes["b"].model_copy(update={"module_disk": stated})
        changed = lab.model_copy(update={"nodes": {**lab.nodes, "b": node}})
        assert desired_node(changed, "b", with_modules, None).properties.get("hdb_disk_image") == disk
        if stated:
            without = replace(TEMPLATE, values=replace(VALUES, initrd="initrd"))
            with pytest.raises(ConfigError, match="the template '.*' has no module disk"):
                desired_node(changed, "b", without, None)
