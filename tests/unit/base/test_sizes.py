"""Sizes are told in the units in which people give them."""

from __future__ import annotations

import pytest

from gns3_minivm.base.sizes import binary_size, parse_bytes, size


@pytest.mark.parametrize("text", ["16M", "300M", "1025M", "8191M", "8G", "1536G", "20G", "16T", "64K"])
def test_a_size_is_told_with_the_number_and_the_unit_that_it_was_given_in(text: str) -> None:
    size_bytes = parse_bytes(text)
    assert size_bytes is not None
    told = {"1536G": "1.5 TiB"}.get(text, f"{text[:-1]} {text[-1]}iB")
    assert binary_size(size_bytes) == told


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [
        (8_189_001_728, "7.63 GiB"),
        (3 << 29, "1.5 GiB"),
        (16384 << 20, "16 GiB"),
        (123_456_789, "117.74 MiB"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (100 << 40, "100 TiB"),
        (100_000 << 40, "100000.00 TiB"),
    ],
)
def test_what_is_not_even_is_rounded(size_bytes: int, told: str) -> None:
    assert binary_size(size_bytes) == told


def test_files_are_told_in_decimal_units() -> None:
    assert [size(count) for count in (4300, 5_400_000, 8 << 30)] == ["4.3 kB", "5.4 MB", "8.59 GB"]
