"""Results as text for people; ``--json`` shows the same results' ``as_dict``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gns3_minivm.cli.progress import size

if TYPE_CHECKING:
    from gns3_minivm.agent.apply import ApplianceResult
    from gns3_minivm.agent.plan import AppliancePlan
    from gns3_minivm.bundle.model import Bundle
    from gns3_minivm.catalog import Appliance
    from gns3_minivm.errors import MiniVMError
    from gns3_minivm.ops.boot import BootResult
    from gns3_minivm.ops.disk import ConvertResult
    from gns3_minivm.ops.kernel import BuildResult
    from gns3_minivm.ops.look import EngineDescription, ServerDescription
    from gns3_minivm.ops.register import RegisterResult, ServerReport


def registered(result: RegisterResult) -> str:
    lines = _pending(result.pending)
    for server in result.servers:
        lines += _server_report(server, dry_run=result.dry_run)
    if result.dry_run:
        lines.append("dry run: nothing was changed")
    else:
        lines.append(f"in {result.elapsed_s:.1f} s")
    return "\n".join(lines)


def _pending(steps: Sequence[str]) -> list[str]:
    return [f"would first {step}; what follows is known after that" for step in steps]


def not_registered(result: RegisterResult) -> str:
    """What went wrong, for standard error; empty if nothing did."""
    lines = []
    for server in result.servers:
        errors = [server.error, *(item.error for item in server.results)]
        for error in filter(None, errors):
            lines += _error(error)
        told = {item.template_id for item in server.results if item.error}
        for item in server.plan.appliances if server.plan else ():
            if item.desired.template.template_id not in told:
                for conflict in item.conflicts:
                    lines += [f"error: {server.url}: {conflict.message}", f"hint: {conflict.hint}"]
    return "\n".join(lines)


def _server_report(server: ServerReport, *, dry_run: bool) -> list[str]:
    lines = [f"warning: {warning}" for warning in server.warnings]
    results = {result.template_id: result for result in server.results}
    for item in server.plan.appliances if server.plan else ():
        name = f"{item.desired.name} on {server.url} (GNS3 {server.version})"
        result = results.get(item.desired.template.template_id)
        if item.conflicts or server.error or (result and result.error):
            lines.append(f"{name}: failed")
        elif item.nothing_to_do:
            lines.append(f"{name}: nothing to do")
        else:
            lines += [f"{name}:", *_actions(item, result, dry_run=dry_run)]
    return lines


def _actions(item: AppliancePlan, result: ApplianceResult | None, *, dry_run: bool) -> list[str]:
    template = item.desired.template
    uploads = result.uploaded if result else tuple(upload.filename for upload in item.uploads)
    verb = "upload" if dry_run else "uploaded"
    lines = [f"  {verb:10} {filename}" for filename in uploads]
    summary = f"{template.ram_mb} MB, {template.adapters} adapters, {template.cpus} CPU"
    changes = result.changes if result else getattr(item.template, "changes", None)
    if changes:
        verb = "update" if dry_run else "updated"
        shown = ", ".join(f"{field} {_short(old)} -> {_short(new)}" for field, (old, new) in changes.items())
        lines.append(f"  {verb:10} template {item.desired.name}: {shown}")
    elif type(item.template).__name__ == "CreateTemplate":
        verb = "create" if dry_run else "created"
        lines.append(f"  {verb:10} template {item.desired.name}: {summary}")
    return lines


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _error(error: MiniVMError) -> list[str]:
    lines = [f"error: {error.message}"]
    return [*lines, f"hint: {error.hint}"] if error.hint else lines


def converted(result: ConvertResult) -> str:
    if result.pending:
        return "\n".join([*_pending(result.pending), "dry run: nothing was written"])
    if result.artifact is None:
        found = "is in the cache" if result.cached else "would be converted"
        return f"{result.image}: {found}, to {result.output}\ndry run: nothing was written"
    artifact = result.artifact
    return (
        f"{result.output}: {size(artifact.size_bytes)}, from {result.image}{' (cache)' if result.cached else ''}\n"
        f"md5 {artifact.md5}\nsha256 {artifact.sha256}\nin {result.elapsed_s:.1f} s"
    )


def booted(result: BootResult) -> str:
    if result.pending:
        return "\n".join(_pending(result.pending))
    if result.output is not None:
        return result.output
    return result.command_line if result.dry_run else ""


def bundle_built(result: BuildResult) -> str:
    if result.bundle is None:
        return "would build a kernel bundle\ndry run: nothing was written"
    how = f"built in {result.elapsed_s:.1f} s" if result.built else "nothing to do"
    return f"{_bundle(result.bundle)}\n{how}"


def bundles(found: Sequence[Bundle]) -> str:
    return "\n".join(_bundle(bundle) for bundle in found) or "none yet: gns3-minivm kernel build"


def _bundle(bundle: Bundle) -> str:
    files = ", ".join(f"{artifact.filename} ({size(artifact.size_bytes)})" for artifact in bundle.artifacts)
    return f"{bundle.flavour} {bundle.kernel_version}: {files}"


def appliances(found: Sequence[Appliance]) -> str:
    width = max((len(appliance.name) for appliance in found), default=0)
    return "\n".join(f"{a.name:{width}}  {a.ram:5} MB  {a.adapters:2} adapters  {a.description}" for a in found)


def servers(found: Sequence[ServerDescription]) -> str:
    lines = []
    for server in found:
        lines += [f"warning: {warning}" for warning in server.warnings]
        if server.error is None:
            computes = ", ".join(server.computes) or "none"
            lines.append(f"{server.url}: GNS3 {server.version}, computes: {computes}, {server.templates} templates")
    return "\n".join(lines)


def not_answering(found: Sequence[ServerDescription]) -> str:
    """What went wrong, for standard error; empty if nothing did."""
    return "\n".join(line for server in found if server.error for line in _error(server.error))


def engine(found: EngineDescription) -> str:
    return f"Docker engine {found.version} at {found.url}"
