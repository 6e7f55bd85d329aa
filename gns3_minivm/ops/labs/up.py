"""``lab up``: a lab file becomes a running topology; and again, only what differs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import UsageError
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import Project, ServerTemplate
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import ConnectionLimits
from gns3_minivm.guest.payload import NodePayload
from gns3_minivm.labs.apply import Applied, apply
from gns3_minivm.labs.canvas.drawings import DesiredDrawing, desired_drawings
from gns3_minivm.labs.canvas.layout import place_nodes
from gns3_minivm.labs.containerlab.read import read_lab_or_topology
from gns3_minivm.labs.desired import DesiredNode, desired_node
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.plan import LabPlan, plan
from gns3_minivm.labs.read import payloads
from gns3_minivm.labs.state import LabState, find_project, is_lab, mark, observe, origin
from gns3_minivm.labs.wait import Awaited, has_console, wait_for_consoles
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs.make import make_at_once
from gns3_minivm.ops.labs.report import Announce, Confirm, LabReport, NodeRow, row
from gns3_minivm.ops.labs.templates import find_templates


@dataclass(frozen=True, kw_only=True)
class LabRequest:
    """A lab file (or a containerlab topology), and the server where it shall run.

    ``wait_s`` is how long consoles are waited for, 0 for not at all; ``at_once`` how many requests the server gets at a
    time.  ``adopt`` takes a project of the lab's name over.  ``yes`` says that nodes may be removed, with their disks.
    """

    path: Path
    server: Address
    start: bool = True
    wait_s: float = 300.0
    at_once: int = 8
    adopt: bool = False
    yes: bool = False


@dataclass(frozen=True)
class _Wishes:
    """What was read from files of this machine."""

    lab: Lab
    payloads: Mapping[str, NodePayload]
    drawings: Sequence[DesiredDrawing]
    unheeded: tuple[str, ...]


async def lab_up(
    request: LabRequest,
    context: RunContext,
    announce: Announce | None = None,
    confirm: Confirm | None = None,
) -> LabReport:
    """Bring a lab up, or into step with its file; ``announce`` gets the difference before anything is changed.

    Errors of single nodes and links are in the report.  Raises ConfigError for the file, ServerError and others for
    what keeps the lab from being made at all; UsageError if disks would be lost and nobody has confirmed.
    """
    started = time.monotonic()
    wishes = await run_blocking(_read, request.path)
    limits = ConnectionLimits(connections=max(request.at_once, 4))
    async with await connect(request.server, limits) as server:
        up = _Up(request, wishes, server, context)
        report = await up.run(announce, confirm, started)
    return report


def _read(path: Path) -> _Wishes:
    file = read_lab_or_topology(path)
    return _Wishes(file.lab, payloads(file.lab), desired_drawings(file.lab), file.unheeded)


class _Up:
    """One run."""

    def __init__(self, request: LabRequest, wishes: _Wishes, server: Server, context: RunContext) -> None:
        self._request = request
        self._wishes = wishes
        self._lab = wishes.lab
        self._server = server
        self._context = context
        self._events = context.events

    async def run(self, announce: Announce | None, confirm: Confirm | None, started: float) -> LabReport:
        request, lab, server = self._request, self._lab, self._server
        project = await self._find_project()
        templates = await find_templates(server, lab, request.server, self._context)
        state, closed = await self._state(project)
        desired = self._desired(templates.by_node, state, await server.default_compute())
        planned = self._plan(desired, state)
        first = LabReport(
            lab=lab.name,
            url=server.url,
            project=project.name if project else lab.name,
            project_id=project.project_id if project else None,
            rows=self._rows(planned, None),
            plan=planned,
            warnings=(*server.warnings, *templates.warnings, *closed),
            pending=templates.pending,
            unheeded=self._wishes.unheeded,
            foreign=tuple(node.name for node in planned.foreign),
            adopts=origin(project) if project and not is_lab(project, lab.name) else "",
            dry_run=self._context.dry_run,
        )
        if announce is not None:
            announce(first)
        if self._context.dry_run:
            return _finished(first, started)
        self._ask(first, confirm)
        return _finished(await self._carry_out(first, planned, desired), started)

    async def _find_project(self) -> Project | None:
        if not self._request.adopt:
            return await find_project(self._server, self._lab.name)
        named = [project for project in await self._server.projects() if project.name == self._lab.name]
        return named[0] if named else await find_project(self._server, self._lab.name)

    async def _state(self, project: Project | None) -> tuple[LabState, tuple[str, ...]]:
        """The state, and warnings about it."""
        if project is None:
            return LabState(), ()
        if project.status == "opened":
            return await observe(self._server, project, self._lab.name), ()
        if self._context.dry_run:
            warning = f"the project {project.name} is closed, so the ports of its nodes are unknown"
            return await observe(self._server, project, self._lab.name), (warning,)
        with self._events.step(f"Open the project {project.name}"):
            await self._server.open_project(project.project_id)
        opened = await self._server.project(project.project_id)
        return await observe(self._server, opened, self._lab.name), ()

    def _desired(
        self, templates: Mapping[str, ServerTemplate | str], state: LabState, compute: str
    ) -> list[DesiredNode]:
        lab = self._lab
        fixed = {name: (node.position.x, node.position.y) for name, node in lab.nodes.items() if node.position}
        there = {name: (node.x, node.y) for name in lab.nodes if (node := state.node_of(name)) is not None}
        links = [(link.ends[0].node, link.ends[1].node) for link in lab.links]
        places = place_nodes(list(lab.nodes), links, {**there, **fixed})
        return [
            desired_node(
                lab, name, templates[name], self._wishes.payloads.get(name), places[name], default_compute=compute
            )
            for name in lab.nodes
        ]

    def _plan(self, desired: Sequence[DesiredNode], state: LabState, *, refuse: bool = True) -> LabPlan:
        return plan(self._lab, desired, state, self._wishes.drawings, start=self._request.start, refuse=refuse)

    def _ask(self, report: LabReport, confirm: Confirm | None) -> None:
        """Nothing is lost before somebody has confirmed."""
        assert report.plan is not None
        lost = [item.name for item in report.plan.destroyed]
        if not lost or self._request.yes or (confirm is not None and confirm(report)):
            return
        raise UsageError(
            f"{report.url}, project {report.project!r}: {', '.join(lost)} would be removed, with all data "
            f"on {'its disk' if len(lost) == 1 else 'their disks'}",
            hint="Confirm with --yes; --dry-run shows what would be done.",
        )

    async def _carry_out(self, first: LabReport, planned: LabPlan, desired: Sequence[DesiredNode]) -> LabReport:
        """Do what the plan says, and report the result."""
        server, lab = self._server, self._lab
        if planned.project is None:
            planned = await self._make_project(desired)
        assert planned.project is not None
        project_id = planned.project.project_id
        done = await apply(server, planned, project_id, self._events, at_once=self._request.at_once)
        ready: set[str] = set()
        if self._request.start and self._request.wait_s and done.gone is None:
            ready = await self._wait(project_id, planned, done)
        return LabReport(
            lab=lab.name,
            url=server.url,
            project=planned.project.name,
            project_id=project_id,
            rows=self._rows(planned, done, ready),
            plan=first.plan,
            errors=done.errors,
            gone=done.gone,
            warnings=first.warnings,
            pending=(),
            unheeded=first.unheeded,
            foreign=first.foreign,
            adopts=first.adopts,
        )

    async def _make_project(self, desired: Sequence[DesiredNode]) -> LabPlan:
        """Make the project, with as much in it as can come in one go; returned is what is left to do."""
        server, lab = self._server, self._lab
        project = await make_at_once(server, lab, desired, self._wishes.drawings, self._events)
        if project is None:
            with self._events.step(f"Make the project {lab.name}"):
                project_id = str(uuid.uuid4())
                marked = mark(lab.name, project_id, dict.fromkeys(lab.nodes, ""))
                project = await server.create_project(lab.name, project_id=project_id, variables=marked)
        # Nothing stops half-way now: a port that turns out not to be there is told with the rest.
        return self._plan(desired, await observe(server, project, lab.name), refuse=False)

    async def _wait(self, project_id: str, planned: LabPlan, done: Applied) -> set[str]:
        """Wait for the consoles of all nodes that run; returned are those that answered."""
        now = {node.node_id: node for node in await self._server.nodes(project_id)}
        done.nodes.update({name: now[node.node_id] for name, node in done.nodes.items() if node.node_id in now})
        minivms = {item.name for item in planned.nodes if item.desired is not None and item.desired.is_minivm}
        failed = {about.partition(" ")[2] for about in done.errors if about.startswith("node ")}
        running = [
            Awaited(name, node, name in minivms) for name, node in done.nodes.items()
            if name not in failed and has_console(node)
            and (node.status == "started" or self._was_started(planned, name))
        ]  # fmt: skip
        errors = await wait_for_consoles(self._server, project_id, running, self._request.wait_s, self._events)
        done.errors.update({f"node {name}": error for name, error in errors.items()})
        return {item.name for item in running if item.name not in errors}

    def _was_started(self, planned: LabPlan, name: str) -> bool:
        return any(item.name == name and item.start for item in planned.nodes)

    def _rows(self, planned: LabPlan, done: Applied | None, ready: set[str] | None = None) -> tuple[NodeRow, ...]:
        rows = []
        there = done.nodes if done is not None else {
            item.name: item.current for item in planned.node_plans("keep", "update") if item.current is not None
        }  # fmt: skip
        for name in self._lab.nodes:
            failed = done is not None and f"node {name}" in done.errors
            state = "failed" if failed and name in there else "ready" if name in (ready or ()) else ""
            rows.append(row(name, there.get(name), self._lab, state=state))
        return tuple(rows)


def _finished(report: LabReport, started: float) -> LabReport:
    return replace(report, elapsed_s=time.monotonic() - started)
