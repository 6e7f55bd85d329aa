"""Versions are compared by their numbers."""

from __future__ import annotations

import pytest

from gns3_minivm.base.versions import version_numbers, version_text


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("5.1", (5, 1)),
        ("8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.4)", (8, 2, 2)),
        ("2.2.0-rc1", (2, 2, 0)),
        ("10.0", (10, 0)),
        ("3.0.0dev4", (3, 0, 0)),
        ("7.", (7,)),
        ("unknown", ()),
        ("", ()),
    ],
)
def test_a_version_begins_with_its_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(text) == numbers


def test_a_version_of_two_digits_is_newer_than_one_of_one() -> None:
    assert version_numbers("10.0") > version_numbers("9.2.4")


def test_numbers_are_shown_as_they_were_written() -> None:
    assert version_text((5, 1)) == "5.1"
