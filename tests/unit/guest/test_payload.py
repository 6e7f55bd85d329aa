"""Both sides of the payload file: guest_payload.py, and the parser of kernel/init compiled for this machine."""

from __future__ import annotations

import shlex
import string
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gns3_minivm.base.errors import UsageError
from gns3_minivm.guest import payload as guest_payload
from gns3_minivm.guest.payload import (
    GuestCommand,
    GuestFile,
    GuestFolder,
    NodePayload,
    When,
    qemu_option,
)
from tests.support.parsers import Parsers

FULL = NodePayload(
    hostname="r1",
    user="web:www",
    workdir="/srv/my data",
    stop_signal="SIGQUIT",
    console="shell",
    entrypoint=("/bin/start", ""),
    args=("-c", "two words", "tab\there"),
    env={"COLOUR": "deep blue ", "UMLAUT": "ä", "EMPTY": ""},
    addresses={"eth0": ("10.0.0.1/24", "fd00::1/64"), "eth1": ("dhcp", "slaac")},
    gateways=("10.0.0.254", "fe80::1%eth0"),
    routes=(("10.2.0.0/16", "10.0.0.2"),),
    dns=("1.1.1.1", "::1"),
    sysctls={"net.ipv4.ip_forward": "1"},
    modules=("vrf",),
    folders=(GuestFolder("/srv/www", "web", 0o2775),),
    files=(
        GuestFile(path="/etc/motd", content=b"hello\n"),
        GuestFile(path="/etc/secret key", content=b"\0\xff\n", owner="frr:frr", mode=0o600, when=When.BOOT),
    ),
    commands=(GuestCommand("echo 'a  b' >\\n"), GuestCommand(("ip", "link", ""), When.ONCE)),
)

GOLDEN = r"""minivm-node 1
hostname r1
user web:www
workdir /srv/my data
minivm.console shell
stop-signal SIGQUIT
entrypoint
entrypoint-arg /bin/start
entrypoint-arg
cmd
cmd-arg -c
cmd-arg two words
cmd-arg tab\x09here
env.COLOUR deep blue\x20
env.UMLAUT \xc3\xa4
env.EMPTY
modules vrf
sysctl.net.ipv4.ip_forward 1
ip.eth0 10.0.0.1/24
ip.eth0 fd00::1/64
ip.eth1 dhcp
ip.eth1 slaac
gw 10.0.0.254
gw fe80::1%eth0
route 10.2.0.0/16,10.0.0.2
dns 1.1.1.1
dns ::1
folder /srv/www
owner web
mode 2775
file /etc/motd
once dbcf938978c1bec9
data aGVsbG8K
file /etc/secret key
owner frr:frr
mode 600
data AP8K
run echo 'a  b' >\x5cn
exec ip
once c8e781b92e1cc8e1
exec-arg link
exec-arg
end e2ce496c
"""

names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=8)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
owners = st.none() | st.sampled_from(["root", "33", "web:www"])
modes = st.none() | st.integers(0, 0o7777)
whens = st.sampled_from(When)
commands = st.builds(
    GuestCommand,
    texts.filter(str.strip) | st.lists(texts, min_size=1, max_size=3).map(tuple).filter(lambda w: bool(w[0].strip())),
    whens,
)
payloads = st.builds(
    NodePayload,
    entrypoint=st.none() | st.lists(texts, max_size=3).map(tuple),
    args=st.none() | st.lists(texts, max_size=3).map(tuple),
    env=st.dictionaries(names, texts, max_size=3),
    sysctls=st.dictionaries(names.map(lambda name: f"a.{name}"), texts, max_size=3),
    files=st.builds(
        GuestFile,
        path=paths.map(lambda p: f"/f{p}-"),
        content=st.binary(max_size=400),
        owner=owners,
        mode=modes,
        when=whens,
    ).map(lambda file: (file,)),
    folders=st.builds(GuestFolder, paths.map(lambda p: f"/d{p}"), owners, modes).map(lambda folder: (folder,)),
    commands=st.lists(commands, max_size=3).map(tuple),
)


def understood(parsers: Parsers, data: bytes) -> list[tuple[str, str]]:
    """What the guest makes of a payload: pairs of a key and a value; "-" stands for one that is not there."""
    return parsers.run("payload", data)


