"""Which project of a server is meant, by its name or id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConflictError, NotFoundError
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs.find import find_lab
from gns3_minivm.ops.project import export_project
from gns3_minivm.settings import Settings
from tests.support.fake_gns3 import FakeGNS3, fake_gns3, reply


@pytest.fixture
async def fake() -> AsyncIterator[FakeGNS3]:
    """A server with two projects of one name, as files that were copied there by hand make them."""
    async with fake_gns3(2) as server:
        projects = [("one", "id-1"), ("twice", "id-2"), ("twice", "id-3")]
        listed = [{"name": name, "project_id": project_id, "status": "closed"} for name, project_id in projects]
        server.on("GET /v2/projects", reply(listed))
        yield server


async def export(fake: FakeGNS3, name: str, folder: Path) -> None:
    context = RunContext(settings=Settings(cache_root=folder / "cache"))
    await export_project(parse_address(fake.url), name, folder / "out.gns3project", context, force=False)


async def test_a_name_that_two_projects_have_is_asked_about(fake: FakeGNS3, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="several projects that match the project 'twice'") as exported:
        await export(fake, "twice", tmp_path)
    async with await connect(parse_address(fake.url)) as server:
        with pytest.raises(ConflictError, match="several projects that match the lab or project 'twice'") as found:
            await find_lab(server, "twice")
    assert exported.value.hint == found.value.hint == "Use an id instead: id-2, id-3."


async def test_a_project_that_is_not_there_is_told_with_those_that_are(fake: FakeGNS3, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="has no project 'three'") as exported:
        await export(fake, "three", tmp_path)
    assert exported.value.hint == "Its projects are: one, twice, twice."
    async with await connect(parse_address(fake.url)) as server:
        with pytest.raises(NotFoundError, match="has no lab or project 'three'") as found:
            await find_lab(server, "three")
        assert found.value.hint == "Create it with `gns3-minivm lab up`. Its projects are: one, twice, twice."
        assert (await find_lab(server, "id-3")).project_id == "id-3"
        assert (await find_lab(server, "one")).project_id == "id-1"
