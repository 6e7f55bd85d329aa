"""Frames of the exec protocol: both sides of them, guest_frames.py and kernel/init compiled for this machine."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gns3_minivm.base.errors import UsageError
from gns3_minivm.guest.exec import ExecRequest
from gns3_minivm.guest.frames import (
    ANNOUNCEMENT,
    DATA_MAX,
    KNOCK,
    REQUEST_DATA_MAX,
    Frame,
    ReplyReader,
    encode_reply,
    encode_request,
)
from tests.support.parsers import Parsers

identifiers = st.text("0123456789abcdef", min_size=16, max_size=16)
frames = st.builds(
    Frame,
    kind=st.sampled_from("oexabn"),
    id=identifiers,
    number=st.integers(0, 999_999_999),
    data=st.binary(max_size=DATA_MAX),
)
requests = st.builds(
    Frame,
    kind=st.sampled_from("HDEARB"),
    id=identifiers,
    number=st.integers(0, 999_999_999),
    data=st.binary(max_size=REQUEST_DATA_MAX),
)
shown = st.binary(max_size=30).filter(lambda text: b"\x1b" not in text)
keys = st.text("\r\n\t #$%&'()*-.:<>?@[]_{|}~\x03\x1b\x7f", max_size=10).map(str.encode)
"""What frames do not consist of."""
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def scan(parsers: Parsers, data: bytes, step: int = 255) -> tuple[list[Frame], bytes]:
    """What the guest takes for frames, and what for keys, of bytes that arrive in pieces."""
    found, typed = [], b""
    items = parsers.run("frames", bytes([step]) + data)
    for (key, value), (_, data_text) in zip(items, [*items[1:], ("", "")], strict=True):
        if key == "frame":
            version, kind, identifier, number = value.split()
            found.append(
                Frame(kind=kind, id=identifier, number=int(number), data=bytes.fromhex(data_text), version=int(version))
            )
        elif key == "typed":
            typed += bytes.fromhex(value)
    return found, typed


@given(st.lists(st.tuples(shown, frames), max_size=4), shown, st.integers(1, 400))
def test_frames_are_found_between_what_is_shown_however_it_is_cut(
    parts: list[tuple[bytes, Frame]], last: bytes, step: int
) -> None:
    data = b"".join(text + encode_reply(frame) for text, frame in parts) + last
    reader, text = ReplyReader(), b""
    found: list[Frame] = []
    for at in range(0, len(data), step):
        more_text, more_frames = reader.feed(data[at : at + step])
        text, found = text + more_text, found + more_frames
    assert found == [frame for _, frame in parts] and reader.damaged == 0
    assert text == b"".join(text for text, _ in parts) + last


@given(frames, frames, st.data())
def test_a_damaged_frame_is_left_out_and_the_next_one_found(first: Frame, second: Frame, data: st.DataObject) -> None:
    good = encode_reply(first)
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.binary(max_size=3).filter(lambda b: b != good[at : at + 1]))
    reader = ReplyReader()
    _, found = reader.feed(good[:at] + other + good[at + 1 :] + b"\r\n" + encode_reply(second))
    # What replaces a byte may bring the same frame out again, as with a letter before its start.
    assert found in ([second], [first, second])
    if found == [first, second]:
        assert good in good[:at] + other + good[at + 1 :]


@given(st.binary(max_size=300))
def test_nothing_that_a_console_shows_breaks_the_reader(data: bytes) -> None:
    reader = ReplyReader()
    text, found = reader.feed(data)
    rest, _ = reader.feed(b"\r\n")
    assert not found and (reader.damaged or text + rest == data + b"\r\n")


@settings(max_examples=60, deadline=None)
@given(request=requests, before=keys, behind=keys, step=st.integers(1, 255))
def test_the_guest_finds_a_request_among_what_is_typed(
    parsers: Parsers, request: Frame, before: bytes, behind: bytes, step: int
) -> None:
    assert scan(parsers, before + encode_request(request) + behind, step) == ([request], before + behind)


@settings(max_examples=60, deadline=None)
@given(request=requests, typed=keys, data=st.data())
def test_keys_that_come_inside_a_frame_reach_the_person_and_leave_it_whole(
    parsers: Parsers, request: Frame, typed: bytes, data: st.DataObject
) -> None:
    frame = encode_request(request)
    at = data.draw(st.integers(6, len(frame) - 1))
    assert scan(parsers, frame[:at] + typed + frame[at:]) == ([request], typed)


@settings(max_examples=60, deadline=None)
@given(request=requests, data=st.data())
def test_the_guest_passes_over_a_frame_with_another_letter_in_it(
    parsers: Parsers, request: Frame, data: st.DataObject
) -> None:
    frame = encode_request(request)
    at = data.draw(st.integers(6, len(frame) - 2))
    letter = data.draw(st.sampled_from([b"", b"x", b"Q", b";", b"=", b"99"]).filter(lambda b: b != frame[at : at + 1]))
    damaged = frame[:at] + letter + frame[at + 1 :]
    assert scan(parsers, damaged + encode_request(request)) == ([request], b"")


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=400) | st.text("\x1e\x1f7411;DHabc0=\r", max_size=200).map(str.encode),
    step=st.integers(1, 255),
)
@example(data=b"\x1e7411;" + b"A" * 5000 + b"\x1f\r", step=255)
@example(data=b"\x1e\x1e7\x1e74\r", step=1)
def test_no_bytes_on_the_line_break_the_guest(parsers: Parsers, data: bytes, step: int) -> None:
    found, typed = scan(parsers, data, step)
    assert all(frame == Frame(kind="H", id=ANNOUNCEMENT) for frame in found)
    assert len(typed) <= len(data)


def test_the_rest_of_a_frame_that_began_before_the_line_was_open_is_not_typed(parsers: Parsers) -> None:
    frame = encode_request(Frame(kind="D", id="0123456789abcdef", number=0, data=b"arg ls\n\n"))
    assert scan(parsers, frame[9:] + b"ls\r") == ([], b"ls\r")


def test_control_keys_of_the_protocol_are_still_keys(parsers: Parsers) -> None:
    assert scan(parsers, b"a\x1eb\x1fc\x1e") == ([], b"a\x1eb\x1fc\x1e")


def test_an_empty_frame_is_a_question(parsers: Parsers) -> None:
    assert scan(parsers, b"a" + KNOCK + b"b") == ([Frame(kind="H", id=ANNOUNCEMENT)], b"ab")


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=DATA_MAX))
def test_the_host_reads_what_the_guest_writes(parsers: Parsers, data: bytes) -> None:
    [(_, written)] = parsers.run("write-frame", data)
    frame = Frame(kind="o", id="0123456789abcdef", number=7, data=data)
    assert bytes.fromhex(written) == encode_reply(frame)
    assert ReplyReader().feed(bytes.fromhex(written)) == (b"", [frame])


@pytest.mark.parametrize(
    ("text", "gaps"),
    [
        (b"ab\r\n", "1111"),
        (b"\x1b[1;32mx", "00000011"),
        (b"\x1b]0;t\x07x", "0000011"),
        (b"\x1b]0;t\x1b\\x", "00000011"),
        (b"\x1bPq\x1b\\x", "000011"),
        (b"\x1b(Bx", "0011"),
        (b"\x1b7x", "011"),
        ("ü€😀x".encode(), "0100100011"),
        (b"\xff\x80x", "111"),
        (b"\x1b[1\x18x", "00011"),
        (b"\x1b[1\x1b[mx", "0000011"),
    ],
)
def test_frames_come_neither_inside_an_escape_sequence_nor_inside_a_character(
    parsers: Parsers, text: bytes, gaps: str
) -> None:
    assert "".join(value for _, value in parsers.run("gaps", text)) == gaps


@settings(max_examples=60, deadline=None)
@given(
    argv=st.lists(words, min_size=1, max_size=4),
    environment=st.dictionaries(st.text("ABC", min_size=1, max_size=3), words, max_size=3),
    user=words,
)
def test_the_guest_understands_a_request_as_the_host_meant_it(
    parsers: Parsers, argv: list[str], environment: dict[str, str], user: str
) -> None:
    document = ExecRequest(argv=argv, environment=environment, user=user, working_dir="/a b").encode()
    assert document.endswith(b"\n\n") and document.count(b"\n\n") == 1
    expected = [("wrong", "-"), *(("arg", word) for word in argv)]
    expected += [("env", f"{name}={value}") for name, value in environment.items()]
    expected += [("shell", "-"), ("user", user), ("workdir", "/a b")]
    assert parsers.run("request", document) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"", "has no command"), (b"nonsense x\n", "unknown line"), (b"user root\n", "has no command")],
)
def test_a_request_that_means_nothing_is_refused_by_the_guest(parsers: Parsers, text: bytes, said: str) -> None:
    [(_, wrong)] = parsers.run("request", text)
    assert said in wrong


@pytest.mark.parametrize("request_", [ExecRequest(), ExecRequest(argv=["a"], shell="b")])
def test_a_request_is_words_or_a_line(request_: ExecRequest) -> None:
    with pytest.raises(UsageError, match="either words or a line"):
        request_.encode()


def test_a_request_that_is_too_long_is_refused_by_the_host() -> None:
    with pytest.raises(UsageError, match=r"has 70\d{3} bytes .* at most 65536"):
        ExecRequest(shell="x" * 70_000).encode()


def test_a_frame_to_the_guest_fits_into_one_read_of_gns3s_console() -> None:
    largest = encode_request(Frame(kind="D", id="0" * 16, number=999_999_999, data=b"x" * REQUEST_DATA_MAX))
    assert len(largest) <= 1024
    assert re.fullmatch(rb"\x1e[A-Za-z0-9+/=;]+\x1f", largest)
