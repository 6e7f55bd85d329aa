"""A lab on a real server, handed to a script that uses gns3fy."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import gns3fy_next
import pytest

from gns3_minivm import Agent
from tests.support.documented import ROOT, examples_of
from tests.support.gns3 import GNS3Process
from tests.support.minivm import minivm_cache
from tests.support.tools import require_tool

PAGE = ROOT / "docs" / "use" / "python.md"


async def test_a_lab_is_a_project_of_gns3fy_with_its_nodes_and_links(gns3_server: GNS3Process, tmp_path: Path) -> None:
    require_tool("qemu-system-x86_64")
    file = tmp_path / "lab.yml"
    file.write_text(
        "{name: handed on, nodes: {r1: {appliance: busybox-minivm}, r2: {appliance: busybox-minivm}},"
        " links: [['r1:eth0', 'r2:eth1']]}"
    )
    lab = Agent(gns3_server.url, cache=minivm_cache()).lab(file)
    await lab.up(start=False)
    try:
        project = await lab.gns3fy_project()
        assert (project.name, project.links_summary(is_print=False)) == ("handed on", [("r1", "eth0", "r2", "eth1")])
        await asyncio.to_thread(rename, project)
        assert sorted(row.name for row in (await Agent(gns3_server.url).lab("handed on").status()).rows) == ["r1", "r2"]
    finally:
        await lab.destroy(yes=True)


async def test_the_program_in_the_documents_gets_the_project_of_a_lab(
    gns3_server: GNS3Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lab.yml").write_text("{name: lab, nodes: {r1: {appliance: busybox-minivm}}}")
    program = next(one.text for one in examples_of(PAGE, "python") if "gns3fy" in one.text)
    agent = Agent(gns3_server.url, cache=minivm_cache())
    lab = agent.lab("lab.yml")
    await lab.up(start=False)
    try:
        names: dict[str, Any] = {"agent": agent, "gns3fy_next": gns3fy_next}
        await eval(compile(program, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        assert [node.name for node in names["project"].nodes] == ["r1"]
    finally:
        await lab.destroy(yes=True)


def rename(project: Any) -> None:
    """What a script might do: the connector is logged in."""
    node = project.get_node(name="r2")
    node.update(x=321)
    project.get_nodes()
    assert project.get_node(name="r2").x == 321
