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
    template = QemuTemplate(template_id=template_id("vm"), name="vm")
    conflicts = (Conflict("in the way", "Move it."),) if conflict else ()
    planned = Plan(
        url="http://h",
        appliances=(
            AppliancePlan(
                desired=DesiredAppliance(template=template, files=()),
                uploads=(),
                template=CreateTemplate(template),
                conflicts=conflicts,
            ),
        ),
    )
    results: tuple[ApplianceResult, ...] = ()
    if failed is not None:
        reason = ConnectError("broke") if failed else None
        results = (
            ApplianceResult(
                name="vm", template_id=template.template_id, outcome="failed" if failed else "created", error=reason
            ),
        )
    return ServerReport(
        name="h", url="http://h", version="3.0.6", plan=None if error else planned, results=results, error=error
    )


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
    result = SyncResult(
        servers=tuple(servers), dry_run=False, elapsed_s=1.0, errors=tuple(("a", error) for error in errors)
    )
    assert result.exit_status == status


def test_a_result_is_json() -> None:
    template = QemuTemplate(template_id=template_id("vm"), name="vm")
    desired = DesiredAppliance(template=template, files=())
    left = {"ram_mb": (1, 256)}
    planned = Plan(
        url="http://h",
        appliances=(
            AppliancePlan(
                desired=desired, uploads=(), template=Unchanged(template.template_id, "vm", left), conflicts=()
            ),
        ),
        leftovers=(RemoveTemplate("t", "old"),),
    )
    node = OldNode(project="lab", node="pc1", node_id="n", template="vm", images=(("old.qcow2", "new.qcow2"),))
    server = ServerReport(name="h", url="http://h", plan=planned, old_nodes=(node,))
    found = json.loads(
        json.dumps(SyncResult(servers=(server, DEAD), dry_run=True, elapsed_s=0.1234, pending=("build",)).as_dict())
    )
    one, two = found["servers"]
    assert (found["dry_run"], found["elapsed_s"], found["pending"]) == (True, 0.123, ["build"])
    assert (one["in_step"], two["in_step"], two["error"]["code"]) == (True, False, "server-unreachable")
    assert one["appliances"][0]["plan"]["template"] == "nothing"
    assert one["appliances"][0]["plan"]["left"] == {"ram_mb": {"server": 1, "catalogue": 256}}
    assert one["leftovers"] == [{"name": "old", "template_id": "t", "outcome": "left", "error": None}]
    assert one["old_nodes"][0]["images"] == [{"node": "old.qcow2", "template": "new.qcow2"}]
