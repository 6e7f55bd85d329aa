"""Both sides of the contract with the guest: guest.py, and the parsers of kernel/init compiled for this machine."""

from __future__ import annotations

import shlex
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import DamagedImageError, UsageError
from gns3_minivm.guest.contract import (
    GuestConfig,
    base_words,
    decode_config,
    kernel_command_line,
    qemu_options,
    split_command_line,
    with_machine,
)
from tests.support.parsers import Parsers

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
some_texts = st.lists(texts, max_size=4).map(tuple)
names = st.text(string.ascii_uppercase + "_", min_size=1, max_size=8)
configs = st.builds(
    GuestConfig,
    entrypoint=st.none() | some_texts,
    cmd=st.none() | some_texts,
    env=st.dictionaries(names, texts, max_size=4).map(lambda env: tuple(f"{k}={v}" for k, v in env.items())),
    user=texts,
    working_dir=texts,
    stop_signal=st.sampled_from(["", "SIGQUIT", "3"]),
    exposed_ports=some_texts.map(lambda ports: tuple(sorted(ports))),
    volumes=some_texts.map(lambda volumes: tuple(sorted(volumes))),
    labels=st.dictionaries(names, texts, max_size=3),
)
lines = st.text(string.ascii_letters[:4] + "=\"'\\ \t-.", max_size=40)


@settings(deadline=None)
@given(configs, st.lists(st.sampled_from(["sha256:" + "a" * 64, "sha256:" + "b" * 64]), max_size=2))
def test_a_configuration_is_read_back_as_it_was_written(config: GuestConfig, diff_ids: list[str]) -> None:
    assert decode_config(config.encode(diff_ids)) == (config, tuple(diff_ids))


@settings(max_examples=60, deadline=None)
@given(config=configs)
def test_the_guest_understands_a_configuration_as_the_host_meant_it(parsers: Parsers, config: GuestConfig) -> None:
    expected = [("entrypoint", word) for word in config.entrypoint or ()]
    expected += [("cmd", word) for word in config.cmd or ()]
    expected += [("env", item) for item in config.env]
    expected += [("user", config.user), ("workdir", config.working_dir), ("stop-signal", config.stop_signal)]
    assert parsers.run("config", config.encode()) == expected


def test_bytes_that_are_not_text_survive_the_configuration(parsers: Parsers) -> None:
    config = GuestConfig(cmd=("caf\udce9", "two\nlines", "trailing ", "back\\x41slash"))
    assert decode_config(config.encode())[0] == config
    assert [value for key, value in parsers.run("config", config.encode()) if key == "cmd"] == list(config.cmd or ())


@pytest.mark.parametrize("data", [b"", b"minivm-config 2\n", b"minivm-config 1\nnonsense x\n", b"minivm-config 1"])
def test_a_configuration_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedImageError):
        decode_config(data)


@settings(max_examples=150, deadline=None)
@given(line=lines)
@example(line='run="ip link" "quoted word" x="a"b -- -c "echo hi"')
@example(line='="x" a= "" "')
@example(line='=="')
@example(line='=="x y" ="=')
def test_host_and_guest_split_a_command_line_alike(parsers: Parsers, line: str) -> None:
    assert [word for _, word in parsers.run("split", line.encode())] == split_command_line(line)


def test_the_words_of_the_command_line_are_understood(parsers: Parsers) -> None:
    line = (
        'root=LABEL=lab ro single init=/bin/sh hostname=pc-1 user=web:www console=ttyS0 console=shell env.A="x y" '
        "B=plain ip.eth0=10.0.0.1/24 ip.eth1=dhcp gw=10.0.0.254,fe80::1%eth0 route=10.2.0.0/16,10.0.0.2 dns=1.1.1.1 "
        'dns=::1 sysctl.net.ipv4.ip_forward=1 modules=openvswitch,vrf run="ip link; x=1" -- one "two words" a="b c"'
    )
    assert parsers.run("options", line.encode()) == [
        ("root", "LABEL=lab"),
        ("init", "/bin/sh"),
        ("hostname", "pc-1"),
        ("user", "web:www"),
        ("flags", "112"),
        ("env", "A=x y"),
        ("argument", "one"),
        ("argument", "two words"),
        ("argument", "a=b c"),
        ("ip", "eth0=10.0.0.1/24"),
        ("ip", "eth1=dhcp"),
        ("gw", "10.0.0.254"),
        ("gw", "fe80::1%eth0"),
        ("route", "10.2.0.0/16,10.0.0.2"),
        ("dns", "1.1.1.1"),
        ("dns", "::1"),
        ("sysctl", "net.ipv4.ip_forward=1"),
        ("module", "openvswitch"),
        ("module", "vrf"),
        ("run", "ip link; x=1"),
    ]


