"""The result of a command for a lab: its nodes, with their state and consoles, and the errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.base.plurals import counted
from gns3_minivm.gns3.model import Node
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.plan import LabPlan, NodePlan


@dataclass(frozen=True, kw_only=True)
class NodeRow:
    """One node as it is now.  ``state`` is GNS3's word, "ready" once its console answers, or "missing"."""

    name: str
    source: str
    state: str
    console: str = ""
    addresses: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": self.source,
            "state": self.state,
            "console": self.console,
            "addresses": list(self.addresses),
        }


@dataclass(frozen=True, kw_only=True)
class LabReport:
    """``errors`` are of single nodes and links, by what they are about; ``gone`` is why the server was given up.

    ``project`` is its name, which may be another one than the lab's.  ``adopts`` says what it is where it was not the
    lab's before.  ``plan`` is what was to be done, where the command has a lab file; ``pending`` are steps of a dry run
    that neither the plan nor the rows tell.
    """

    lab: str
    url: str
    project: str
    project_id: str | None
    rows: tuple[NodeRow, ...]
    plan: LabPlan | None = None
    errors: Mapping[str, MiniVMError] | None = None
    gone: MiniVMError | None = None
    warnings: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    unheeded: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    adopts: str = ""
    dry_run: bool = False
    elapsed_s: float = 0.0
    project_status: str = ""

    @property
    def exit_status(self) -> int:
        """0 all done, 3 partly done, 1 nothing is there."""
        if not self.errors and self.gone is None:
            return 0
        return 3 if any(row.state not in ("missing", "failed") for row in self.rows) else 1

    def as_dict(self) -> dict[str, Any]:
        errors = {about: error.as_dict() for about, error in (self.errors or {}).items()}
        return {
            "lab": self.lab,
            "url": self.url,
            "project": self.project,
            "project_id": self.project_id,
            "project_status": self.project_status,
            "dry_run": self.dry_run,
            "elapsed_s": round(self.elapsed_s, 3),
            "changes": plan_as_dict(self.plan) if self.plan is not None else None,
            "nodes": [row.as_dict() for row in self.rows],
            "foreign": list(self.foreign),
            "adopts": self.adopts,
            "errors": errors,
            "gone": self.gone.as_dict() if self.gone else None,
            "warnings": list(self.warnings),
            "pending": list(self.pending),
            "unheeded": list(self.unheeded),
        }


def whole_lab(report: LabReport) -> str:
    """What is lost with a lab, as in "the project 'x' on http://..., with all that is on the disk of its 1 node"."""
    nodes = sum(one.state != "missing" for one in report.rows)
    others = f", and of {', '.join(report.foreign)}, which the lab file did not create" if report.foreign else ""
    return (
        f"the project {report.project!r} on {report.url}, with all that is on the "
        f"{'disk' if nodes == 1 else 'disks'} of its {counted(nodes, 'node')}{others}"
    )


def row(name: str, node: Node | None, lab: Lab | None = None, *, state: str = "") -> NodeRow:
    """A row of the table; ``state`` replaces GNS3's word."""
    source = ""
    addresses: tuple[str, ...] = ()
    if lab is not None and name in lab.nodes:
        file = lab.nodes[name]
        source = file.source or file.template or ""
        addresses = tuple(f"{interface} {address}" for interface, one in file.interfaces.items()
                          for address in one.address)  # fmt: skip
    if node is None:
        return NodeRow(name=name, source=source, state=state or "missing", console="", addresses=addresses)
    return NodeRow(
        name=name,
        source=source or node.node_type,
        state=state or node.status,
        console=console_url(node),
        addresses=addresses,
    )


def console_url(node: Node) -> str:
    """Where to type to a node, as in telnet://127.0.0.1:5000; "" where there is nothing."""
    if node.console_port is None or node.console_type in ("none", ""):
        return ""
    host = f"[{node.console_host}]" if ":" in node.console_host.strip("[]") else node.console_host
    return f"{node.console_type.partition('+')[0]}://{host}:{node.console_port}"


def plan_as_dict(plan: LabPlan) -> dict[str, Any]:
    """The difference, for programs; nodes and links that stay as they are do not appear."""
    return {
        "project": "keep" if plan.project is not None else "create",
        "nodes": [_node(item) for item in plan.nodes if item.verb != "keep" or item.start],
        "links": [
            {"verb": item.verb, "link": item.text, "changes": _pairs(item.changes)} for item in plan.links
            if item.verb != "keep"
        ],
        "drawings": {"create": len(plan.drawings), "delete": len(plan.erased)},
    }  # fmt: skip


def _node(item: NodePlan) -> dict[str, Any]:
    return {
        "verb": item.verb,
        "node": item.name,
        "changes": _pairs({**item.changes, **item.appearance}),
        "restart": item.restart,
        "start": item.start,
    }


def _pairs(changes: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    return {key: {"from": old, "to": new} for key, (old, new) in changes.items()}


Announce = Callable[[LabReport], None]
"""Is given what is going to be done before anything of it is."""
Confirm = Callable[[LabReport], bool]
"""Says whether disks may be lost, as the report's plan has it."""
