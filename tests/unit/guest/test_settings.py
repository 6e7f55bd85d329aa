"""A node's settings in YAML: what they become, and how mistakes in them are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.guest.payload import GuestCommand, GuestFile, GuestFolder, NodePayload, When
from gns3_minivm.guest.settings import read_settings

FULL = """
hostname: r1
user: 1000:lab
workdir: /srv
stop_signal: SIGQUIT
console: main
entrypoint: [/bin/start, -x]
args: [one, 2]
env: {DAEMONS: ospfd, LEVEL: 3}
interfaces:
  eth0: 10.0.12.1/30
  eth1: [10.0.1.1/24, "fd00::1/64"]
  eth2: {address: dhcp, gateway: "fe80::1"}
routes: {10.2.0.0/16: 10.0.12.2}
dns: 1.1.1.1
sysctls: {net.ipv4.ip_forward: 1}
modules: [vrf]
folders: {/var/lib/x: , /srv: {owner: web, mode: "2775"}}
files:
  /etc/motd: |
    welcome
  /etc/frr/frr.conf: {source: frr.conf, owner: frr:frr, mode: "640", when: boot}
  /site: {source: site, owner: web}
  /etc/key: {base64: AP8=}
commands:
  - ip link
  - [ip, addr]
  - {run: make-keys, when: once}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "node.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_become_a_payload(tmp_path: Path) -> None:
    (tmp_path / "frr.conf").write_bytes(b"hostname r1\n")
    (tmp_path / "site" / "sub").mkdir(parents=True)
    (tmp_path / "site" / "index").write_bytes(b"\xff")
    (tmp_path / "site" / "sub" / "tool").write_bytes(b"#!")
    (tmp_path / "site" / "sub" / "tool").chmod(0o755)
    assert read_settings(written(tmp_path, FULL)) == NodePayload(
        hostname="r1",
        user="1000:lab",
        workdir="/srv",
        stop_signal="SIGQUIT",
        console="main",
        entrypoint=("/bin/start", "-x"),
        args=("one", "2"),
        env={"DAEMONS": "ospfd", "LEVEL": "3"},
        addresses={"eth0": ("10.0.12.1/30",), "eth1": ("10.0.1.1/24", "fd00::1/64"), "eth2": ("dhcp",)},
        gateways=("fe80::1%eth2",),
        routes=(("10.2.0.0/16", "10.0.12.2"),),
        dns=("1.1.1.1",),
        sysctls={"net.ipv4.ip_forward": "1"},
        modules=("vrf",),
        folders=(GuestFolder("/var/lib/x"), GuestFolder("/srv", "web", 0o2775)),
        files=(
            GuestFile(path="/etc/motd", content=b"welcome\n"),
            GuestFile(path="/etc/frr/frr.conf", content=b"hostname r1\n", owner="frr:frr", mode=0o640, when=When.BOOT),
            GuestFile(path="/site/index", content=b"\xff", owner="web"),
            GuestFile(path="/site/sub/tool", content=b"#!", owner="web", mode=0o755),
            GuestFile(path="/etc/key", content=b"\0\xff"),
        ),
        commands=(GuestCommand("ip link"), GuestCommand(("ip", "addr")), GuestCommand("make-keys", When.ONCE)),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host: r1\n", ":1:1: unknown key 'host'"),
        ("hostname: a_b\n", ":1:1: hostname: hostname 'a_b' must be up to 63 letters"),
        ("user: web\nenv: {A: [1]}\n", ":2:7: env.A: Input should be a valid string"),
        ("env: {A: yes}\n", ":1:7: env.A: Input should be a valid string"),
        ("console: sofa\n", ":1:1: console: Input should be 'auto', 'main' or 'shell'"),
        ("interfaces:\n  eth0: 10.0.0.1\n", ":2:3: interfaces.eth0.address: '10.0.0.1' must be ADDRESS/LENGTH"),
        ("interfaces: {eth0: {ip: 1}}\n", ":1:21: unknown key 'interfaces.eth0.ip'"),
        ("interfaces: {eth0: {gateway: 10.0.0.1}, eth1: {gateway: 10.0.1.1}}\n", "one for IPv4 and one for IPv6"),
        ("routes: {10.0.0.1/8: 10.0.0.1}\n", ":1:1: routes: route to '10.0.0.1/8': 10.0.0.1/8 has host bits set"),
        ("files: {/a: {content: x, source: y}}\n", ":1:9: files./a: exactly one of content, source, base64 is needed"),
        ("files: {/a: {owner: web}}\n", "found none"),
        ("files: {/a: {content: x, mode: 640}}\n", "should be octal digits in quotation marks"),
        ("files: {/a: {content: x, mode: '689'}}\n", "should be octal digits in quotation marks"),
        ("files: {/a: {base64: '?'}}\n", ":1:14: files./a.base64: should be base64"),
        ("files: {a: x}\n", ":1:9: files.a: must be an absolute path"),
        ("folders: {/a/../b: }\n", ":1:11: folders./a/../b: must be an absolute path"),
        ("files: {/a: x}\nfolders: {/a/b: }\n", "/a/b cannot exist: /a is a file"),
        ("commands: ['']\n", ":1:1: commands: a command is empty"),
        ("files: {/a: {source: missing}}\n", "missing, the source of /a, is not a file or folder"),
        ("modules: [a b]\n", ":1:1: modules: module 'a b'"),
        ("- hostname\n", ":1:1: a node's settings must consist of"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_settings(path)
    assert said in caught.value.message and str(tmp_path) in caught.value.message
