"""What a console has shown, as text for messages."""

from __future__ import annotations

import pytest

from gns3_minivm.guest.transcript import Transcript, plain


@pytest.mark.parametrize("cut", range(1, 30))
def test_control_sequences_and_characters_cut_in_two_are_put_together(cut: int) -> None:
    transcript = Transcript()
    data = "\x1b[?2004h\x1b[1;32mgrün\x1b[0m\r\nz\r\n".encode()
    transcript.feed(data[:cut])
    transcript.feed(data[cut:])
    assert transcript.text == "grün\nz\n"


def test_terminal_sequences_are_taken_out() -> None:
    assert plain("\x1b]0;title\x07a\x1b[6n\x1b[Jb\x1b(Bc\r\r\nd\x1b=") == "abc\nd"


def test_the_last_lines_are_those_with_something_in_them() -> None:
    transcript = Transcript()
    transcript.feed(b"".join(b"line %d\r\n\r\n" % number for number in range(40)))
    assert transcript.last_lines().splitlines() == [f"  line {number}" for number in range(25, 40)]


def test_a_long_boot_is_not_kept_for_ever() -> None:
    transcript = Transcript()
    for _ in range(100):
        transcript.feed(b"x" * 4096)
    assert len(transcript.text) == 65536


def test_what_is_cut_off_at_the_end_is_shown_all_the_same() -> None:
    transcript = Transcript()
    transcript.feed(b"end\x1b[")
    transcript.feed(b"")
    assert transcript.text.startswith("end")
