"""The YAML examples in the documents are read by what reads such files for users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gns3_minivm.catalogue.read import read_catalogue
from gns3_minivm.guest.settings import read_settings
from gns3_minivm.labs.containerlab.read import read_lab_or_topology
from tests.support.documented import PAGES, Example, examples_of

EXAMPLES = [example for page in PAGES for language in ("yaml", "yml") for example in examples_of(page, language)]

_CATALOGUE = "servers: {local: {url: 'http://127.0.0.1:3080'}}\n"
_LAB = """
name: lab
nodes:
  r1: {appliance: frr-minivm, adapters: 4}
  r2: {appliance: frr-minivm, adapters: 4}
  h1: {appliance: debian-minivm, adapters: 4}
  h2: {appliance: debian-minivm, adapters: 4}
  sw: {template: Ethernet switch}
  cloud: {template: Cloud}
"""
# What the examples that are one part of a file stand in, by their keys.
_AROUND = {
    frozenset({"appliances"}): _CATALOGUE,
    frozenset({"links"}): _LAB,
    frozenset({"drawings"}): _LAB,
    frozenset({"tests"}): _LAB,
}
_READERS: dict[str, Callable[[Path], object]] = {
    "catalogue.md": read_catalogue,
    "labs.md": read_lab_or_topology,
    "lab-use.md": read_lab_or_topology,
    "containerlab.md": read_lab_or_topology,
    "settings.md": read_settings,
}


def test_there_are_examples_of_every_kind_of_file() -> None:
    assert {example.page.name for example in EXAMPLES} >= {"catalogue.md", "labs.md", "lab-use.md", "settings.md"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.place)
def test_every_example_is_read(example: Example, tmp_path: Path) -> None:
    assert example.page.name in _READERS, "say which files this page is about"
    for source in ("r1/frr.conf", "website/index.html"):
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text("hello\n")
    (tmp_path / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    path = tmp_path / "example.yml"
    path.write_text(_AROUND.get(frozenset(yaml.safe_load(example.text)), "") + example.text)
    assert _READERS[example.page.name](path)
