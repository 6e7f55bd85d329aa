"""What runs as the main program, as whom, and what the console does with it."""

from __future__ import annotations

import stat
from pathlib import Path

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import GuestConfig
from tests.support.guest import Guest, boot, busybox_tree, guest_disk

SERVICE = """#!/bin/sh
echo "service $* as $(id -u):$(id -g) groups $(id -G) in $(pwd) home $HOME"
stty size
echo by name > /dev/stdout
i=0
while :; do i=$((i+1)); echo tick $i; sleep 0.5; done
"""


def make(bundle: Bundle, folder: Path, config: GuestConfig | None, files: dict[str, str] | None = None) -> Path:
    assert bundle.busybox is not None
    return guest_disk(folder / "disk.qcow2", busybox_tree(bundle.busybox, files), config)


def test_a_service_shows_its_output_and_enter_opens_a_shell_beside_it(bundle: Bundle, tmp_path: Path) -> None:
    config = GuestConfig(
        entrypoint=("/bin/service", "one"), cmd=("two",), env=("HOME=/srv",), user="web:lab", working_dir="/new/place"
    )
    with boot(bundle, [make(bundle, tmp_path, config, {"bin/service": SERVICE})], tmp_path) as guest:
        guest.expect("Enter opens a shell")
        guest.expect("service one two as 1000:2001 groups 2001 in /new/place home /srv\r\n24 80\r\nby name\r\n")
        guest.expect("tick 2")
        guest.send("\r")
        guest.shell()
        assert guest.run("id -u; tty") == "0\n/dev/pts/1"
        # The service goes on; its output is kept until the shell ends.
        log = guest.run("sleep 2")
        assert "tick" not in log
        guest.send("exit\n")
        assert "tick 5" in guest.expect("tick 7")
        guest.press_power_button()
        guest.wait_off()


def test_supplementary_groups_are_the_users_where_no_group_is_given(bundle: Bundle, tmp_path: Path) -> None:
    config = GuestConfig(entrypoint=("service",), cmd=("image",))
    disk = make(bundle, tmp_path, config, {"bin/service": SERVICE})
    with boot(bundle, [disk], tmp_path, words='user=web console=shell -- "a b" c') as guest:
        guest.shell()
        guest.send("exit\n")
        groups = "1000 2000 2001"
        guest.expect(f"service a b c as 1000:1000 groups {groups} in / home /home/web")


def test_an_image_with_nothing_but_a_static_program_boots(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    tree = FileTree()
    tree.add_file(b"httpd", bundle.busybox.read_bytes(), 0o755)
    disk = guest_disk(tmp_path / "disk.qcow2", tree, GuestConfig(entrypoint=("/httpd", "-f", "-v")))
    with boot(bundle, [disk], tmp_path) as guest:
        guest.expect("Enter opens a shell")
        guest.send("\r")
        guest.shell()
        assert guest.run("ls -d1 /proc/self /dev/pts /run/minivm; cat /etc/hostname; hostname").splitlines() == [
            "/dev/pts",
            "/proc/self",
            "/run/minivm",
            "node-1",
            "node-1",
        ]
        assert ":0050 " in guest.run("cat /proc/net/tcp6")
        guest.press_power_button()
        guest.wait_off()


def test_what_lies_in_the_place_of_settings_does_not_hold_up_the_boot(bundle: Bundle, tmp_path: Path) -> None:
    assert bundle.busybox is not None
    blocked = "".join(f"0.0.0.0 tracker-{number}.example.com # blocked\n" for number in range(30_000))
    tree = busybox_tree(bundle.busybox, {"etc/hosts": f"127.0.0.1 localhost\n{blocked}"})
    for path in ("etc/hostname", "etc/machine-id", ".minivm/node"):
        tree.add_node(path.encode(), stat.S_IFIFO | 0o644)
    tree.add_symlink(b"etc/resolv.conf", b"/dev/zero")
    with boot(bundle, [guest_disk(tmp_path / "disk.qcow2", tree, GuestConfig(cmd=("sh",)))], tmp_path) as guest:
        guest.shell()
        assert guest.run("cat /etc/hostname; tail -n 2 /etc/hosts").split("\n") == [
            "node-1",
            "0.0.0.0 tracker-29999.example.com # blocked",
            "127.0.1.1\tnode-1 # minivm",
        ]
        assert len(guest.run("cat /etc/machine-id")) == 32
        assert guest.run("cat /etc/resolv.conf").startswith("# ")
        guest.press_power_button()
        guest.wait_off()


def test_a_program_that_fails_at_once_ends_in_a_shell_that_says_so(bundle: Bundle, tmp_path: Path) -> None:
    disk = make(bundle, tmp_path, GuestConfig(cmd=("/bin/false",)))
    with boot(bundle, [disk], tmp_path) as guest:
        guest.expect(r"minivm: /bin/false ended with status 1")
        guest.shell()
        guest.send("exit\n")
        guest.wait_off()


def test_a_program_that_is_not_there_is_named(bundle: Bundle, tmp_path: Path) -> None:
    disk = make(bundle, tmp_path, GuestConfig(entrypoint=("nosuch",)))
    with boot(bundle, [disk], tmp_path) as guest:
        guest.expect("minivm: nosuch: No such file or directory")
        guest.expect("nosuch ended with status 127")
        guest.shell()


def test_a_program_that_ends_well_powers_off(bundle: Bundle, tmp_path: Path) -> None:
    disk = make(bundle, tmp_path, GuestConfig(cmd=("echo", "all", "done")))
    with boot(bundle, [disk], tmp_path) as guest:
        assert "all done" in guest.wait_off()


def test_a_program_that_asks_later_gets_what_is_typed(bundle: Bundle, tmp_path: Path) -> None:
    script = "#!/bin/sh\nsleep 1\nread -p 'your name? ' name\necho hello $name\nread more\n"
    disk = make(bundle, tmp_path, GuestConfig(entrypoint=("/bin/ask",)), {"bin/ask": script})
    with boot(bundle, [disk], tmp_path) as guest:
        guest.expect("your name\\? ")
        guest.send("engineer\r")
        guest.expect("hello engineer")


def test_an_init_script_of_the_original_convention_has_the_console(bundle: Bundle, tmp_path: Path) -> None:
    script = '#!/bin/sh\necho "script $* COLOUR=$COLOUR"\nsleep 1\nsh\n'
    disk = make(bundle, tmp_path, GuestConfig(cmd=("/bin/false",)), {"etc/init.sh": script})
    with boot(bundle, [disk], tmp_path, words="COLOUR=red -- one two") as guest:
        guest.expect("script one two COLOUR=red")
        typed_ahead(guest)


def typed_ahead(guest: Guest) -> None:
    guest.send("echo ahead of $((40+2))\r")
    guest.expect("ahead of 42")
    guest.send("exit\n")
    guest.wait_off()


def test_a_containers_init_is_process_1_of_its_own_processes_and_they_can_power_off(
    bundle: Bundle, tmp_path: Path
) -> None:
    script = """#!/bin/sh
trap 'echo stopped in order; exit 0' TERM
echo I am $$
read line
/run/minivm/bin/poweroff
while :; do sleep 0.2; done
"""
    disk = make(bundle, tmp_path, GuestConfig(entrypoint=("dumb-init", "x")), {"bin/dumb-init": script})
    with boot(bundle, [disk], tmp_path) as guest:
        guest.expect("I am 1\r\n")
        guest.send("\r")
        assert "stopped in order" in guest.wait_off()
