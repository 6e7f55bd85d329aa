"""An appliance's picture goes to the server with its template, once, and is nobody's reason to fail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gns3_minivm.agent.desired import DesiredAppliance, template_id
from gns3_minivm.agent.symbols import bring_symbol
from gns3_minivm.base.errors import UploadError
from gns3_minivm.base.events import Event, Events, StepFinished
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.fake_gns3 import FakeGNS3, fake_gns3, reply, text

NAME = "mine-0123456789ab.svg"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
DEFAULT = b"<svg>a computer</svg>"


def desired(svg: bytes | None = SVG) -> DesiredAppliance:
    return DesiredAppliance(
        template=QemuTemplate(template_id=template_id("mine"), name="mine", symbol=NAME), files=(), symbol_svg=svg
    )


@pytest.fixture(params=[2, 3])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[tuple[FakeGNS3, Server, str]]:
    generation = request.param
    async with fake_gns3(generation) as fake, await connect(parse_address(fake.url.replace("//", "//u:p@"))) as server:
        yield fake, server, f"/v{generation}/symbols/{NAME}/raw"


def uploads(fake: FakeGNS3) -> int:
    return len([line for line in fake.seen if line.startswith("POST /") and "/symbols/" in line])


async def test_a_server_that_shows_another_picture_gets_ours(server: tuple[FakeGNS3, Server, str]) -> None:
    fake, connected, route = server
    fake.on(f"GET {route}", text(DEFAULT), text(SVG))
    fake.on(f"POST {route}", text(b"", 204))
    await bring_symbol(connected, desired(), Events())
    assert uploads(fake) == 1


async def test_a_server_that_shows_ours_is_left_alone(server: tuple[FakeGNS3, Server, str]) -> None:
    fake, connected, route = server
    fake.on(f"GET {route}", text(SVG))
    await bring_symbol(connected, desired(), Events())
    assert uploads(fake) == 0


async def test_a_symbol_of_the_servers_own_is_not_asked_for(server: tuple[FakeGNS3, Server, str]) -> None:
    fake, connected, _ = server
    asked = len(fake.seen)
    await bring_symbol(connected, desired(None), Events())
    assert len(fake.seen) == asked


async def test_a_user_who_may_not_upload_symbols_is_told_and_gets_his_template(
    server: tuple[FakeGNS3, Server, str],
) -> None:
    fake, connected, route = server
    fake.on(f"GET {route}", text(DEFAULT))
    fake.on(f"POST {route}", reply({"message": "Permission denied (privilege Symbol.Allocate is required)"}, 403))
    told: list[Event] = []
    await bring_symbol(connected, desired(), Events(told.append))
    assert ["Symbol.Allocate" in event.detail for event in told if isinstance(event, StepFinished)] == [True]


async def test_what_did_not_arrive_is_an_error(server: tuple[FakeGNS3, Server, str]) -> None:
    fake, connected, route = server
    fake.on(f"GET {route}", text(DEFAULT))
    fake.on(f"POST {route}", text(b"", 204))
    with pytest.raises(UploadError, match="did not arrive intact"):
        await bring_symbol(connected, desired(), Events())
