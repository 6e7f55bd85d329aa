"""kernel/monolithic.config: each line says what it is for, and what is asked for is safe."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from gns3_minivm.base import resources
from gns3_minivm.bundle.source.compile import read_configuration
from tests.support.monolithic_config import OFF, ON, read_options, weaknesses

KERNEL = resources.folder("kernel")
CONFIGURATION = KERNEL / "monolithic.config"
LINE = re.compile(r"(?:CONFIG_(\w+)=(?:y|\d+|\"[^\"]*\")|# CONFIG_(\w+) is not set) +# \S.*")


def lines() -> list[str]:
    """The lines that set an option, or say that one is off."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith(("CONFIG_", "# CONFIG_"))]


def test_each_line_says_what_it_is_for() -> None:
    assert [line for line in lines() if not LINE.fullmatch(line)] == []


def test_all_that_is_no_option_is_a_heading_or_a_comment() -> None:
    others = set(CONFIGURATION.read_text(encoding="utf-8").splitlines()) - set(lines())
    assert [line for line in others if line and not line.startswith(("# ", "## ")) and line != "#"] == []


def test_no_option_is_named_twice() -> None:
    names = Counter(found[1] or found[2] for line in lines() if (found := LINE.fullmatch(line)))
    assert [name for name, times in names.items() if times > 1] == []


def test_nothing_is_a_module() -> None:
    assert "m" not in read_options(read_configuration(CONFIGURATION)).values()


def test_the_build_reads_each_line() -> None:
    assert len(read_configuration(CONFIGURATION)) == len(lines())
    assert all("#" not in line[1:] for line in read_configuration(CONFIGURATION))


def test_what_is_asked_for_is_safe() -> None:
    asked = read_configuration(CONFIGURATION)
    assert weaknesses(read_options(asked)) == []


@pytest.mark.parametrize("name", ON)
def test_an_option_that_is_off_is_found(name: str) -> None:
    options = read_options(read_configuration(CONFIGURATION))
    del options[name]
    assert weaknesses(options) == [f"{name} is off: {ON[name]}"]


@pytest.mark.parametrize("name", OFF)
def test_an_option_that_is_on_is_found(name: str) -> None:
    options = read_options(read_configuration(CONFIGURATION)) | {name: "y"}
    assert weaknesses(options) == [f"{name} is on: {OFF[name]}"]


def test_the_cost_of_each_group_is_written_down() -> None:
    headings = re.findall(r"^## (Hardening|Network: .+)$", CONFIGURATION.read_text(encoding="utf-8"), re.MULTILINE)
    headings.remove("Network: protocols")
    assert len(headings) == 8
    costs = (Path(KERNEL) / "monolithic-costs.md").read_text(encoding="utf-8")
    assert [heading for heading in headings if f"| {heading} |" not in costs] == []