def sealed(body: bytes) -> bytes:
    """A payload with the end that belongs to it."""
    return body + b"end %08x\n" % zlib.crc32(body)


def test_a_payload_is_rendered_line_by_line() -> None:
    assert FULL.encode().decode("ascii") == GOLDEN


def test_the_guest_understands_every_setting(parsers: Parsers) -> None:
    assert understood(parsers, FULL.encode()) == [
        ("wrong", "-"),
        ("node", "111"),
        ("entrypoint", "/bin/start"),
        ("entrypoint", ""),
        ("cmd", "-c"),
        ("cmd", "two words"),
        ("cmd", "tab\there"),
        ("env", "COLOUR=deep blue "),
        ("env", "UMLAUT=ä"),
        ("env", "EMPTY="),
        ("user", ""),
        ("workdir", "/srv/my data"),
        ("stop-signal", "SIGQUIT"),
        ("hostname", "r1"),
        ("user", "web:www"),
        ("flags", "002"),
        ("ip", "eth0=10.0.0.1/24"),
        ("ip", "eth0=fd00::1/64"),
        ("ip", "eth1=dhcp"),
        ("ip", "eth1=slaac"),
        ("gw", "10.0.0.254"),
        ("gw", "fe80::1%eth0"),
        ("route", "10.2.0.0/16,10.0.0.2"),
        ("dns", "1.1.1.1"),
        ("dns", "::1"),
        ("sysctl", "net.ipv4.ip_forward=1"),
        ("module", "vrf"),
        *entry("folder", "/srv/www", owner="web", mode="2775"),
        *entry("file", "/etc/motd", once=identifiers(FULL)[0], data=b"hello\n"),
        *entry("file", "/etc/secret key", owner="frr:frr", mode="600", data=b"\0\xff\n"),
        *entry("command", "echo 'a  b' >\\n"),
        *entry("command", "-", argv=("ip", "link", ""), once=identifiers(FULL)[1]),
    ]


def entry(
    kind: str,
    path: str,
    *,
    argv: tuple[str, ...] = (),
    owner: str = "-",
    mode: str = "-",
    once: str = "-",
    data: bytes = b"",
) -> list[tuple[str, str]]:
    words = [("argv", word) for word in argv]
    status = [("owner", owner), ("mode", mode), ("once", once), ("broken", "-")]
    return [(kind, path), *words, *status, ("data", data.hex())]


def identifiers(payload: NodePayload) -> list[str]:
    return [line.split()[1] for line in payload.encode().decode().splitlines() if line.startswith("once ")]


@settings(max_examples=60, deadline=None)
@given(payload=payloads)
def test_the_guest_understands_a_payload_as_the_host_meant_it(parsers: Parsers, payload: NodePayload) -> None:
    found = understood(parsers, payload.encode())
    assert [key for key, _ in found if key in ("wrong", "complaint")] == ["wrong"] and found[0] == ("wrong", "-")
    assert [value for key, value in found if key == "entrypoint"] == list(payload.entrypoint or ())
    assert [value for key, value in found if key == "cmd"] == list(payload.args or ())
    assert [value for key, value in found if key == "env"] == [f"{k}={v}" for k, v in payload.env.items()]
    assert [value for key, value in found if key == "sysctl"] == [f"{k}={v}" for k, v in payload.sysctls.items()]
    entries = found[next(i for i, (key, _) in enumerate(found) if key == "folder") :]
    once = iter(identifiers(payload))
    expected: list[tuple[str, str]] = []
    for folder in payload.folders:
        expected += entry("folder", folder.path, owner=folder.owner or "-", mode=octal(folder.mode))
    for file in payload.files:
        identifier = next(once) if file.when is When.ONCE else "-"
        owner, mode = file.owner or "-", octal(file.mode)
        expected += entry("file", file.path, once=identifier, data=file.content, owner=owner, mode=mode)
    for command in payload.commands:
        identifier = next(once) if command.when is When.ONCE else "-"
        if isinstance(command.command, str):
            expected += entry("command", command.command, once=identifier)
        else:
            expected += entry("command", "-", argv=command.command, once=identifier)
    assert entries == expected


