"""A lab where something fails: told with its place, nothing half made is hidden, up again finishes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ConfigError, ConnectError, NodeError
from gns3_minivm.guest.contract import qemu_options
from gns3_minivm.ops.labs.report import LabReport
from tests.support import faults
from tests.support.drawn_labs import DrawnLab, drawn_lab
from tests.support.faults import FaultyServer, faulty
from tests.support.gns3 import GNS3Process
from tests.support.tools import require_tool

pytestmark = pytest.mark.either_generation

NODES = 6
TEXT = "nodes:\n" + "".join(f"  n{i}: {{template: VM, interfaces: {{eth0: 10.0.{i}.1/24}}}}\n" for i in range(NODES))
TEXT += "links:\n" + "".join(f"  - [n{i}:eth0, n{(i + 1) % NODES}:eth1]\n" for i in range(NODES))
CREATE = r"^POST /v\d/projects/[^/]+/templates/"
LINK = r"^POST /v\d/projects/[^/]+/links$"


@dataclass
class Case:
    """A lab on a server that is reached through a bad network."""

    lab: DrawnLab
    bad: FaultyServer

    async def up(self, text: str = "", in_one_go: bool = False, **options: Any) -> LabReport:
        return await self.lab.up(text, url=self.bad.url, in_one_go=in_one_go, **options)

    def gone_after(self, pattern: str, times: int) -> None:
        """Let so many of these requests pass, then nothing at all any more."""
        passed = 0

        async def harm(server: FaultyServer, request: web.Request) -> web.StreamResponse:
            nonlocal passed
            passed += 1
            if passed <= times:
                return await server.forward(request)
            server.on(r".", faults.drop)
            return await faults.drop(server, request)

        self.bad.on(pattern, harm)


@pytest.fixture
async def case(gns3_server: GNS3Process, tmp_path: Path) -> AsyncIterator[Case]:
    async with drawn_lab(gns3_server, tmp_path) as lab, faulty(gns3_server) as bad:
        yield Case(lab, bad)


async def is_whole(case: Case) -> None:
    """Healed, another run does the rest; after it nothing is left to do, and nothing too much is there."""
    case.bad.heal()
    report = await case.up()
    assert report.exit_status == 0, report.errors
    assert set(await case.lab.nodes()) == {f"n{i}" for i in range(NODES)}
    assert len(await case.lab.wires()) == NODES
    again = await case.up()
    assert again.plan is not None and again.plan.nothing_to_do


@pytest.mark.parametrize(
    ("pattern", "times"),
    [
        pytest.param(CREATE, 2, id="nodes"),
        pytest.param(LINK, 3, id="links", marks=pytest.mark.long),
        pytest.param(r"^PUT /v\d/projects/[^/]+/nodes/", 1, id="settings", marks=pytest.mark.long),
        pytest.param(r"^POST /v\d/projects/[^/]+/nodes/[^/]+/files", 0, id="payloads", marks=pytest.mark.long),
    ],
)
async def test_a_server_that_goes_away_in_the_middle_is_told_and_up_again_finishes(
    case: Case, pattern: str, times: int
) -> None:
    case.gone_after(pattern, times)
    report = await case.up(TEXT, at_once=2)
    assert isinstance(report.gone, ConnectError) and report.exit_status in (1, 3)
    assert report.errors
    states = {row.name: row.state for row in report.rows}
    assert ("missing" in states.values()) == (pattern != LINK)
    await is_whole(case)


@pytest.mark.long
async def test_a_node_whose_making_got_no_answer_does_not_stay_twice(case: Case) -> None:
    case.bad.on(CREATE, faults.drop_after_it_was_done, times=1)
    report = await case.up(TEXT, at_once=1)
    assert isinstance(report.gone, ConnectError)
    await is_whole(case)


async def test_one_node_that_cannot_be_made_stops_no_other(case: Case) -> None:
    case.bad.on(CREATE, faults.status(409, '{"message": "no room for this one"}'), times=1)
    report = await case.up(TEXT)
    assert report.exit_status == 3 and report.gone is None
    [(about, error)] = (report.errors or {}).items()
    assert about.startswith("node n") and "no room for this one" in error.message
    missing = [row.name for row in report.rows if row.state == "missing"]
    assert [about] == [f"node {name}" for name in missing]
    assert len(await case.lab.nodes()) == NODES - 1 and len(await case.lab.wires()) == NODES - 2
    await is_whole(case)


@pytest.mark.long
async def test_one_node_that_cannot_be_set_up_is_taken_away_again(case: Case) -> None:
    case.bad.on(r"^PUT /v\d/projects/[^/]+/nodes/", faults.status(400, '{"message": "not like this"}'), times=1)
    report = await case.up(TEXT)
    assert report.exit_status == 3 and "not like this" in next(iter((report.errors or {}).values())).message
    assert len(await case.lab.nodes()) == NODES - 1
    await is_whole(case)


@pytest.mark.long
async def test_one_link_that_cannot_be_made_stops_no_other(case: Case) -> None:
    case.bad.on(LINK, faults.status(409, '{"message": "the cable is broken"}'), times=1)
    report = await case.up(TEXT)
    [(about, error)] = (report.errors or {}).items()
    assert about.startswith("link n") and "the cable is broken" in error.message
    assert {row.state for row in report.rows} == {"stopped"} and len(await case.lab.wires()) == NODES - 1
    await is_whole(case)


@pytest.mark.parametrize("step", [pytest.param("import", marks=pytest.mark.long), "open"])
async def test_a_lab_that_cannot_come_in_one_go_is_made_node_by_node(case: Case, step: str) -> None:
    case.bad.on(rf"^POST /v\d/projects/[^/]+/{step}$", faults.status(409, '{"message": "not today"}'), times=1)
    report = await case.up(TEXT, in_one_go=True)
    assert report.exit_status == 0, report.errors
    projects = [one.name for one in await case.lab.server.projects() if one.name.startswith(case.lab.name)]
    assert projects == [case.lab.name]
    await is_whole(case)


@pytest.mark.long
async def test_a_server_that_goes_away_before_the_start_is_an_error_and_leaves_nothing(case: Case) -> None:
    case.bad.on(r"^GET /v\d/templates", faults.drop)
    with pytest.raises(ConnectError):
        await case.up(TEXT)
    assert await case.lab.project() is None


async def test_a_port_that_is_not_there_is_told_and_the_rest_is_made(case: Case) -> None:
    text = (
        "nodes: {a: {template: VM}, sw: {template: Ethernet switch}}\n"
        "links:\n  - [a:eth0, sw:e9]\n  - [a:eth1, sw:e7]\n"
    )
    report = await case.up(text)
    error = (report.errors or {})["link a:eth0 -- sw:e9"]
    assert isinstance(error, ConfigError)
    assert "lab.yml:4:5: node sw has no port 'e9'; free ports: Ethernet0, " in error.message  # the link's place
    assert await case.lab.wires() == {frozenset({("a", 1, 0), ("sw", 0, 7)})}
    # Where the ports are known, it is told before anything is changed.
    with pytest.raises(ConfigError, match=r"lab\.yml:4:14: node sw has no port 'e9'"):
        await case.up()


async def test_a_node_that_does_not_start_is_told_with_qemus_words_and_up_again_starts_it(case: Case) -> None:
    require_tool("qemu-system-x86_64")
    lab = case.lab
    template = next(one for one in await lab.server.templates() if one.name == lab.template)
    await lab.server.update_template(template.template_id, {"options": f"{qemu_options(X86_64)} -device nonsense"})
    text = "nodes:\n  a: {template: VM}\n  b: {template: VM, start: false}\n"
    report = await case.up(text, start=True, wait_s=60)
    error = (report.errors or {})["node a"]
    assert isinstance(error, NodeError) and "nonsense" in error.message and error.hint
    assert {row.name: row.state for row in report.rows} == {"a": "failed", "b": "stopped"}
    await lab.server.update_template(template.template_id, {"options": qemu_options(X86_64)})
    again = await case.up(start=True, wait_s=0)
    assert again.exit_status == 0, again.errors
    assert {name: node.status for name, node in (await lab.nodes()).items()} == {"a": "started", "b": "stopped"}


async def test_a_guest_that_never_answers_is_told(case: Case) -> None:
    require_tool("qemu-system-x86_64")
    # There is no kernel in it: the BIOS looks for one for ever.
    report = await case.up("nodes:\n  a: {template: VM}\n", start=True, wait_s=3)
    error = (report.errors or {})["node a"]
    assert isinstance(error, NodeError) and "nothing in the guest answered" in error.message
    assert [row.state for row in report.rows] == ["failed"] and report.exit_status == 1


@pytest.mark.long
async def test_a_node_that_was_started_by_half_is_ended_and_started_again(case: Case) -> None:
    require_tool("qemu-system-x86_64")

    async def half(_server: FaultyServer, request: web.Request) -> web.StreamResponse:
        # As on a busy server: QEMU runs, and ubridge was too late.
        project_id, node_id = request.path.split("/")[3:6:2]
        await case.lab.server.start_node(project_id, node_id, watch_s=0)
        return web.json_response({"message": "Couldn't connect to hypervisor on 127.0.0.1:1"}, status=409)

    case.bad.on(r"^POST /v\d/projects/[^/]+/nodes/[^/]+/start$", half, times=1)
    report = await case.up("nodes:\n  a: {template: VM}\n", start=True, wait_s=0)
    assert report.exit_status == 0, report.errors
    starts = [route for route in case.bad.seen if route.endswith(("/start", "/stop"))]
    assert [route.rpartition("/")[2] for route in starts] == ["start", "stop", "start"]
    node = (await case.lab.nodes())["a"]
    assert (node.status, node.properties["on_close"]) == ("started", "power_off")
