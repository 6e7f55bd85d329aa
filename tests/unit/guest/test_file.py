"""Files as the guest reads them (kernel/init compiled for this machine)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.parsers import Parsers


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"name\n", "name"),
        (b" name\n", "name"),
        (b"\t \r name \t\r\nsecond\n", "name"),
        (b"no end", "no end"),
        (b" \t\n", ""),
        (b"\nsecond\n", ""),
        (b"", ""),
    ],
)
def test_the_first_line_of_a_file_has_no_white_space_around_it_and_its_memory_can_be_given_back(
    parsers: Parsers, tmp_path: Path, content: bytes, line: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert parsers.run("line", bytes(tmp_path / "file")) == [("line", line)]


def test_a_file_that_is_not_there_has_an_empty_first_line(parsers: Parsers, tmp_path: Path) -> None:
    assert parsers.run("line", bytes(tmp_path / "none")) == [("line", "")]
