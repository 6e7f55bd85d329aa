"""Projects that are made for a moment, against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gns3_minivm.base.errors import ConflictError, UserError
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.server import Server
from tests.support.fake_gns3 import FakeGNS3, fake_gns3, reply

DELETION = "DELETE /v2/projects/p"


@pytest.fixture
async def fake() -> AsyncIterator[FakeGNS3]:
    async with fake_gns3(2) as server:
        server.on("POST /v2/projects", reply({"project_id": "p", "name": "gns3-minivm-x", "status": "opened"}, 201))
        server.on(DELETION, reply(status=204))
        yield server


@pytest.fixture
async def client(fake: FakeGNS3) -> AsyncIterator[Server]:
    async with await connect(parse_address(fake.url)) as server:
        yield server


async def test_a_scratch_project_is_deleted_when_its_block_has_ended(fake: FakeGNS3, client: Server) -> None:
    async with client.scratch_project() as project:
        assert project.project_id == "p"
        assert not fake.count(DELETION)
    assert fake.count(DELETION) == 1


async def test_a_scratch_project_is_deleted_when_its_block_fails(fake: FakeGNS3, client: Server) -> None:
    with pytest.raises(UserError, match="the user's mistake"):
        async with client.scratch_project():
            raise UserError("the user's mistake")
    assert fake.count(DELETION) == 1


async def test_that_a_scratch_project_cannot_be_deleted_hides_nothing(fake: FakeGNS3, client: Server) -> None:
    fake.on(DELETION, reply({"message": "busy"}, 409))
    with pytest.raises(UserError, match="the user's mistake"):
        async with client.scratch_project():
            raise UserError("the user's mistake")
    async with client.scratch_project():
        pass
    assert fake.count(DELETION) == 2


async def test_a_scratch_project_is_deleted_for_a_caller_who_is_cancelled(fake: FakeGNS3, client: Server) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with client.scratch_project():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.count(DELETION) == 1


async def test_an_export_of_images_that_fails_leaves_no_project(fake: FakeGNS3, client: Server) -> None:
    fake.on("POST /v2/projects/p/nodes", reply({"message": "image missing"}, 409))
    with pytest.raises(ConflictError, match="image missing"):
        async for _ in client.export_images(["kernel"]):
            pass
    assert fake.count(DELETION) == 1