def octal(mode: int | None) -> str:
    return "-" if mode is None else f"{mode:o}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it does not start with 'minivm-node'"),
        (b"hello", "it does not start with 'minivm-node'"),
        (b"minivm-node 2\nend 00000000\n", "its version is not 1"),
        (b"minivm-node 1\n", "it is cut off"),
        (b"minivm-node 1\nhostname r1\n", "it is cut off"),
        (b"minivm-node 1\nend 1234abcd\n", "its checksum is wrong"),
        (sealed(b"minivm-node 1\n")[:-1], "it is cut off"),
        (sealed(b"minivm-node 1\n") + b"hostname r1\n", "it is cut off"),
        (sealed(b"minivm-node 1\nhostname\0r1\n"), "it contains a zero byte"),
    ],
)
def test_a_damaged_payload_is_told_and_nothing_of_it_is_used(parsers: Parsers, data: bytes, said: str) -> None:
    assert understood(parsers, data) == [("wrong", said)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_payload_with_one_changed_byte_or_a_missing_end_is_noticed(parsers: Parsers, data: st.DataObject) -> None:
    whole = FULL.encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))]) + whole[at + 1 :]
    for damaged in (changed, whole[:at]):
        found = understood(parsers, damaged)
        assert len(found) == 1 and found[0] != ("wrong", "-")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense 1", "line 2: 'nonsense': is unknown"),
        ("", "line 2: '': is unknown"),
        ("hostname a_b", "line 2: 'hostname=a_b': must be up to 63 letters, digits and inner hyphens"),
        ("minivm.console sofa", "line 2: 'minivm.console=sofa': must be main, shell or auto"),
        ("mode 644", "line 2: 'mode': nothing precedes it that it could belong to"),
        ("exec-arg x", "line 2: 'exec-arg': nothing precedes it that it could belong to"),
        ("file etc/motd", "line 2: 'file': must be an absolute path"),
        ("folder /", "line 2: 'folder': must be an absolute path"),
        ("file /a\nmode 8", "line 3: 'mode': must be an octal number up to 7777"),
        ("file /a\nmode 17777", "line 3: 'mode': must be an octal number up to 7777"),
        ("file /a\ndata aGVsbG8", "line 3: 'data': must be base64"),
        ("file /a\ndata a=Vs", "line 3: 'data': must be base64"),
        ("file /a\nonce", "line 3: 'once': must be a word"),
        ("folder /a\ndata aGVsbG8K", "line 3: 'data': nothing precedes it that it could belong to"),
        ("run x\nowner web", "line 3: 'owner': nothing precedes it that it could belong to"),
        ("run x\nexec-arg y", "line 3: 'exec-arg': nothing precedes it that it could belong to"),
    ],
)
def test_a_wrong_line_is_told_and_the_others_count(parsers: Parsers, line: str, said: str) -> None:
    found = understood(parsers, sealed(f"minivm-node 1\n{line}\nuser web\n".encode()))
    assert [value for key, value in found if key == "complaint"] == [said]
    assert ("user", "web") in found


def test_a_file_with_a_wrong_line_is_not_written(parsers: Parsers) -> None:
    found = understood(parsers, sealed(b"minivm-node 1\nfile /a\nmode 9\ndata aGVsbG8K\nfile /b\ndata aGVsbG8K\n"))
    assert [value for key, value in found if key == "broken"] == ["yes", "-"]


def test_complaints_about_a_payload_come_to_an_end(parsers: Parsers) -> None:
    found = understood(parsers, sealed(b"minivm-node 1\n" + b"nonsense\n" * 500))
    complaints = [value for key, value in found if key == "complaint"]
    assert len(complaints) == 21 and complaints[-1] == "more lines are wrong"


keys = st.sampled_from(
    "hostname user gw route dns modules minivm.console ip.eth0 ip. env.A env. sysctl.a.b entrypoint entrypoint-arg cmd "
    "cmd-arg workdir stop-signal file folder run exec exec-arg once mode owner data end x".split()
)
values = st.sampled_from(["/a/b", "10.0.0.1/24", "aGVsbG8K", "aA==", "====", "7777", "\\x", "\\x4", "\\x41", ""])
some_lines = st.lists(st.tuples(keys, values | texts).map(" ".join) | texts, max_size=12)


