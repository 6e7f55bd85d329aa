"""Labs that are there already, without a server: what is told, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import pytest

from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.model import Node, Project
from gns3_minivm.labs.state import mark
from gns3_minivm.labs.wait import Awaited
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs import state

ADDRESS = parse_address("http://127.0.0.1:9")


class OneLab:
    """A server with the lab "lab", of a node that runs and one that does not."""

    url = "http://127.0.0.1:9"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass

    async def projects(self) -> list[Project]:
        return [Project("p", "lab", "opened", mark("lab", "p", {"runs": "runs", "rests": "rests"}))]

    async def nodes(self, _project_id: str) -> list[Node]:
        return [
            Node(project_id="p", node_id=name, name=name, node_type="qemu", status=status, compute_id="local",
                 template_id=None, console_host="127.0.0.1", console_port=5000, ports=(), properties={},
                 console_type="telnet")
            for name, status in (("runs", "started"), ("rests", "stopped"))
        ]  # fmt: skip

    async def nothing(self, *_which: object) -> list[Any]:
        return []

    links = drawings = templates = nothing


async def test_a_node_that_does_not_run_is_told_before_the_others_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Event] = []
    told_before_waiting: list[Event] = []

    async def connect(_address: object) -> OneLab:
        return OneLab()

    async def wait(_server: object, _project_id: str, awaited: Sequence[Awaited], *_rest: object) -> dict[str, Any]:
        assert [item.name for item in awaited] == ["runs"]
        told_before_waiting.extend(told)
        return {}

    monkeypatch.setattr(state, "connect", connect)
    monkeypatch.setattr(state, "wait_for_consoles", wait)
    report = await state.lab_wait(ADDRESS, "lab", RunContext(events=Events(told.append)))
    assert told_before_waiting == [Note("warning", "node rests is stopped; waiting for the others")]
    assert [(row.name, row.state) for row in report.rows] == [("rests", "stopped"), ("runs", "ready")]
    assert report.exit_status == 3 and list(report.errors or ()) == ["node rests"]
