"""Each method of the Python API's labs, against real servers of both generations; nodes are not started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gns3_minivm import Agent
from gns3_minivm.api.lab import Lab
from gns3_minivm.base.errors import ConflictError, NodeError, UsageError
from tests.support.drawn_labs import DrawnLab, drawn_lab
from tests.support.gns3 import GNS3Process

pytestmark = pytest.mark.either_generation

TEXT = """
nodes:
  a: {template: VM, interfaces: {eth0: 10.0.0.1/24}}
  b: {template: VM}
links: [[a:eth0, b:eth0]]
tests: [{node: a, exec: "true", name: works}]
"""
SMALLER = "nodes: {a: {template: VM, interfaces: {eth0: 10.0.0.1/24}}}"


@pytest.fixture
async def drawn(gns3_server: GNS3Process, tmp_path: Path) -> AsyncIterator[DrawnLab]:
    async with drawn_lab(gns3_server, tmp_path) as made:
        made.write(TEXT)
        yield made


@pytest.fixture
def lab(drawn: DrawnLab, tmp_path: Path) -> Lab:
    return Agent(drawn.url, cache=tmp_path / "cache").lab(drawn.folder / "lab.yml")


async def test_a_dry_run_changes_nothing_and_nothing_is_lost_without_a_yes(drawn: DrawnLab, lab: Lab) -> None:
    assert (await lab.up(start=False, dry_run=True)).dry_run and await drawn.project() is None
    assert (await lab.up(start=False)).exit_status == 0
    drawn.write(SMALLER)
    told = await lab.up(start=False, yes=True, dry_run=True)
    assert told.plan is not None and [item.name for item in told.plan.destroyed] == ["b"]
    with pytest.raises(UsageError, match="b would be removed"):
        await lab.up(start=False)
    assert set(await drawn.nodes()) == {"a", "b"}
    await lab.up(start=False, yes=True)
    assert set(await drawn.nodes()) == {"a"}
    assert (await lab.destroy(yes=True, dry_run=True)).dry_run
    with pytest.raises(UsageError, match="would be deleted"):
        await lab.destroy()
    assert await drawn.project() is not None
    await lab.destroy(yes=True)
    assert await drawn.project() is None


async def test_a_foreign_project_is_taken_over_only_where_that_is_meant(drawn: DrawnLab, lab: Lab) -> None:
    project = await drawn.server.create_project(drawn.name)
    with pytest.raises(ConflictError, match="was not made from a lab file"):
        await lab.up(start=False, yes=True)
    assert (await lab.up(start=False, adopt=True)).project_id == project.project_id


async def test_what_is_asked_of_a_lab_that_is_there(drawn: DrawnLab, lab: Lab, tmp_path: Path) -> None:
    await lab.up(start=False)
    assert [(row.name, row.state) for row in (await lab.status()).rows] == [("a", "stopped"), ("b", "stopped")]
    for live in (False, True):
        assert ElementTree.fromstring(await lab.graph(live=live)).tag.endswith("svg")
    for text in (await lab.inventory("nornir"), await lab.inventory("ansible")):
        assert "10.0.0.1" in text
    assert "10.0.0.1/24" in await lab.save()
    assert (await lab.test(dry_run=True)).names == ("works",)
    [failed] = (await lab.test(junit=tmp_path / "junit.xml")).failed
    assert "a is stopped" in failed.message and failed.attempts == 1 and (tmp_path / "junit.xml").is_file()
    with pytest.raises(NodeError, match="node a is stopped"):
        await lab.exec("a", "true")
    assert set((await lab.wait(5)).errors or ()) == {"node a", "node b"}
    archive = tmp_path / "lab.gns3project"
    assert (await lab.export(archive, dry_run=True)).dry_run and not archive.exists()
    assert (await lab.export(archive)).size_bytes == archive.stat().st_size
    assert (await lab.down(close=True, dry_run=True)).pending == (f"close the project {drawn.name!r}",)
    assert (await lab.down(close=True)).project_status == "closed"
