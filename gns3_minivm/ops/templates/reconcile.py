"""What ``register``, ``sync`` and ``status`` share: find, observe all servers at once, plan, build, apply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gns3_minivm.agent.apply import ApplianceResult, apply
from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.agent.nodes import OldNode, old_nodes
from gns3_minivm.agent.observe import observe
from gns3_minivm.agent.plan import plan
from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.errors import MiniVMError, UsageError
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.on_each import Connection, connections
from gns3_minivm.gns3.server import Server
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.templates.report import ServerReport, SyncResult
from gns3_minivm.ops.templates.sources import NotYet
from gns3_minivm.ops.templates.supply import Found, Wanted


class Supply(Protocol):
    """Where templates and files come from: ``supply.BuiltSupply``, or an appliance file."""

    async def find(self, wanted: Sequence[Wanted], *, catalogue: str = "") -> list[Found]: ...

    async def make_kernels(self) -> None: ...

    async def start(self, filenames: Iterable[str]) -> None:
        """Learn which files servers lack; an error here ends everything before anything is sent."""

    async def artifact(self, filename: str) -> Artifact: ...


Announce = Callable[[SyncResult], None]
"""Is given the plans of all servers before anything is written."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server and its desired state; ``error`` is set if its address is incomplete (a missing password)."""

    name: str
    url: str
    address: Address | None
    wanted: tuple[Wanted, ...]
    compute: str | None = None
    error: MiniVMError | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How to bring about a catalogue's state; ``nodes`` says on which servers old nodes are looked for."""

    catalogue: str = ""
    adopt: bool = False
    prune: bool = False
    nodes: bool = False
    """On all servers, not only on those where a template moves on to another image."""
    verify: bool = False
    """Whether image files are read back and compared."""


async def reconcile(
    targets: Sequence[Target], supply: Supply, policy: Policy, context: RunContext, announce: Announce | None = None
) -> SyncResult:
    """Bring every server into its desired state, or say what that takes.

    Everything is found and planned before anything is converted, and only what some server lacks is converted.  An
    error of one server or appliance is in the result and stops no other.
    """
    started = time.monotonic()
    wanted = list(dict.fromkeys(item for target in targets for item in target.wanted))
    found = _Findings.of(await supply.find(wanted, catalogue=policy.catalogue))
    if wanted and not found.desired:
        return SyncResult(
            servers=(),
            dry_run=context.dry_run,
            elapsed_s=time.monotonic() - started,
            pending=found.pending,
            errors=found.errors,
        )
    reachable = [target for target in targets if target.address is not None]
    async with connections([target.address for target in reachable if target.address]) as opened:
        at = dict(zip((target.name for target in reachable), opened, strict=True))
        reports = await _observe_all(targets, at, found, policy, context)
        if any(report.plan.needs_names for report in reports if report.plan):
            try:
                await supply.make_kernels()
            except NotYet as step:
                found = replace(found, pending=tuple(dict.fromkeys([*found.pending, step.step])))
            else:
                found = _Findings.of(await supply.find(wanted, catalogue=policy.catalogue))
                reports = await _observe_all(targets, at, found, policy, context)
        result = SyncResult(
            servers=tuple(reports),
            dry_run=context.dry_run,
            elapsed_s=time.monotonic() - started,
            pending=found.pending,
            errors=found.errors,
        )
        if announce is not None:
            announce(result)
        if not context.dry_run:
            await supply.start([upload.source for report in reports if report.plan for upload in report.plan.uploads])
            work = (_carried_out(report, at.get(report.name), supply, policy, context) for report in reports)
            reports = list(await asyncio.gather(*work))
        reports = list(await asyncio.gather(*(_with_nodes(r, at.get(r.name), policy) for r in reports)))
    return replace(result, servers=tuple(reports), elapsed_s=time.monotonic() - started)


@dataclass(frozen=True)
class _Findings:
    """The result of looking for all images."""

    desired: Mapping[Wanted, DesiredAppliance]
    errors: tuple[tuple[str, MiniVMError], ...]
    pending: tuple[str, ...]

    @classmethod
    def of(cls, found: Sequence[Found]) -> _Findings:
        return cls(
            {item.wanted: item.desired for item in found if item.desired is not None},
            tuple((item.wanted.label, item.error) for item in found if item.error is not None),
            tuple(dict.fromkeys(item.pending for item in found if item.pending)),
        )


async def _observe_all(
    targets: Sequence[Target], at: Mapping[str, Connection], found: _Findings, policy: Policy, context: RunContext
) -> list[ServerReport]:
    """Read the state of all servers at once, and plan."""
    if not at:
        return [ServerReport(name=target.name, url=target.url, error=target.error) for target in targets]
    with context.events.step(f"Look at {len(at)} servers" if len(at) != 1 else "Look at the server"):
        return list(await asyncio.gather(*(_planned(t, at.get(t.name), found, policy, context) for t in targets)))


async def _planned(
    target: Target, connection: Connection | None, found: _Findings, policy: Policy, context: RunContext
) -> ServerReport:
    """Read one server's state and plan."""
    if connection is None:
        return ServerReport(name=target.name, url=target.url, error=target.error)
    desired = [found.desired[item] for item in target.wanted if item in found.desired]
    # Whether a template is a leftover is known only when all names are.
    catalogue = "" if found.errors or found.pending else policy.catalogue

    async def observed_and_planned(server: Server) -> ServerReport:
        _check_names(desired)
        observed = await observe(server, desired, compute=target.compute, verify=policy.verify, events=context.events)
        planned = plan(observed, observed.desired, adopt=policy.adopt, catalogue=catalogue, prune=policy.prune)
        return ServerReport(
            name=target.name, url=server.url, version=server.version, warnings=server.warnings, plan=planned
        )

    outcome = await connection.run(observed_and_planned)
    return outcome.value or ServerReport(name=target.name, url=target.url, error=outcome.error)


def _check_names(desired: Sequence[DesiredAppliance]) -> None:
    seen: set[str] = set()
    for appliance in desired:
        if appliance.name in seen:
            raise UsageError(
                f"two of the images would get the template name {appliance.name!r}",
                hint="Give one of them another name (--as NAME, or name in a catalogue).",
            )
        seen.add(appliance.name)


async def _carried_out(
    report: ServerReport, connection: Connection | None, supply: Supply, policy: Policy, context: RunContext
) -> ServerReport:
    planned = report.plan
    if planned is None or planned.nothing_to_do or connection is None:
        return report

    async def work(server: Server) -> tuple[ApplianceResult, ...]:
        return await apply(server, planned, supply.artifact, context.events, catalogue=policy.catalogue)

    outcome = await connection.run(work)
    return replace(report, results=outcome.value or (), error=outcome.error)


async def _with_nodes(report: ServerReport, connection: Connection | None, policy: Policy) -> ServerReport:
    """List old nodes where that was asked for, or where a template moves on: then there may be some."""
    planned = report.plan
    if planned is None or connection is None or report.error is not None:
        return report
    appliances = [item.desired for item in planned.appliances if policy.nodes or item.moves_on]
    if not appliances:
        return report

    async def outdated(server: Server) -> tuple[OldNode, ...]:
        return await old_nodes(server, appliances)

    outcome = await connection.run(outdated)
    if outcome.error is not None:
        # What was asked for is done; only this list is missing.
        warning = f"{report.url}: nodes on older images could not be listed: {outcome.error.message}"
        return replace(report, warnings=(*report.warnings, warning))
    return replace(report, old_nodes=outcome.value)
