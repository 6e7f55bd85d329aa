"""Payload files in real guests: every setting, files, commands, damaged documents, images without a shell."""

from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path

import pytest

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.guest.payload import FW_CFG_NAME, GuestCommand, GuestFile, GuestFolder, NodePayload, When
from tests.support.guest import boot, busybox_tree, guest_disk
from tests.support.minivm import gns3_minivm

BINARY = random.Random(1).randbytes(300_000)
CARDS = (
    "-netdev user,id=n0 -device virtio-net-pci,netdev=n0 -netdev user,id=n1 -device virtio-net-pci,netdev=n1".split()
)


def handed_over(folder: Path, payload: NodePayload | bytes) -> list[str]:
    """QEMU's words for a payload."""
    path = folder / "payload"
    path.write_bytes(payload if isinstance(payload, bytes) else payload.encode())
    return ["-fw_cfg", f"name={FW_CFG_NAME},file={path}"]


def test_a_payload_sets_up_a_node_and_what_it_does_not_say_any_more_is_gone(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    tree = busybox_tree(bundle.busybox, {"etc/resolv.conf": "nameserver 192.0.2.53\n", "etc/real": "old\n"})
    tree.add_symlink(b"etc/alias", b"../etc/real")
    tree.add_symlink(b"var", b"home")
    config = GuestConfig(cmd=("false",), env=("A=image", "B=image", "C=image"), working_dir="/root")
    disk = guest_disk(tmp_path / "disk.qcow2", tree, config)
    payload = NodePayload(
        hostname="from-payload",
        workdir="/srv/made",
        args=("sh",),
        env={"A": "payload", "B": "two words\nand a line", "D": "payload"},
        addresses={"eth0": ("10.0.0.1/24", "fd00:1::1/64"), "eth1": ("10.0.1.1/24",)},
        gateways=("10.0.0.254",),
        routes=(("10.9.0.0/16", "10.0.0.253"),),
        dns=("192.0.2.1", "2001:db8::53"),
        sysctls={"net.ipv4.ip_forward": "1"},
        folders=(GuestFolder("/srv/shared", "web:lab", 0o2775),),
        files=(
            GuestFile(path="/opt/deep/down/binary", content=BINARY, owner="web", mode=0o4750),
            GuestFile(path="/etc/alias", content=b"through the link\n"),
            GuestFile(path="/var/new file", content=b"", owner="nobody-here"),
            GuestFile(path="/etc/fresh", content=b"each time\n", when=When.BOOT),
            GuestFile(path="/run/gone-after-boot", content=b"there\n"),
            GuestFile(path="/proc/version", content=b"x"),
        ),
        commands=(
            GuestCommand('echo "$A $(cat /run/gone-after-boot)" >>/root/boots'),
            GuestCommand(("cp", "/etc/fresh", "/root/a copy")),
            GuestCommand("echo once >>/root/once", When.ONCE),
            GuestCommand("exit 3", When.ONCE),
        ),
    )
    options = [*CARDS, *handed_over(tmp_path, payload)]
    with boot(bundle, [disk], tmp_path, words="env.D=line ip.eth1=10.0.2.1/24", options=options) as guest:
        guest.expect("minivm: payload: /var/new file: owner 'nobody-here': there is no such user")
        guest.expect("minivm: payload: /proc/version was not written: ")
        # The last of the commands, beside the main program.
        guest.expect("payload: 'exit 3' ended with status 3")
        guest.send("\n")
        guest.shell()
        assert guest.run('hostname; pwd; echo $A/$C/$D; echo "$B"') == (
            "from-payload\n/srv/made\npayload/image/line\ntwo words\nand a line"
        )
        shown = guest.run("ip addr show eth0; ip addr show eth1; ip route; cat /proc/sys/net/ipv4/ip_forward")
        for wanted in ("10.0.0.1/24", "fd00:1::1/64", "default via 10.0.0.254", "10.9.0.0/16 via 10.0.0.253"):
            assert wanted in shown
        # The command line names eth1, so only its address counts.
        assert "10.0.2.1/24" in shown and "10.0.1.1/24" not in shown and shown.endswith("\n1")
        assert guest.run("grep -v '#' /etc/resolv.conf") == "nameserver 192.0.2.1\nnameserver 2001:db8::53"
        assert guest.run("md5sum </opt/deep/down/binary").split()[0] == hashlib.md5(BINARY).hexdigest()
        status = guest.run("stat -c '%a %u:%g %n' /opt/deep /opt/deep/down/binary /srv/shared '/home/new file'")
        assert status.splitlines() == [
            "755 0:0 /opt/deep",
            "4750 1000:1000 /opt/deep/down/binary",
            "2775 1000:2001 /srv/shared",
            "644 0:0 /home/new file",
        ]
        assert guest.run("readlink /etc/alias; cat /etc/real; ls /opt/deep/down") == (
            "../etc/real\nthrough the link\nbinary"
        )
        assert guest.run("cat /root/boots '/root/a copy' /root/once") == "payload there\neach time\nonce"
        guest.run("echo mine >/etc/real; echo mine >/etc/fresh; echo 1 >/root/once; chmod 600 /etc/fresh")
        guest.press_power_button()
        guest.wait_off()
    later = NodePayload(files=payload.files[:5], commands=payload.commands)
    options = [*CARDS, *handed_over(tmp_path, later)]
    with boot(bundle, [disk], tmp_path, words="-- sh", options=options) as guest:
        guest.expect("payload: 'exit 3' ended with status 3")
        guest.send("\n")
        guest.shell()
        # What a person has changed stays, but for what the payload writes at each boot.
        assert guest.run("cat /etc/real /etc/fresh /run/gone-after-boot; stat -c %a /etc/fresh") == (
            "mine\neach time\nthere\n600"
        )
        assert guest.run("cat /root/once /root/boots; ls /opt/deep/down") == ("1\npayload there\nimage there\nbinary")
        assert guest.run("hostname; pwd; cat /etc/resolv.conf; ip route") == "node-1\n/root\nnameserver 192.0.2.53"
        guest.press_power_button()
        guest.wait_off()


def tiny_tree(bundle: Bundle) -> FileTree:
    """An image of one program, without a shell and without /etc."""
    assert bundle.busybox is not None
    tree = FileTree()
    tree.add_file(b"sleep", bundle.busybox.read_bytes(), 0o755)
    return tree


def test_an_image_without_a_shell_gets_files_and_runs_commands(bundle: Bundle, tmp_path: Path) -> None:
    disk = guest_disk(tmp_path / "disk.qcow2", tiny_tree(bundle), GuestConfig(entrypoint=("/sleep",), cmd=("1000",)))
    payload = NodePayload(
        args=("2000",),
        env={"WHO": "me"},
        files=(GuestFile(path="/data/conf", content=b"x = 1\n", owner="1234:5678", mode=0o640),),
        commands=(GuestCommand('echo "by a line, $WHO" >/data/line'), GuestCommand(("/sleep", "nonsense"))),
    )
    # The kernel keeps the I/O ports to itself, so the payload comes by way of the driver.
    options = handed_over(tmp_path, payload)
    with boot(bundle, [disk], tmp_path, words="lockdown=integrity", options=options) as guest:
        guest.expect("running /sleep; Enter opens a shell")
        guest.expect("payload: '/sleep' ended with status 1")
        guest.send("\r")
        guest.shell()
        assert guest.run(
            "cat /sys/kernel/security/lockdown 2>/dev/null; stat -c '%a %u:%g' /data/conf; cat /data/*"
        ) == ("640 1234:5678\nx = 1\nby a line, me")
        assert "/sleep 2000" in guest.run("ps")
        guest.press_power_button()
        guest.wait_off()


def test_a_damaged_payload_is_one_line_on_the_console_and_the_node_boots(bundle: Bundle, tmp_path: Path) -> None:
    disk = guest_disk(tmp_path / "disk.qcow2", tiny_tree(bundle), GuestConfig(entrypoint=("/sleep",), cmd=("1000",)))
    damaged = bytearray(NodePayload(files=(GuestFile(path="/data", content=BINARY),), args=("2000",)).encode())
    damaged[100_000] ^= 1
    with boot(bundle, [disk], tmp_path, options=handed_over(tmp_path, bytes(damaged))) as guest:
        guest.expect("minivm: payload: its checksum is wrong: it is ignored")
        guest.expect("running /sleep; Enter opens a shell")
        guest.send("\r")
        guest.shell()
        assert "/sleep 1000" in guest.run("ps; ls /data")
        assert "No such file" in guest.run("ls /data")
        guest.press_power_button()
        guest.wait_off()


@pytest.mark.long
@pytest.mark.parametrize("size", [17 << 20, 22 << 20])
def test_a_payload_as_large_as_it_may_be_is_used_and_a_larger_one_is_told(
    bundle: Bundle, tmp_path: Path, size: int
) -> None:
    disk = guest_disk(tmp_path / "disk.qcow2", tiny_tree(bundle), GuestConfig(entrypoint=("/sleep",), cmd=("1000",)))
    data = random.Random(2).randbytes(size)
    options = handed_over(tmp_path, NodePayload(files=(GuestFile(path="/data", content=data),)))
    with boot(bundle, [disk], tmp_path, options=options) as guest:
        guest.expect("running /sleep; Enter opens a shell")
        guest.send("\r")
        guest.shell()
        # A quarter of 128 MiB, but for what the kernel has taken.
        told = re.search(r"minivm: payload: it has \d+ bytes and may have \d+ on this machine", guest.log)
        if size == 17 << 20:
            assert told is None and hashlib.md5(data).hexdigest() in guest.run("busybox md5sum /data")
        else:
            assert told and "No such file" in guest.run("ls /data")


async def test_boot_hands_a_settings_file_to_a_local_guest(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(BINARY)
    (tmp_path / "node.yml").write_text(
        "hostname: local\nenv: {WHO: me}\ninterfaces: {eth0: 10.1.2.3/24}\nfiles: {/srv/page: {source: page}}\n"
    )
    command = "hostname; echo $WHO; ip addr show eth0 | grep -o 10.1.2.3/24; md5sum </srv/page"
    words = ("boot", "busybox-minivm", "--settings", str(tmp_path / "node.yml"))
    finished = await gns3_minivm(*words, "--run", command)
    assert finished.status == 0, finished.err
    assert finished.out.split() == ["local", "me", "10.1.2.3/24", hashlib.md5(BINARY).hexdigest(), "-"]
    shown = await gns3_minivm(*words, "--dry-run", "--json")
    assert "-fw_cfg name=opt/gns3-minivm/node,file=minivm-node" in shown.result()["command_line"]


async def test_a_mistake_in_a_settings_file_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "node.yml").write_text("hostname: local\nnonsense: 1\n")
    finished = await gns3_minivm("boot", "busybox-minivm", "--settings", str(tmp_path / "node.yml"))
    assert finished.status == 2 and "node.yml:2:1: unknown key 'nonsense'" in finished.err


def test_a_payload_is_there_before_an_init_system_of_the_image_starts(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    script = "#!/bin/sh\nhostname; cat /etc/conf; echo $WHO $$; while [ ! -e /root/done ]; do sleep 1; done; exec sh\n"
    tree = busybox_tree(bundle.busybox, {"sbin/init": script})
    disk = guest_disk(tmp_path / "disk.qcow2", tree, GuestConfig(cmd=("/sbin/init",)))
    payload = NodePayload(
        hostname="early",
        env={"WHO": "process"},
        files=(GuestFile(path="/etc/conf", content=b"in place\n"),),
        commands=(GuestCommand("touch /root/done"),),
    )
    with boot(bundle, [disk], tmp_path, options=handed_over(tmp_path, payload)) as guest:
        guest.expect(r"early\r\nin place\r\nprocess 1\r\n")
        guest.shell()
