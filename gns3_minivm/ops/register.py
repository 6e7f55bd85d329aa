"""``register``: appliances and images become templates on GNS3 servers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gns3_minivm import guest
from gns3_minivm.agent.across import ServerOutcome, on_each
from gns3_minivm.agent.apply import ApplianceResult, apply
from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, template_id
from gns3_minivm.agent.observe import observe
from gns3_minivm.agent.plan import AppliancePlan, Plan, plan
from gns3_minivm.artifacts import Artifact
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.catalog import Appliance
from gns3_minivm.config import Settings
from gns3_minivm.errors import MiniVMError, UsageError
from gns3_minivm.events import Events
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server
from gns3_minivm.ops.sources import ImageSettings, Source, Workshop

PLAIN_IMAGE_RAM_MB = 256
"""Memory for an image that is no appliance and so does not say."""


@dataclass(frozen=True)
class TemplateSettings:
    """Settings that replace the appliance's; None leaves it to the appliance.  ``ram`` in MB."""

    ram: int | None = None
    cpus: int | None = None
    adapters: int | None = None
    kernel_args: str | None = None


@dataclass(frozen=True)
class RegisterRequest:
    """``template_name`` and ``compute`` are None for the defaults."""

    names: tuple[str, ...]
    servers: tuple[Address, ...]
    compute: str | None = None
    template_name: str | None = None
    template: TemplateSettings = TemplateSettings()
    image: ImageSettings = ImageSettings()
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
        return self.plan is not None and any(not item.conflicts for item in self.plan.appliances) and (
            not self.results or any(result.error is None for result in self.results)
        )


@dataclass(frozen=True)
class RegisterResult:
    servers: tuple[ServerReport, ...]
    dry_run: bool
    elapsed_s: float

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
            "servers": [_server_dict(server) for server in self.servers],
        }


async def register(request: RegisterRequest, settings: Settings, events: Events) -> RegisterResult:
    """Bring templates, and the files they need, to every server of the request.

    Everything is found and planned before anything is converted, and only what some server lacks is converted.  An
    error of one server is in its report and stops no other.  Raises UserError, ImageError, HostError.
    """
    started = time.monotonic()
    _check(request)
    workshop = Workshop(settings, request.image, events, debs=request.debs)
    try:
        bundle = await workshop.bundle()
        sources = [await workshop.find(name) for name in request.names]
        desired = [_desired(source, bundle, request) for source in sources]
        _check_names(desired)
        observed = await on_each(request.servers, lambda server: _look(server, desired, request.compute))
        reports = [_planned(outcome) for outcome in observed]
        if not request.dry_run:
            artifacts = await _build(reports, sources, bundle, workshop)
            reports = await _carry_out(request.servers, reports, artifacts, events)
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


def _desired(source: Source, bundle: Bundle, request: RegisterRequest) -> DesiredAppliance:
    """The template of an image, with the appliance's settings where it is one."""
    info = source.resolved.image.info
    appliance = source.resolved.appliance
    name = request.template_name or info.name
    files = [WantedFile.of(bundle.kernel)]
    images = {"hda_disk_image": source.recipe.filename, "kernel_image": bundle.kernel.filename}
    files.append(WantedFile(source.recipe.filename))
    if bundle.initrd is not None:
        files.append(WantedFile.of(bundle.initrd))
        images["initrd"] = bundle.initrd.filename
    if appliance is not None and appliance.module_disk and bundle.modules is not None:
        files.append(WantedFile.of(bundle.modules))
        images |= {"hdb_disk_image": bundle.modules.filename, "hdb_disk_interface": "virtio"}
    own_words = appliance.kernel_arguments if appliance else ""
    words = " ".join(filter(None, [own_words, request.template.kernel_args]))
    template = QemuTemplate(
        template_id=template_id(name),
        name=name,
        kernel_command_line=guest.kernel_command_line(words),
        options=guest.QEMU_OPTIONS,
        compute_id=request.compute or "local",
        **_described(appliance, name),
        **images,
    )
    settings = request.template
    chosen = {"ram_mb": settings.ram, "cpus": settings.cpus, "adapters": settings.adapters}
    changes: dict[str, Any] = {field: value for field, value in chosen.items() if value is not None}
    return DesiredAppliance(replace(template, **changes), tuple(files))


def _described(appliance: Appliance | None, name: str) -> dict[str, Any]:
    if appliance is None:
        label = "".join(c if c.isascii() and c.isalnum() else "-" for c in name).strip("-") or "minivm"
        return {"ram_mb": PLAIN_IMAGE_RAM_MB, "default_name_format": f"{label}-{{0}}"}
    return {
        "category": str(appliance.category),
        "symbol": appliance.symbol,
        "default_name_format": appliance.node_name_format,
        "usage": appliance.usage,
        "ram_mb": appliance.ram,
        "cpus": appliance.cpus,
        "adapters": appliance.adapters,
        "adapter_type": appliance.adapter_type,
        "port_name_format": appliance.port_name_format,
        "first_port_name": appliance.first_port_name,
    }


async def _look(server: Server, desired: Sequence[DesiredAppliance], compute: str | None) -> ServerReport:
    """Read one server's state and plan."""
    chosen = compute or await _own_compute(server)
    here = [replace(item, template=replace(item.template, compute_id=chosen)) for item in desired]
    planned = plan(await observe(server, here), here)
    return ServerReport(server.url, server.version, server.warnings, planned, (), None)


async def _own_compute(server: Server) -> str:
    """``local``, or the first compute where the server itself runs no nodes (Windows and macOS: ``vm``)."""
    computes = [compute.compute_id for compute in await server.computes()]
    return "local" if "local" in computes or not computes else computes[0]


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