@settings(max_examples=150, deadline=None)
@given(lines=some_lines)
def test_no_payload_makes_the_guest_read_what_is_not_its_own(parsers: Parsers, lines: list[str]) -> None:
    understood(parsers, sealed(("minivm-node 1\n" + "".join(f"{line}\n" for line in lines)).encode()))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hostname": "a_b"}, "hostname 'a_b' must be up to 63 letters"),
        ({"hostname": "-a"}, "hostname '-a'"),
        ({"hostname": "x" * 64}, "up to 63"),
        ({"user": "a b"}, "user 'a b' must be NAME"),
        ({"user": ""}, "user ''"),
        ({"workdir": "srv"}, "workdir 'srv' must be an absolute path"),
        ({"console": "sofa"}, "console 'sofa' must be one of auto, main, shell"),
        ({"stop_signal": "quit"}, "stop signal 'quit'"),
        ({"env": {"A B": "x"}}, "environment variable 'A B' must be a name"),
        ({"env": {"A": "x\0y"}}, "environment variable A 'x\\x00y' contains a zero byte"),
        ({"args": ("\ud800",)}, "has characters that text cannot contain"),
        ({"sysctls": {"forward": "1"}}, "sysctl 'forward' must be a name as in net.ipv4.ip_forward"),
        ({"modules": ("a b",)}, "module 'a b'"),
        ({"addresses": {"eth0/1": ("dhcp",)}}, "interface 'eth0/1'"),
        ({"addresses": {"eth0": ("10.0.0.1",)}}, "interface eth0: '10.0.0.1' must be ADDRESS/LENGTH"),
        ({"addresses": {"eth0": ("10.0.0.1/33",)}}, "interface eth0: '10.0.0.1/33'"),
        ({"gateways": ("10.0.0.1/24",)}, "gateway '10.0.0.1/24' must be an address"),
        ({"gateways": ("10.0.0.1", "10.0.0.2")}, "one for IPv4 and one for IPv6"),
        ({"routes": (("10.2.0.1/16", "10.0.0.2"),)}, "route to '10.2.0.1/16': 10.2.0.1/16 has host bits set"),
        ({"routes": (("10.2.0.0/16", "fd00::1"),)}, "has another IP version"),
        ({"dns": ("one.one",)}, "name server 'one.one'"),
        ({"files": (GuestFile(path="/a", content=b""), GuestFile(path="/a", content=b""))}, "/a appears 2 times"),
        (
            {"files": (GuestFile(path="/a", content=b""), GuestFile(path="/a/b", content=b""))},
            "/a/b cannot exist: /a is a file",
        ),
    ],
)
def test_what_the_guest_would_not_take_is_refused(settings: Mapping[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        NodePayload(**settings)
    assert said in caught.value.message


@pytest.mark.parametrize("path", ["etc/motd", "/", "/a/", "/a//b", "/a/../b", "/./a", "/a\nb", "", "/" + "n" * 241])
def test_a_path_that_is_no_place_for_a_file_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="file "):
        GuestFile(path=path, content=b"")


def test_a_file_of_unknown_mode_or_owner_is_refused() -> None:
    with pytest.raises(UsageError, match="file /a: mode 10000 must be an octal number"):
        GuestFile(path="/a", content=b"", mode=0o10000)
    with pytest.raises(UsageError, match="folder /a: owner 'a b' must be NAME"):
        GuestFolder("/a", owner="a b")
    with pytest.raises(UsageError, match="a command is empty"):
        GuestCommand(())


def test_a_payload_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_payload, "SIZE_MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="the payload has 1401 bytes; a node accepts at most 1000"):
        NodePayload(files=(GuestFile(path="/big", content=b"x" * 1000),)).encode()


def test_the_identifier_changes_with_everything_that_is_said_about_a_file() -> None:
    files = [
        GuestFile(path="/a", content=b"x"),
        GuestFile(path="/a", content=b"y"),
        GuestFile(path="/b", content=b"x"),
        GuestFile(path="/a", content=b"x", mode=0o600),
        GuestFile(path="/a", content=b"x", owner="web"),
    ]
    assert len({identifiers(NodePayload(files=(file,)))[0] for file in files}) == len(files)


def test_the_qemu_option_stands_commas_and_blanks_in_the_name() -> None:
    assert qemu_option() == "-fw_cfg name=opt/gns3-minivm/node,file=minivm-node"
    assert shlex.split(qemu_option("a,b c")) == ["-fw_cfg", "name=opt/gns3-minivm/node,file=a,,b c"]
