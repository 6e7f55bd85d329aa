"""What differs between two values is seen, however long they are and wherever it stands."""

from __future__ import annotations

import pytest

from gns3_minivm.cli.show.changes import VALUE_MAX, change, deviation

OPTIONS = (
    "-cpu Nehalem -smbios type=1,serial=%vm-name% -object memory-backend-file,id=box,mem-path=box,size=4M,share=on "
    "-device ivshmem-plain,memdev=box -device virtio-balloon-pci,free-page-reporting=on"
)


def test_short_values_are_shown_whole() -> None:
    assert change(256, 512) == "256 -> 512"
    assert change("a", "", lambda value: str(value) or "none") == "a -> none"
    assert deviation("yes", "no") == "'yes' (not 'no')"


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (OPTIONS, OPTIONS.replace("share=on ", "share=on -nodefaults "), "with '-nodefaults'"),
        (OPTIONS.replace("Nehalem ", "Nehalem -no-acpi "), OPTIONS, "without '-no-acpi'"),
        (OPTIONS, OPTIONS.replace("Nehalem", "max"), "'Nehalem' -> 'max'"),
        (
            OPTIONS,
            OPTIONS.replace("Nehalem", "max").replace("size=4M", "size=8M") + " -s",
            (
                "'Nehalem' -> 'max', 'memory-backend-file,id=box,mem-path=box,size=4M,share=on' -> "
                "'memory-backend-file,id=box,mem-path=box,size=8M,share=on', with '-s'"
            ),
        ),
    ],
)
def test_of_long_lines_the_words_that_differ_are_shown(old: str, new: str, shown: str) -> None:
    assert change(old, new) == shown


def test_what_is_kept_is_told_from_the_servers_side() -> None:
    assert deviation(f"{OPTIONS} -s", OPTIONS) == "with '-s'"
    assert deviation(OPTIONS, f"{OPTIONS} -s") == "without '-s'"


def test_long_words_are_cut_around_their_first_difference() -> None:
    long = "x" * 300
    told = change(f"{long}one{long}", f"{long}two{long}", str)
    before, _, after = told.partition(" -> ")
    assert before.startswith("…" + "x" * 20 + "one") and after.startswith("…" + "x" * 20 + "two")
    assert len(before) == len(after) == VALUE_MAX


def test_of_long_tables_the_keys_that_differ_are_shown() -> None:
    label = {"x": 0, "y": -30, "style": "font-family: TypeWriter;font-size: 10;fill: #000000;fill-opacity: 1.0;"}
    assert change(label, {**label, "y": -31}, str) == "{'y': -30} -> {'y': -31}"


def test_other_white_space_is_a_difference_too() -> None:
    told = change(OPTIONS, OPTIONS.replace(" -device virtio", "  -device virtio"), str)
    before, _, after = told.partition(" -> ")
    assert "box -device" in before and "box  -device" in after
