"""The picture of an appliance on real GNS3 servers: both generations show it, and keep a user's choice."""

from __future__ import annotations

import pytest

from gns3_minivm.agent.desired import template_id
from gns3_minivm.appliances import Appliances
from gns3_minivm.gns3.server import Server
from tests.support.appliance_files import ask
from tests.support.gns3 import GNS3Process
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool

NAME = "pictured-minivm"


async def test_both_generations_show_the_picture_of_every_appliance_in_its_size(
    gns3_server: GNS3Process, client: Server
) -> None:
    for appliance in Appliances().all():
        symbol = appliance.settings.symbol
        assert symbol is not None and appliance.symbol_svg is not None
        await client.upload_symbol(symbol, appliance.symbol_svg)
        assert await client.symbol(symbol) == appliance.symbol_svg
        # As the server reads the picture, to place a node's label below it.
        size = await ask(gns3_server, "GET", f"/symbols/{symbol}/dimensions")
        assert size == {"width": 64, "height": 64}, appliance.name


@pytest.mark.either_generation
async def test_a_template_has_the_appliances_picture_until_somebody_takes_another_one(
    gns3_server: GNS3Process, client: Server
) -> None:
    require_tool("qemu-system-x86_64")
    appliance = Appliances().find("busybox-minivm")
    assert appliance is not None
    words = ("register", "busybox-minivm", "--as", NAME, "--server", gns3_server.url, "--json")
    (await gns3_minivm(*words)).result()
    try:
        template = await client.template(template_id(NAME))
        assert template is not None and template.values is not None
        assert template.values.symbol == appliance.settings.symbol
        assert await client.symbol(appliance.settings.symbol) == appliance.symbol_svg
        project = await client.create_project("pictured")
        node = await client.create_node(project.project_id, template_id(NAME))
        await client.delete_project(project.project_id)
        assert node.symbol == appliance.settings.symbol
        await client.update_template(template_id(NAME), {"symbol": ":/symbols/classic/router.svg"})
        result = (await gns3_minivm(*words)).result()
        left = result["servers"][0]["appliances"][0]["plan"]["left"]
        assert left["symbol"]["server"] == ":/symbols/classic/router.svg"
    finally:
        await client.delete_template(template_id(NAME))
