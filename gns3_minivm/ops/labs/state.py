"""``lab down``, ``destroy``, ``status`` and ``wait``: a lab that exists already, named by its file or its name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gns3_minivm.base.bounded import bounded_map
from gns3_minivm.base.errors import MiniVMError, NodeError, UsageError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import ALWAYS_ON, Node
from gns3_minivm.gns3.server import Server
from gns3_minivm.labs.desired import is_minivm, payload_of
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.state import LabState, lab_state
from gns3_minivm.labs.wait import Awaited, has_console, wait_for_consoles
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.labs.find import is_file, read
from gns3_minivm.ops.labs.report import Confirm, LabReport, NodeRow, row, whole_lab

_STOPS_AT_ONCE = 8


@dataclass(frozen=True)
class LabName:
    """A lab as a user names it: by its file, which tells more of it, or by its name alone."""

    name: str
    file: Lab | None

    @classmethod
    async def of(cls, lab: str) -> LabName:
        if not is_file(lab):
            return cls(lab, None)
        file = (await read(lab)).lab
        return cls(file.name, file)


async def lab_status(address: Address, lab: str) -> LabReport:
    """What a lab's nodes do; nothing is changed.  Raises NotFoundError, ServerError."""
    started = time.monotonic()
    named = await LabName.of(lab)
    async with await connect(address) as server:
        state = await lab_state(server, named.name)
        return _report(server, named, state, started)


async def lab_down(address: Address, lab: str, context: RunContext, *, close: bool = False) -> LabReport:
    """Stop the lab's nodes, a few at a time; with ``close`` the project too.  Their disks keep what is on them."""
    started = time.monotonic()
    named = await LabName.of(lab)
    async with await connect(address) as server:
        state = await lab_state(server, named.name)
        assert state.project is not None
        running = {name: node for name, node in state.ours().items() if _runs(node)}
        if context.dry_run:
            planned = {name: "would stop" for name in running}
            pending = (f"close the project {state.project.name!r}",) if close else ()
            return replace(_report(server, named, state, started, planned), dry_run=True, pending=pending)
        errors = await _stop(server, running, context.events)
        if close and not errors:
            with context.events.step(f"Close the project {state.project.name}"):
                await server.close_project(state.project.project_id)
        after = await lab_state(server, named.name)
        return replace(_report(server, named, after, started), errors=errors)


async def _stop(server: Server, running: Mapping[str, Node], events: Events) -> dict[str, MiniVMError]:
    if not running:
        return {}
    errors: dict[str, MiniVMError] = {}
    with events.step("Stop nodes", total=len(running)) as step:

        async def one(name: str) -> None:
            node = running[name]
            try:
                await server.stop_node(node.project_id, node.node_id)
            except MiniVMError as error:
                errors[f"node {name}"] = error
            step.advance(1)

        await bounded_map(one, running, at_once=_STOPS_AT_ONCE)
    return errors


async def lab_destroy(
    address: Address,
    lab: str,
    context: RunContext,
    *,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> LabReport:
    """Delete the lab's project, with its nodes and all that is on their disks; templates and images stay.

    Only the project that is marked as the lab is deleted, no copy of it.  Raises ConflictError where another project
    has the lab's name; UsageError if nobody has confirmed.
    """
    started = time.monotonic()
    named = await LabName.of(lab)
    async with await connect(address) as server:
        state = await lab_state(server, named.name)
        assert state.project is not None
        report = _report(server, named, state, started)
        if context.dry_run:
            return replace(report, dry_run=True, pending=(f"delete {whole_lab(report)}",))
        if not (yes or (confirm is not None and confirm(report))):
            raise UsageError(f"{whole_lab(report)}, would be deleted", hint="Confirm with --yes.")
        with context.events.step(f"Delete the project {state.project.name}"):
            await server.delete_project(state.project.project_id)
        gone = tuple(replace(item, state="deleted", console="") for item in report.rows)
        return replace(report, rows=gone, elapsed_s=time.monotonic() - started)


async def lab_wait(address: Address, lab: str, context: RunContext, *, wait_s: float = 300.0) -> LabReport:
    """Wait until the console of every running node of a lab answers.  Errors are in the report."""
    started = time.monotonic()
    named = await LabName.of(lab)
    async with await connect(address) as server:
        state = await lab_state(server, named.name)
        assert state.project is not None
        templates = {item.template_id for item in await server.templates() if is_minivm(item)}
        nodes = state.ours()
        awaited = [
            Awaited(name, node, node.template_id in templates or bool(payload_of(node)))
            for name, node in nodes.items()
            if node.status == "started" and has_console(node)
        ]
        stopped = {
            name: NodeError(f"node {name} is {node.status}", hint="Start it: `gns3-minivm lab up`.")
            for name, node in nodes.items()
            if node.status != "started" and _is_meant_to_run(named.file, name)
        }
        if stopped and awaited:
            context.events.warn(f"{', '.join(error.message for error in stopped.values())}; waiting for the others")
        errors = await wait_for_consoles(server, state.project.project_id, awaited, wait_s, context.events)
        ready = {item.name: "ready" for item in awaited if item.name not in errors}
        report = _report(server, named, state, started, {**ready, **dict.fromkeys(errors, "failed")})
        told = {f"node {name}": error for name, error in {**errors, **stopped}.items()}
        return replace(report, errors=told)


def _is_meant_to_run(file: Lab | None, name: str) -> bool:
    return file is None or name not in file.nodes or file.nodes[name].start


def _runs(node: Node) -> bool:
    return node.status != "stopped" and node.node_type not in ALWAYS_ON


def _report(
    server: Server, named: LabName, state: LabState, started: float, states: Mapping[str, str] | None = None
) -> LabReport:
    """The lab's nodes in the order of its file, else of their names."""
    assert state.project is not None
    nodes = state.ours()
    names = list(named.file.nodes) if named.file is not None else []
    names += sorted(name for name in {*state.record, *nodes} if name not in names)
    rows: list[NodeRow] = [row(name, nodes.get(name), named.file, state=(states or {}).get(name, "")) for name in names]
    ours = {node.node_id for node in nodes.values()}
    foreign = tuple(node.name for node in state.nodes if node.node_id not in ours)
    return LabReport(
        lab=named.name, url=server.url, project=state.project.name, project_id=state.project.project_id,
        project_status=state.project.status, rows=tuple(rows), foreign=foreign, elapsed_s=time.monotonic() - started,
    )  # fmt: skip
