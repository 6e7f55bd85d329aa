"""One boot of an ordinary image with everything that a node can be told; the tests look at different sides of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.guest.contract import GuestConfig
from tests.support.guest import Guest, boot, busybox_tree, guest_disk, overlay

UUID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
WORDS = (
    "COLOUR=blue env.GREETING=hello "
    "ip.eth0=10.1.0.1/24 ip.eth0=2001:db8::1/64 "
    "gw=10.1.0.254 route=10.2.0.0/16,10.1.0.253 dns=10.1.0.53,2001:db8::53 "
    'sysctl.net.ipv4.ip_default_ttl=77 modules=dummy run="echo once > /root/once"'
)
MALFORMED = (
    "root=",
    "rootfstype=",
    "rootdelay=soon",
    "init=relative",
    "hostname=-bad",
    "user=nobody-here",
    "ip.eth1=bogus",
    "ip.eth9=10.9.0.1/24",
    "ip.=dhcp",
    "gw=nowhere",
    "gw=10.1.0.254/24",
    "route=10.4.0.0/16",
    "route=10.5.0.0/99,10.1.0.253",
    "dns=10.1.0.300",
    "env.=empty",
    "sysctl.net.no.such=1",
    "modules=no-such-module",
    "run=",
    "minivm.console=loud",
    "minivm.nonsense=1",
)
"""Each for itself is told, and passed over."""
# As a GNS3 3.0 server forms it: adapters behind bridges.  The order of the command line is not that of the slots.
BRIDGED = (
    "-device i82801b11-bridge,id=dmi1 -device pci-bridge,id=b1,bus=dmi1,chassis_nr=0x1,addr=0x1,shpc=off "
    "-device i82801b11-bridge,id=dmi2 -device pci-bridge,id=b2,bus=dmi2,chassis_nr=0x1,addr=0x2,shpc=off "
    "-device virtio-net-pci,mac=0c:00:00:00:00:02,bus=b2,addr=0x00 "
    "-device virtio-net-pci,mac=0c:00:00:00:00:01,bus=b1,addr=0x01 "
    "-device virtio-net-pci,mac=0c:00:00:00:00:00,bus=b1,addr=0x00"
)
FILES = {
    "etc/hostname": "image\n",
    "etc/hosts": "127.0.0.1 localhost\n10.9.9.9 other\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/ssh/ssh_host_rsa_key": "everyone's\n",
    "bin/ssh-keygen": "#!/bin/sh\necho $1 > /etc/ssh/ssh_host_own_key\n",
    "run/postgresql/keep": "seed\n",
    "etc/network/interfaces": "auto lo eth0\niface lo inet loopback\niface eth0 inet static\n address 10.99.0.1/24\n"
    "auto eth2\niface eth2 inet static\n address 10.3.0.1\n netmask 255.255.255.0\n",
}


@pytest.fixture(scope="module")
def guest(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("ordinary")
    assert bundle.busybox is not None
    assert bundle.modules is not None
    config = GuestConfig(cmd=("sh",), env=("PATH=/usr/bin:/bin:/sbin", "SET=by image"), working_dir="/srv/work")
    tree = busybox_tree(bundle.busybox, FILES)
    tree.add_symlink(b"etc/resolv.conf", b"/run/systemd/resolve/stub-resolv.conf")
    disk = overlay(guest_disk(folder / "disk.qcow2", tree, config), folder / "node.qcow2")
    disks = (disk, overlay(bundle.modules.path, folder / "modules.qcow2"))
    options = [*BRIDGED.split(), "-uuid", UUID]
    # The kernel forgets words that it does not know when it meets init= behind them.
    words = f"{WORDS} {' '.join(MALFORMED)} mistyped"
    with boot(bundle, disks, folder, words=words, name="PC_1 (lab)", options=options) as running:
        running.shell()
        yield running


def test_the_host_name_follows_the_node_name(guest: Guest) -> None:
    assert guest.run("hostname; cat /etc/hostname") == "PC-1-lab\nPC-1-lab"
    hosts = guest.run("cat /etc/hosts")
    assert "10.9.9.9 other" in hosts
    assert re.search(r"^127\.0\.1\.1\s+PC-1-lab\b", hosts, re.MULTILINE)


def test_the_machine_id_is_the_nodes_and_shared_ssh_keys_are_replaced(guest: Guest) -> None:
    assert guest.run("cat /etc/machine-id; cat /etc/ssh/*") == UUID.replace("-", "") + "\n-A"


def test_a_dangling_resolver_file_becomes_one_with_the_servers_of_dns(guest: Guest) -> None:
    assert guest.run("grep nameserver /etc/resolv.conf") == "nameserver 10.1.0.53\nnameserver 2001:db8::53"


def test_file_systems_are_mounted_and_run_is_fresh_but_seeded(guest: Guest) -> None:
    mounts = {line.split()[1]: line.split()[2] for line in guest.run("cat /proc/mounts").splitlines()}
    expected = {
        "/": "ext4",
        "/proc": "proc",
        "/sys": "sysfs",
        "/dev": "devtmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys/fs/cgroup": "cgroup2",
        "/run": "tmpfs",
    }
    assert expected.items() <= mounts.items()
    assert "/tmp" not in mounts
    assert guest.run("cat /run/postgresql/keep") == "seed"
    assert guest.run("readlink /dev/stdout; readlink /etc/mtab") == "/proc/self/fd/1\n/proc/mounts"


def test_environment_work_directory_and_path_are_the_images(guest: Guest) -> None:
    environment = dict(line.split("=", 1) for line in guest.run("env").splitlines())
    assert environment["PATH"] == "/usr/bin:/bin:/sbin:/run/minivm/bin"
    assert environment["SET"] == "by image"
    assert environment["COLOUR"] == "blue"
    assert environment["GREETING"] == "hello"
    assert environment["HOME"] == "/root"
    assert environment["TERM"] == "linux"
    assert environment["HOSTNAME"] == "PC-1-lab"
    assert not {"gw", "dns", "route", "modules", "run", "BOOT_IMAGE"} & set(environment)
    assert guest.run("pwd") == "/srv/work"


def test_interfaces_are_in_adapter_order_and_lo_is_up(guest: Guest) -> None:
    addresses = guest.run("cat /sys/class/net/eth0/address /sys/class/net/eth1/address /sys/class/net/eth2/address")
    assert addresses.split() == [f"0c:00:00:00:00:0{i}" for i in range(3)]
    assert "UP" in guest.run("ip link show lo").split("<")[1].split(">")[0].split(",")


def test_addresses_and_routes_are_those_of_the_words(guest: Guest) -> None:
    shown = guest.run("ip addr show eth0")
    assert "inet 10.1.0.1/24 brd 10.1.0.255" in shown
    assert "inet6 2001:db8::1/64" in shown
    routes = guest.run("ip route")
    assert re.search(r"^default via 10\.1\.0\.254 dev eth0", routes, re.MULTILINE)
    assert re.search(r"^10\.2\.0\.0/16 via 10\.1\.0\.253 dev eth0", routes, re.MULTILINE)


def test_interfaces_that_the_image_configures_are_up_but_those_of_the_words_stay_theirs(guest: Guest) -> None:
    assert "inet 10.3.0.1/24" in guest.run("ip addr show eth2")
    assert "10.99.0.1" not in guest.run("ip addr show")


def test_kernel_settings_are_those_of_docker_and_of_the_words(guest: Guest) -> None:
    names = ("ip_unprivileged_port_start", "ping_group_range", "ip_forward", "ip_default_ttl")
    values = guest.run("cat " + " ".join(f"/proc/sys/net/ipv4/{name}" for name in names)).splitlines()
    assert values == ["0", "0\t2147483647", "1", "77"]


def test_limits_are_those_of_docker_and_not_those_of_a_small_memory(guest: Guest) -> None:
    # PAM takes those of process 1 for whoever logs in.
    for process in ("1", "self"):
        lines = guest.run(f"cat /proc/{process}/limits").splitlines()
        limits = {line[:25].strip(): line[25:].split()[:2] for line in lines}
        assert limits["Max processes"] == ["unlimited", "unlimited"]
        assert limits["Max open files"] == ["65536", "1048576"]


def test_the_module_disk_is_found_and_its_modules_load(guest: Guest) -> None:
    assert " ro," in guest.run("grep /lib/modules /proc/mounts")
    assert guest.run("ls -d /sys/module/dummy") == "/sys/module/dummy"
    assert guest.run("modprobe openvswitch && ls -d /sys/module/openvswitch") == "/sys/module/openvswitch"


def test_device_nodes_load_their_modules(guest: Guest) -> None:
    assert guest.run("stat -c %t:%T:%a /dev/net/tun; : < /dev/net/tun; cut -d' ' -f1 /proc/modules | grep ^tun") == (
        "a:c8:666\ntun"
    )


def test_a_command_runs_once_at_boot(guest: Guest) -> None:
    assert guest.run("cat /root/once") == "once"


def test_malformed_and_unknown_words_are_shown_and_do_not_stop_the_boot(guest: Guest) -> None:
    for word in (*MALFORMED, "mistyped"):
        # As it was typed, or NAME and value in the words of the complaint.
        name, _, value = word.partition("=")
        told = rf"minivm: .*({re.escape(word)}|{re.escape(name.rstrip('s'))}.*{re.escape(value or name)})"
        assert re.search(told, guest.log), f"{word} is not told:\n{guest.log}"


def test_the_terminal_has_job_control(guest: Guest) -> None:
    assert guest.run("tty") == "/dev/pts/0"
    for key, answer in (("\x03", r"\^C"), ("\x1a", "Stopped")):
        # Said by the child, which has the terminal by then.
        guest.send("sh -c 'echo ready; exec sleep 1000'\n")
        guest.expect("\nready\r\n")
        guest.send(key)
        guest.expect(rf"(?s){answer}.*GUEST> ")
    assert guest.run("kill %1; wait; echo done").endswith("done")


def test_much_output_and_much_input_pass_complete(guest: Guest) -> None:
    text = guest.run("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done")
    assert text.split("\n") == [f"line {i}" for i in range(3000)]
    lines = "".join(f"pasted {i:040}\n" for i in range(200))
    # Not before the shell has handed the terminal over.
    guest.send("stty -echo; sh -c 'echo ready; exec cat > /tmp/pasted'; stty echo\n")
    guest.expect("\nready\r\n")
    guest.send(lines + "\x04")
    guest.expect("GUEST> ")
    assert guest.run("cat /tmp/pasted") == lines.strip()


def test_dev_console_is_the_main_programs_terminal(guest: Guest) -> None:
    guest.run("echo to the console > /dev/console")
    assert "to the console" in guest.log


def test_orphans_are_reaped(guest: Guest) -> None:
    guest.run("(sleep 0.1 & true); (sleep 0.1 &) ; sleep 0.5")
    assert " Z " not in guest.run("cat /proc/[0-9]*/stat | tr -s '\\n'")


def test_what_waits_for_the_prompt_comes_after_it(guest: Guest) -> None:
    assert guest.run("test -d /sys/module/button && echo there") == "there"
    available = "/sys/class/misc/hw_random/rng_available"
    waited = f"i=0; until grep virtio_rng {available} || [ $i = 100 ]; do sleep 0.2; i=$((i+1)); done"
    assert "virtio_rng" in guest.run(waited)
