"""``register``: appliances and images become templates on GNS3 servers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gns3_minivm import guest
from gns3_minivm.agent.across import ServerOutcome, on_each
from gns3_minivm.agent.apply import ApplianceResult, apply
from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.agent.observe import observe
from gns3_minivm.agent.plan import AppliancePlan, Plan, plan
from gns3_minivm.artifacts import Artifact
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.config import Settings
from gns3_minivm.errors import MiniVMError, UsageError
from gns3_minivm.events import Events
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.server import Server
from gns3_minivm.ops.sources import ImageSettings, NotYet, Source, Workshop
from gns3_minivm.ops.template import TemplateSettings, describe


@dataclass(frozen=True)
class RegisterRequest:
    """``template_name`` and ``compute`` are None for the defaults."""

    names: tuple[str, ...]
    servers: tuple[Address, ...]
    compute: str | None = None
    template_name: str | None = None
    template: TemplateSettings = field(default_factory=TemplateSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    debs: tuple[Path, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True)
class ServerReport:
    """What was planned and done on one server; ``results`` is empty for a dry run, ``plan`` None if it failed early."""

    url: str
    version: str
    warnings: tuple[str, ...]
    plan: Plan | None
    results: tuple[ApplianceResult, ...]
    error: MiniVMError | None

    @property
    def failed(self) -> bool:
        conflict = self.plan is not None and bool(self.plan.conflicts)
        return self.error is not None or conflict or any(result.error for result in self.results)

    @property
    def succeeded(self) -> bool:
        """Whether anything that was asked for is in place now, or would be."""
        return (
            self.plan is not None
            and any(not item.conflicts for item in self.plan.appliances)
            and (not self.results or any(result.error is None for result in self.results))
        )


@dataclass(frozen=True)
class RegisterResult:
    """``pending`` are steps without which a dry run cannot tell what follows; the servers were asked nothing then."""

    servers: tuple[ServerReport, ...]
    dry_run: bool
    elapsed_s: float
    pending: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 all done, 3 some done and some failed, 1 all failed."""
        if not any(server.failed for server in self.servers):
            return 0
        return 3 if any(server.succeeded for server in self.servers) else 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "elapsed_s": round(self.elapsed_s, 3),
            "pending": list(self.pending),
            "servers": [_server_dict(server) for server in self.servers],
        }


async def register(request: RegisterRequest, settings: Settings, events: Events) -> RegisterResult:
    """Bring templates, and the files they need, to every server of the request.

    Everything is found and planned before anything is converted, and only what some server lacks is converted.  An
    error of one server is in its report and stops no other.  Raises UserError, ImageError, HostError.
    """
    started = time.monotonic()
    _check(request)
    workshop = Workshop(settings, request.image, events, debs=request.debs, dry_run=request.dry_run)
    try:
        bundle = await workshop.bundle()
        sources = [await workshop.find(name) for name in request.names]
        desired = [
            describe(source, bundle, request.template, name=request.template_name, converted=workshop.converted(source))
            for source in sources
        ]
        _check_names(desired)
        observed = await on_each(request.servers, lambda server: _look(server, desired, request.compute))
        reports = [_planned(outcome) for outcome in observed]
        if not request.dry_run:
            artifacts = await _build(reports, sources, bundle, workshop)
            reports = await _carry_out(request.servers, reports, artifacts, events)
    except NotYet as first:
        return RegisterResult((), True, time.monotonic() - started, (first.step,))
    finally:
        workshop.close()
    return RegisterResult(tuple(reports), request.dry_run, time.monotonic() - started)


def _check(request: RegisterRequest) -> None:
    if not request.servers:
        raise UsageError(
            "no GNS3 server is named",
            hint="Add --server http://user:password@host:3080, or set GNS3_MINIVM_SERVER.",
        )
    if request.template_name and len(request.names) > 1:
        raise UsageError("--as names one template, and several images are given", hint="Register them one by one.")
    guest.kernel_command_line(request.template.kernel_args or "")


def _check_names(desired: Sequence[DesiredAppliance]) -> None:
    seen: set[str] = set()
    for appliance in desired:
        if appliance.name in seen:
            raise UsageError(
                f"two of the images would be a template named {appliance.name!r}",
                hint="Register them one by one, each with --as NAME.",
            )
        seen.add(appliance.name)


async def _look(server: Server, desired: Sequence[DesiredAppliance], compute: str | None) -> ServerReport:
    """Read one server's state and plan."""
    chosen = compute or await server.default_compute()
    here = [replace(item, template=replace(item.template, compute_id=chosen)) for item in desired]
    planned = plan(await observe(server, here), here)
    return ServerReport(server.url, server.version, server.warnings, planned, (), None)


def _planned(outcome: ServerOutcome[ServerReport]) -> ServerReport:
    if outcome.value is not None:
        return outcome.value
    return ServerReport(outcome.address.url, "", (), None, (), outcome.error)


async def _build(
    reports: Sequence[ServerReport], sources: Sequence[Source], bundle: Bundle, workshop: Workshop
) -> dict[str, Artifact]:
    """Make what the plans upload, each file once."""
    wanted = {upload.filename for report in reports if report.plan for upload in report.plan.uploads}
    artifacts = {artifact.filename: artifact for artifact in bundle.artifacts}
    for source in sources:
        if source.recipe.filename in wanted:
            artifacts[source.recipe.filename] = await workshop.disk(source)
    return artifacts


async def _carry_out(
    addresses: Sequence[Address], reports: Sequence[ServerReport], artifacts: Mapping[str, Artifact], events: Events
) -> list[ServerReport]:
    done = {report.url: report for report in reports}
    todo = [a for a in addresses if (planned := done[a.url].plan) is not None and not planned.nothing_to_do]

    async def work(server: Server) -> tuple[ApplianceResult, ...]:
        planned = done[server.url].plan
        assert planned is not None
        return await apply(server, planned, artifacts, events)

    for outcome in await on_each(todo, work):
        report = done[outcome.address.url]
        done[outcome.address.url] = replace(report, results=outcome.value or (), error=outcome.error)
    return [done[report.url] for report in reports]


def _server_dict(report: ServerReport) -> dict[str, Any]:
    results = {result.template_id: result for result in report.results}
    planned = report.plan.appliances if report.plan else ()
    return {
        "url": report.url,
        "version": report.version,
        "warnings": list(report.warnings),
        "error": report.error.as_dict() if report.error else None,
        "appliances": [_appliance_dict(item, results.get(item.desired.template.template_id)) for item in planned],
    }


def _appliance_dict(item: AppliancePlan, result: ApplianceResult | None) -> dict[str, Any]:
    changes = getattr(item.template, "changes", {})
    return {
        "name": item.desired.name,
        "template_id": item.desired.template.template_id,
        "plan": {
            "uploads": [upload.filename for upload in item.uploads],
            "template": _ACTION_WORDS[type(item.template).__name__],
            "changes": {field: {"from": old, "to": new} for field, (old, new) in changes.items()},
            "conflicts": [conflict.message for conflict in item.conflicts],
        },
        "outcome": result.outcome if result else ("conflict" if item.conflicts else "unchanged"),
        "uploaded": list(result.uploaded) if result else [],
        "error": result.error.as_dict() if result and result.error else None,
    }


_ACTION_WORDS = {"CreateTemplate": "create", "UpdateTemplate": "update", "Unchanged": "nothing"}
