"""The way back: from a payload file to what was meant, and from there to the keys of a lab file."""

from __future__ import annotations

import string
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gns3_minivm.base.errors import GuestError
from gns3_minivm.documents import parse_document, yaml_text
from gns3_minivm.guest.payload import GuestCommand, GuestFile, GuestFolder, NodePayload, When
from gns3_minivm.guest.payload_reader import decode_payload
from gns3_minivm.guest.settings import NodeSettings
from gns3_minivm.labs.written.save_settings import settings_of

FULL = NodePayload(
    hostname="r1",
    user="web:www",
    workdir="/srv/my data",
    stop_signal="SIGQUIT",
    console="shell",
    entrypoint=("/bin/start", ""),
    args=("-c", "two words", "tab\there"),
    env={"COLOUR": "deep blue ", "UMLAUT": "ä", "EMPTY": "", "YES": "yes", "LINES": "a\nb \n"},
    addresses={"eth0": ("10.0.0.1/24", "fd00::1/64"), "eth1": ("dhcp", "slaac")},
    gateways=("10.0.0.254%eth0", "fe80::1%eth1"),
    routes=(("10.2.0.0/16", "10.0.0.2"),),
    dns=("1.1.1.1", "::1"),
    sysctls={"net.ipv4.ip_forward": "1"},
    modules=("vrf",),
    folders=(GuestFolder("/srv/www", "web", 0o2775), GuestFolder("/srv/plain")),
    files=(
        GuestFile(path="/etc/motd", content=b"hello\n\tworld\n"),
        GuestFile(path="/etc/secret key", content=b"\0\xff\n", owner="frr:frr", mode=0o600, when=When.BOOT),
        GuestFile(path="/etc/odd", content="trailing \n  start\r\n\x85\N{SNOWMAN}".encode()),
        GuestFile(path="/etc/empty", content=b"", owner=None, mode=0o4755),
    ),
    commands=(GuestCommand("echo 'a  b' >\\n"), GuestCommand(("ip", "link", ""), When.ONCE)),
)

names = st.text(string.ascii_letters, min_size=1, max_size=6)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
entries = st.builds(
    GuestFile,
    path=names.map(lambda name: f"/{name}"),
    content=st.binary(max_size=60) | texts.map(str.encode),
    owner=st.none() | st.just("root"),
    mode=st.none() | st.integers(0, 0o7777),
    when=st.sampled_from(When),
)
payloads = st.builds(
    NodePayload,
    entrypoint=st.none() | st.lists(texts, max_size=3).map(tuple),
    args=st.none() | st.lists(texts, max_size=3).map(tuple),
    env=st.dictionaries(names, texts, max_size=3),
    files=entries.map(lambda file: (file,)),
    commands=st.lists(texts.filter(str.strip).map(GuestCommand), max_size=2).map(tuple),
)


def through_yaml(payload: NodePayload) -> NodePayload:
    document = parse_document(Path("lab.yml"), yaml_text({"hostname": "x", **settings_of(payload)}), what="settings")
    values = document.read_as(NodeSettings, hint="")
    return replace(values.payload(Path()), hostname=payload.hostname)


def test_what_was_written_is_read() -> None:
    assert decode_payload(FULL.encode()) == FULL
    assert decode_payload(NodePayload().encode()) == NodePayload()


def test_what_was_read_is_the_same_after_a_lab_file() -> None:
    assert through_yaml(FULL) == FULL


@given(payloads)
@example(NodePayload(args=("\x85", "a\n\u2028b")))
@settings(max_examples=150, deadline=None)
def test_any_payload_survives_both_ways(payload: NodePayload) -> None:
    assert decode_payload(payload.encode()) == payload
    assert through_yaml(payload) == payload


def test_a_gateway_without_an_interface_goes_to_the_one_that_leads_to_it() -> None:
    payload = NodePayload(addresses={"eth0": ("dhcp",), "eth1": ("10.0.0.1/24",)}, gateways=("10.0.0.254",))
    assert settings_of(payload)["interfaces"] == {
        "eth0": "dhcp",
        "eth1": {"address": "10.0.0.1/24", "gateway": "10.0.0.254"},
    }


def sealed(body: bytes) -> bytes:
    return body + f"end {zlib.crc32(body):08x}\n".encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "checksum"),
        (FULL.encode()[:-2], "checksum"),
        (FULL.encode().replace(b"hostname r1", b"hostname r2"), "checksum"),
        (sealed(b"minivm-node 2\n"), "first line is 'minivm-node 2'"),
        (sealed(b"minivm-node 1\nfuture thing\n"), "'future' is unknown"),
        (sealed(b"minivm-node 1\nowner root\n"), "'owner' is unknown"),
        (sealed(b"minivm-node 1\nip.eth0 nonsense\n"), "must be ADDRESS/LENGTH"),
        (sealed(b"minivm-node 1\nfile /x\ndata ===\n"), "cannot be read"),
        (sealed(b"minivm-node 1\ncmd-arg x\n"), "cannot be read"),
    ],
)
def test_what_is_damaged_or_of_another_kind_is_told(data: bytes, said: str) -> None:
    with pytest.raises(GuestError, match=said):
        decode_payload(data)
