"""What a result on several servers amounts to."""

from __future__ import annotations

import json

import pytest

from gns3_minivm.agent.apply import ApplianceResult
from gns3_minivm.agent.desired import DesiredAppliance, template_id
from gns3_minivm.agent.nodes import OldNode
from gns3_minivm.agent.plan import AppliancePlan, Conflict, CreateTemplate, Plan, RemoveTemplate, Unchanged
from gns3_minivm.base.errors import ConfigError, ConnectError, ImageNotFoundError, MiniVMError
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.ops.templates.report import ServerReport, SyncResult


def report(*, conflict: bool = False, error: MiniVMError | None = None, failed: bool | None = None) -> ServerReport:
    template = QemuTemplate(template_id("vm"), "vm")
    conflicts = (Conflict("in the way", "Move it."),) if conflict else ()
    planned = Plan(
        "http://h", (AppliancePlan(DesiredAppliance(template, ()), (), CreateTemplate(template), conflicts),)
    )
    results: tuple[ApplianceResult, ...] = ()
    if failed is not None:
        reason = ConnectError("broke") if failed else None
        results = (ApplianceResult("vm", template.template_id, "failed" if failed else "created", error=reason),)
    return ServerReport("h", "http://h", "3.0.6", plan=None if error else planned, results=results, error=error)


GOOD, CONFLICT, BROKEN = report(failed=False), report(conflict=True), report(failed=True)
DEAD, LOCKED = report(error=ConnectError("nobody")), report(error=ConfigError("no password"))


@pytest.mark.parametrize(
    ("servers", "errors", "status"),
    [
        ([], [], 0),
        ([GOOD, GOOD], [], 0),
        ([report()], [], 0),
        ([GOOD, DEAD], [], 3),
        ([GOOD, CONFLICT], [], 3),
        ([GOOD, LOCKED], [], 3),
        ([GOOD], [ImageNotFoundError("no image")], 3),
        ([DEAD, CONFLICT, BROKEN], [], 1),
        ([LOCKED], [], 2),
        ([LOCKED, DEAD], [], 1),
        ([], [ImageNotFoundError("no image")], 1),
        ([], [ConfigError("broken manifest")], 2),
    ],
)
def test_the_exit_status_tells_all_some_or_none(
    servers: list[ServerReport], errors: list[MiniVMError], status: int
) -> None:
    result = SyncResult(tuple(servers), False, 1.0, errors=tuple(("a", error) for error in errors))
    assert result.exit_status == status


def test_a_result_is_json() -> None:
    template = QemuTemplate(template_id("vm"), "vm")
    desired = DesiredAppliance(template, ())
    left = {"ram_mb": (1, 256)}
    planned = Plan(
        "http://h",
        (AppliancePlan(desired, (), Unchanged(template.template_id, "vm", left), ()),),
        (RemoveTemplate("t", "old"),),
    )
    node = OldNode("lab", "pc1", "n", "vm", (("old.qcow2", "new.qcow2"),))
    server = ServerReport("h", "http://h", plan=planned, old_nodes=(node,))
    found = json.loads(json.dumps(SyncResult((server, DEAD), True, 0.1234, ("build",)).as_dict()))
    one, two = found["servers"]
    assert (found["dry_run"], found["elapsed_s"], found["pending"]) == (True, 0.123, ["build"])
    assert (one["in_step"], two["in_step"], two["error"]["code"]) == (True, False, "server-unreachable")
    assert one["appliances"][0]["plan"]["template"] == "nothing"
    assert one["appliances"][0]["plan"]["left"] == {"ram_mb": {"server": 1, "catalogue": 256}}
    assert one["leftovers"] == [{"name": "old", "template_id": "t", "outcome": "left", "error": None}]
    assert one["old_nodes"][0]["images"] == [{"node": "old.qcow2", "template": "new.qcow2"}]