@pytest.mark.parametrize(
    "word",
    (
        "hostname= hostname=a_b ip.eth0 ip.=x env.X sysctl.a minivm.x=1 init=sh gw= route= dns= modules= run= user= "
        "root= rootfstype= rootdelay= rootdelay=3601 rootdelay=soon minivm.console="
    ).split(),
)
def test_a_malformed_word_is_told_and_changes_nothing(parsers: Parsers, word: str) -> None:
    found = parsers.run("options", word.encode())
    assert next(value for key, value in found if key == "complaint").startswith(f"'{word}': ")
    assert [item for item in found if item[0] != "complaint"] == parsers.run("options", b"")


PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:33:34:Web:/var/www:\n1000:x:7:7::/odd:\n"
GROUP = "root:x:0:\nwww:x:34:\nlab:x:2000:other,web\nnet:x:2001:web\n"


@pytest.mark.parametrize(
    ("user", "ids", "home", "groups"),
    [
        ("", "0:0", "/root", ["0"]),
        ("web", "33:34", "/var/www", ["2000", "2001", "34"]),
        ("33", "33:34", "/var/www", ["2000", "2001", "34"]),
        ("web:lab", "33:2000", "/var/www", ["2000"]),
        ("web:5", "33:5", "/var/www", ["5"]),
        ("4321", "4321:0", "/", ["0"]),
        ("4321:4322", "4321:4322", "/", ["4322"]),
        ("1000", "7:7", "/odd", ["7"]),
    ],
)
def test_a_user_is_resolved_as_docker_does(parsers: Parsers, user: str, ids: str, home: str, groups: list[str]) -> None:
    found = parsers.run("account", f"{user}\n{PASSWD}--\n{GROUP}".encode())
    assert found == [("wrong", "-"), ("ids", ids), ("home", home), *(("group", gid) for gid in groups)]


@pytest.mark.parametrize("user", ["nobody-here", "web:nogroup", "99999999999"])
def test_an_unknown_user_is_told(parsers: Parsers, user: str) -> None:
    found = parsers.run("account", f"{user}\n{PASSWD}--\n{GROUP}".encode())
    assert found[0][0] == "wrong" and found[0][1] != "-"


@pytest.mark.parametrize(
    ("name", "number"),
    [("SIGTERM", 15), ("QUIT", 3), ("9", 9), ("SIGRTMIN+3", 37), ("RTMIN", 34), ("SIGNONE", 0), ("", 0), ("99", 0)],
)
def test_stop_signals_are_known_by_name_and_number(parsers: Parsers, name: str, number: int) -> None:
    assert parsers.run("signal", name.encode()) == [("number", str(number))]


def test_the_command_line_of_a_template_starts_with_console_and_root() -> None:
    assert kernel_command_line("hostname=x").split() == [*base_words(X86_64), "hostname=x"]
    assert kernel_command_line().startswith("console=ttyS0 quiet root=/dev/vda rw net.ifnames=0")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("A" * 1921, "1920"),
        (" ".join(f"V{i}=x" for i in range(31)), "NAME=value"),
        ("-- " + "x " * 31, "words after --"),
        ('run="ip link', "malformed"),
    ],
)
def test_a_command_line_that_the_kernel_would_not_take_is_refused(extra: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kernel_command_line(extra)


def test_words_with_a_dot_are_not_counted() -> None:
    assert kernel_command_line(" ".join(f"env.V{i}=x" for i in range(60)))


@pytest.mark.parametrize(("machine", "said"), [(None, "q35"), ("q35", "q35"), ("pc", "pc")])
def test_the_qemu_options_name_the_machine_type(machine: str | None, said: str) -> None:
    words = shlex.split(qemu_options(X86_64, machine))
    assert words[:2] == ["-machine", said] and words.count("-machine") == 1


def test_a_machine_type_that_guests_do_not_run_on_is_refused() -> None:
    with pytest.raises(UsageError, match="x86-64 do not run on QEMU's machine type 'microvm', only on q35 and pc"):
        qemu_options(X86_64, "microvm")


def test_the_qemu_options_are_one_gns3_string() -> None:
    words = shlex.split(qemu_options(X86_64))
    assert "type=1,serial=%vm-name%" in words and "virtio-rng-pci" in words
    assert not {"-drive", "-netdev", "-nic", "-blockdev", "-fsdev"} & set(words)


@pytest.mark.parametrize(
    ("options", "machine", "changed"),
    [
        ("-machine q35 -cpu max", "pc", "-machine pc -cpu max"),
        ("-cpu max", "pc", "-cpu max -machine pc"),
        ("", "pc", "-machine pc"),
        ("-machine q35", None, "-machine q35"),
    ],
)
def test_the_machine_type_of_options_is_replaced_or_added(options: str, machine: str | None, changed: str) -> None:
    assert with_machine(options, machine) == changed
