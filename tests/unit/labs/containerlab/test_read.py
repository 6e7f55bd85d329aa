"""containerlab topologies as labs: what is taken, what is inherited, what is listed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.guest.payload import When
from gns3_minivm.labs.containerlab.binds import SIZE_MAX_BYTES
from gns3_minivm.labs.containerlab.read import LabFile, read_containerlab, read_lab_or_topology
from gns3_minivm.labs.containerlab.variables import put_in
from gns3_minivm.labs.read import payloads

Read = Callable[..., LabFile]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_text(text: str, environment: dict[str, str] | None = None) -> LabFile:
        path = tmp_path / "topo.clab.yml"
        path.write_text(textwrap.dedent(text))
        return read_containerlab(path, environment or {})

    return read_text


PAIR = """
    name: pair
    topology:
      nodes:
        a: {kind: linux, image: "alpine:3", network-mode: none}
        b: {kind: linux, image: "alpine:3", network-mode: none}
      links:
        - endpoints: ["a:eth1", "b:eth2"]
    """


def test_two_containers_and_a_link_become_two_machines_and_a_link(read: Read) -> None:
    result = read(PAIR)
    assert result.unheeded == ()
    assert result.lab.name == "pair"
    assert {name: node.image for name, node in result.lab.nodes.items()} == {"a": "alpine:3", "b": "alpine:3"}
    assert [str(link) for link in result.lab.links] == ["a:eth1 -- b:eth2"]
    assert result.lab.adapters_needed("b") == 3


def test_what_a_node_does_not_say_comes_from_its_group_its_kind_and_the_defaults(read: Read) -> None:
    node = read(
        """
        name: x
        topology:
          defaults: {kind: linux, image: d, user: d, env: {A: d, B: d, C: d, D: d}, exec: [echo d], cmd: d}
          kinds: {linux: {group: g, image: k, user: k, env: {B: k, C: k, D: k}, exec: [echo k]}}
          groups: {g: {image: g, env: {C: g, D: g}, exec: [echo g]}}
          nodes: {n: {image: n, env: {D: n}, exec: [echo n]}}
        """
    ).lab.nodes["n"]
    assert (node.image, node.user, node.args) == ("n", "k", ["d"])
    assert {name: node.env[name] for name in "ABCD"} == {"A": "d", "B": "k", "C": "g", "D": "n"}
    assert [command.run for command in node.commands] == [["echo", word] for word in "dkgn"]


def test_a_node_may_be_empty_and_its_group_may_say_its_kind(read: Read) -> None:
    lab = read("name: x\ntopology: {groups: {g: {kind: linux, image: i}}, nodes: {a: {group: g}}}").lab
    assert lab.nodes["a"].image == "i"
    assert read("name: x\ntopology: {defaults: {kind: linux, image: i}, nodes: {a: }}").lab.nodes["a"].image == "i"


def test_program_resources_and_settings_are_taken(read: Read) -> None:
    node = read(
        """
        name: x
        topology:
          nodes:
            a:
              kind: linux
              image: i
              entrypoint: /bin/sh -e
              cmd: -c 'sleep 1; exit'
              user: 1000
              memory: 1GiB
              cpu: 1.5
              sysctls: {net.ipv4.ip_forward: 1}
              dns: {servers: [192.0.2.53]}
              labels: {graph-posX: "-100.4", graph-posY: 20, my.role: edge}
              env: {FLAG: true, PORT: 80}
        """
    ).lab.nodes["a"]
    assert (node.entrypoint, node.args) == (["/bin/sh", "-e"], ["-c", "sleep 1; exit"])
    assert (node.user, node.ram, node.cpus, node.dns) == ("1000", 1024, 2, ["192.0.2.53"])
    assert node.sysctls == {"net.ipv4.ip_forward": "1"}
    assert node.position is not None and (node.position.x, node.position.y) == (-100, 20)
    assert {"FLAG": "true", "PORT": "80", "CLAB_LABEL_MY_ROLE": "edge", "CLAB_LABEL_CLAB_NODE_NAME": "a",
            "CLAB_INTFS": "0"}.items() <= node.env.items()  # fmt: skip


@pytest.mark.parametrize(
    ("memory", "megabytes"), [("512mb", 489), ("512MiB", 512), ("1Gb", 954), ("2 GiB", 2048), ("1b", 32)]
)
def test_memory_has_docker_s_units(read: Read, memory: str, megabytes: int) -> None:
    lab = read(f"name: x\ntopology: {{nodes: {{a: {{kind: linux, image: i, memory: {memory}}}}}}}").lab
    assert lab.nodes["a"].ram == megabytes


def test_bridges_are_ethernet_switches_with_as_many_ports_as_they_need(read: Read) -> None:
    nodes = ", ".join(f"h{n}: {{kind: linux, image: i}}" for n in range(9))
    links = ", ".join(f"{{endpoints: ['h{n}:eth1', 'br:p{n}']}}" for n in range(9))
    lab = read(
        f"name: x\ntopology: {{nodes: {{br: {{kind: bridge}}, ovs: {{kind: ovs-bridge}}, {nodes}}},"
        f" links: [{links}, {{endpoints: ['br:a', 'ovs:b']}}]}}"
    ).lab
    assert (lab.nodes["br"].template, lab.nodes["ovs"].template) == ("Ethernet switch", "Ethernet switch")
    assert str(lab.links[8]) == "h8:eth1 -- br:Ethernet8"
    assert str(lab.links[9]) == "br:Ethernet9 -- ovs:Ethernet0"
    assert len(lab.nodes["br"].properties["ports_mapping"]) == 10
    assert not lab.nodes["ovs"].properties


def test_the_long_form_of_links_carries_addresses_and_mtu(read: Read) -> None:
    lab = read(
        """
        name: x
        topology:
          defaults: {kind: linux, image: i, network-mode: none}
          nodes: {a: , b: }
          links:
            - type: veth
              mtu: 9000
              endpoints:
                - {node: a, interface: eth1, mac: "02:00:00:00:00:01", ipv4: 10.0.0.1/24, ipv6: "fd00::1/64"}
                - {node: b, interface: lan, ipv4: 10.0.0.2/24}
            - {type: dummy, endpoint: {node: b, interface: eth5}}
        """
    ).lab
    a, b = lab.nodes["a"], lab.nodes["b"]
    assert [str(link) for link in lab.links] == ["a:eth1 -- b:eth1"]
    assert a.interfaces["eth1"].address == ["10.0.0.1/24", "fd00::1/64"]
    assert [command.run for command in a.commands] == [
        (
            "/run/minivm/bin/busybox ip link set dev eth1 mtu 9000"
            " && /run/minivm/bin/busybox ip link set dev eth1 address 02:00:00:00:00:01"
        )
    ]
    # Renamed in the guest, and only then addressed.
    assert not b.interfaces and b.adapters == 6
    (command,) = b.commands
    assert str(command.run).split(" && ")[2:] == [
        f"/run/minivm/bin/busybox ip {rest}"
        for rest in ("link set dev eth1 name lan", "link set dev lan up", "addr add 10.0.0.2/24 dev lan")
    ]


def test_interfaces_with_other_names_get_ports_that_nobody_has(read: Read) -> None:
    lab = read(
        """
        name: x
        topology:
          defaults: {kind: linux, image: i}
          nodes: {a: , b: }
          links:
            - endpoints: [a:wan, b:eth1]
            - endpoints: [a:eth1, b:eth2]
            - endpoints: [a:lan, b:eth3]
        """
    ).lab
    assert [str(link.ends[0]) for link in lab.links] == ["a:eth2", "a:eth1", "a:eth3"]


def test_files_and_folders_of_binds_become_files_of_the_guest(read: Read, tmp_path: Path) -> None:
    (tmp_path / "etc/inner").mkdir(parents=True)
    (tmp_path / "etc/a.conf").write_text("a")
    (tmp_path / "etc/inner/run.sh").write_text("#!")
    (tmp_path / "etc/inner/run.sh").chmod(0o750)
    (tmp_path / "etc/loop").symlink_to(tmp_path / "etc")
    (tmp_path / "clab-x/a").mkdir(parents=True)
    (tmp_path / "clab-x/a/own").write_text("mine")
    lab = read(
        """
        name: x
        topology:
          defaults: {binds: ["none-of-it:/etc/daemon"]}
          nodes:
            a:
              kind: linux
              image: i
              binds: [etc:/etc/daemon:ro, __clabNodeDir__/own:/own, /var/lib/empty]
        """
    ).lab
    payload = payloads(lab)["a"]
    assert {(f.path, f.content, f.mode, f.when) for f in payload.files} == {
        ("/etc/daemon/a.conf", b"a", 0o644, When.BOOT),
        ("/etc/daemon/inner/run.sh", b"#!", 0o750, When.BOOT),
        ("/own", b"mine", 0o644, When.ONCE),
    }
    assert [folder.path for folder in payload.folders] == ["/var/lib/empty"]


def test_what_cannot_be_bound_is_listed(read: Read, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(SIZE_MAX_BYTES + 1)
    result = read(
        """
        name: x
        topology:
          nodes:
            a: {kind: linux, image: i, network-mode: none, binds: ["large:/large", "/dev/null:/dev/x"]}
        """
    )
    assert not result.lab.nodes["a"].files
    assert len(result.unheeded) == 2
    assert "topo.clab.yml:5:5: node a: bind large:/large: " in result.unheeded[0] and "too large" in result.unheeded[0]
    assert "/dev/null is not a file or folder" in result.unheeded[1]


def test_a_source_of_a_bind_that_is_not_there_is_a_mistake(read: Read) -> None:
    with pytest.raises(ConfigError, match=r"topo.clab.yml:1:30: node a: bind 'no:/x': .*/no does not exist"):
        read("{name: x, topology: {nodes: {a: {kind: linux, image: i, binds: ['no:/x']}}}}")


def test_env_files_come_before_env_and_the_environment_can_be_imported(read: Read, tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("# comment\nA=file\nexport B='two words'\n")
    env = (
        read(
            "{name: x, topology: {nodes: {a: {kind: linux, image: i, env-files: [vars],"
            " env: {A: node, __IMPORT_ENVS: true}}}}}",
            {"A": "outer", "HOME": "/root", "BASH_FUNC_x%%": "() {\n}"},
        )
        .lab.nodes["a"]
        .env
    )
    assert (env["A"], env["B"], env["HOME"]) == ("node", "two words", "/root")
    assert "__IMPORT_ENVS" not in env


def test_what_cannot_be_honoured_is_listed_with_its_place(read: Read) -> None:
    unheeded = read(
        """
        name: x
        prefix: ""
        mgmt: {network: custom}
        topology:
          defaults: {kind: linux, image: i}
          nodes:
            a_1: {ports: ["80:80"], startup-delay: 3, brand-new: 1}
            b: {network-mode: host}
            me: {kind: host}
          links:
            - endpoints: [a_1:eth1, host:tap0]
            - {type: macvlan, endpoint: {node: b, interface: eth1}, host-interface: eth0}
            - endpoints: [b:eth2, me:x]
        """
    ).unheeded
    told = [line.partition("topo.clab.yml:")[2] for line in unheeded]
    for place, words in (
        ("3:1", "prefix"),
        ("4:1", "mgmt"),
        ("8:11", "nodes.a_1.ports"),
        ("8:29", "nodes.a_1.startup-delay"),
        ("8:47", "nodes.a_1.brand-new: this key is unknown"),
        ("8:5", "node a_1 is called a-1"),
        ("9:5", "network-mode host"),
        ("10:5", "the host itself cannot be a node"),
        ("12:7", "link 1: it leads to host, out of the lab"),
        ("13:7", "link 2: a link of type macvlan leads out of the lab"),
        ("14:7", "link 3: it leads to the host"),
        ("7:3", "eth0 has no link"),
    ):
        assert [line for line in told if line.startswith(f"{place}: ") and words in line], (place, words, told)
    assert len([line for line in told if "host-interface" in line]) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{name: x, topology: {nodes: {a: {kind: nokia_srlinux}}}}", r"1:30: node a: kind 'nokia_srlinux' is not supp"),
        ("{name: x, topology: {nodes: {a: {image: i}}}}", r"1:30: node a: the key 'kind' is missing"),
        ("{name: x, topology: {nodes: {a: {kind: linux}}}}", r"1:30: node a: the key 'image' is missing"),
        ("{name: x, topology: {nodes: {}}}", r"1:22: the topology has no nodes"),
        ("{topology: {nodes: {}}}", r"the key 'name' is missing"),
        ("{name: x}", r"the key 'topology' is missing"),
        ("{name: x, topology: {nodes: {a: {kind: linux, image: [i]}}}}", r"1:47: topology.nodes.a.image: .*string"),
        ("{name: x, topology: {nodes: {a: {kind: linux, image: i, cmd: \"a 'b\"}}}}", r"cmd .* cannot be split"),
        ("{name: x, topology: {nodes: {a: {kind: linux, image: i, memory: lots}}}}", r"memory 'lots' must be"),
        (
            f"{{name: x, topology: {{nodes: {{a: {{kind: linux, image: i, memory: '{'9' * 400}gb'}}}}}}}}",
            r"memory '9+gb' must",
        ),
        ("{name: x, topology: {nodes: {a: {kind: linux, image: i, cpu: .inf}}}}", r"cpu inf must be a number above 0"),
        ("{name: x, topology: {nodes: {a: {kind: linux, image: i, cpu: .nan}}}}", r"cpu nan must be a number above 0"),
        ("{name: x, topology: {nodes: {a: {kind: linux, image: i, env: {A B: c}}}}}", r"1:30: .*'A B' must be a name"),
        ("{name: x, topology: {nodes: {a_1: {kind: bridge}, a-1: {kind: bridge}}}}", "a-1 would have the same name"),
        ("{name: x, topology: {nodes: {a: {kind: bridge}}, links: [{endpoints: ['a:1', 'b:1']}]}}", "named 'b'"),
        ("{name: x, topology: {nodes: {a: {kind: bridge}}, links: [{endpoints: ['a:1']}]}}", "needs two endpoints"),
        ("{name: x, topology: {nodes: {a: {kind: bridge}}, links: [{endpoints: ['a', 'a:1']}]}}", "NODE:INTERFACE"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_file_line_and_column(read: Read, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as error:
        read(text)
    assert "topo.clab.yml:1:" in error.value.message and error.value.exit_status == 2


def test_an_interface_that_is_used_twice_is_a_mistake(read: Read) -> None:
    with pytest.raises(ConfigError, match=r"topo.clab.yml:9:7: the interface a:eth1 is used twice"):
        read(PAIR.rstrip() + "\n        - endpoints: [a:eth1, b:eth3]\n")


def test_a_go_template_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "topo.clab.gotmpl"
    path.write_text("name: {{ .x }}")
    with pytest.raises(ConfigError, match="is a Go template"):
        read_containerlab(path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("$SET ${SET}", "s s"),
        ("${NONE:=d} ${EMPTY:=d} ${SET:=d}", "d d s"),
        ("${NONE:-d} ${EMPTY-d} ${SET-d} ${NONE=d}", "d  s d"),
        ("${SET+o}${NONE+o}${EMPTY:+o}${EMPTY+o}", "oo"),
        ("${NONE:=${SET}-${NONE:-x}}", "s-x"),
        ("$NONE ${NONE} $1 $$SET $", "$NONE ${NONE} $1 $SET $"),
        ("${SET ${", "${SET ${"),
        ("a: ${SET\nb: }", "a: ${SET\nb: }"),
    ],
)
def test_variables_of_the_environment_are_put_in_as_containerlab_does(written: str, meant: str) -> None:
    assert put_in(written, {"SET": "s", "EMPTY": ""}) == meant


def test_variables_are_put_in_before_the_file_is_read(read: Read) -> None:
    lab = read(PAIR.replace("alpine:3", "${IMAGE:=alpine}:$TAG"), {"TAG": "3.20"}).lab
    assert lab.nodes["a"].image == "alpine:3.20"


def test_a_topology_is_known_by_its_ending_or_by_its_key(tmp_path: Path) -> None:
    text = textwrap.dedent(PAIR)
    for name in ("topo.clab.yml", "topo.clab.yaml", "lab.yml"):
        (tmp_path / name).write_text(text)
        assert read_lab_or_topology(tmp_path / name).lab.name == "pair"
    (tmp_path / "own.yml").write_text("{name: own, nodes: {a: {image: i}}}")
    assert read_lab_or_topology(tmp_path / "own.yml").lab.name == "own"
