"""Carries out a plan on one server: the only part of the agent that writes.

Uploads first, each verified, then the template, read back and compared.  All of it may be done twice, also by two
agents at once, with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.agent.plan import (
    AppliancePlan,
    Changes,
    Plan,
    Unchanged,
    UpdateTemplate,
    Upload,
    differences,
)
from gns3_minivm.artifacts import Artifact
from gns3_minivm.errors import BugError, ConflictError, MiniVMError, ServerFaultError
from gns3_minivm.events import Events
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server

Outcome = Literal["created", "updated", "unchanged", "failed"]


@dataclass(frozen=True)
class ApplianceResult:
    """What came of one appliance on one server; ``error`` is set exactly if the outcome is "failed"."""

    name: str
    template_id: str
    outcome: Outcome
    uploaded: tuple[str, ...] = ()
    changes: Changes | None = None
    error: MiniVMError | None = None


async def apply(
    server: Server, plan: Plan, sources: Mapping[str, Artifact], events: Events
) -> tuple[ApplianceResult, ...]:
    """Carry out ``plan``; ``sources`` are the files of ``plan.uploads`` by file name.

    An appliance that fails does not stop the others; its error is in its result.
    """
    results = []
    for item in plan.appliances:
        try:
            results.append(await _apply_one(server, item, sources, events))
        except MiniVMError as error:
            desired = item.desired
            results.append(ApplianceResult(desired.name, desired.template.template_id, "failed", error=error))
    return tuple(results)


async def _apply_one(
    server: Server, item: AppliancePlan, sources: Mapping[str, Artifact], events: Events
) -> ApplianceResult:
    if item.conflicts:
        raise ConflictError(
            f"{server.url}: " + "; ".join(conflict.message for conflict in item.conflicts), hint=item.conflicts[0].hint
        )
    desired = item.desired
    uploaded = []
    for upload in item.uploads:
        filename, sent = await _upload(server, upload, sources, events)
        if sent:
            uploaded.append(filename)
        if filename != upload.filename:
            desired = desired.with_filename(upload.filename, filename)
    outcome, changes = await _apply_template(server, item, desired, events)
    return ApplianceResult(desired.name, desired.template.template_id, outcome, tuple(uploaded), changes)


async def _upload(server: Server, upload: Upload, sources: Mapping[str, Artifact], events: Events) -> tuple[str, bool]:
    artifact = sources.get(upload.filename)
    if artifact is None:
        raise BugError(f"{upload.filename} is to be uploaded and was not built")
    with events.step(f"Upload {upload.filename}", total=artifact.size_bytes, unit="bytes") as step:
        done = await server.upload_image(
            artifact.path,
            upload.filename,
            artifact.size_bytes,
            artifact.md5,
            step.advance,
            compute_id=upload.compute_id,
        )
        if done.filename != upload.filename:
            step.detail = f"the server has it as {done.filename}"
        elif not done.sent:
            step.detail = "was there already"
        return done.filename, done.sent


async def _apply_template(
    server: Server, item: AppliancePlan, desired: DesiredAppliance, events: Events
) -> tuple[Outcome, Changes | None]:
    action = item.template
    if isinstance(action, Unchanged) and desired is item.desired:
        return "unchanged", None
    template_id = desired.template.template_id
    if isinstance(action, UpdateTemplate | Unchanged):
        current = await _read(server, desired)
        changes, _ = differences(current, desired)
        with events.step(f"Update template {desired.name}"):
            await _change(server, desired, changes)
        return ("updated", changes) if changes else ("unchanged", None)
    with events.step(f"Create template {desired.name}"):
        created = await server.create_template(desired.template)
        if created.values is None:
            raise ConflictError(
                f"{server.url}: the id {template_id} belongs to a {created.template_type} template {created.name!r}",
                hint="Delete that template on the server.",
            )
        # Another agent may have created it at the same moment, from another release's settings.
        changes, _ = differences(await _read(server, desired), desired)
        await _change(server, desired, changes)
    return "created", None


async def _change(server: Server, desired: DesiredAppliance, changes: Changes) -> None:
    if not changes:
        return
    await server.update_template(desired.template.template_id, {name: new for name, (_, new) in changes.items()})
    still, _ = differences(await _read(server, desired), desired)
    if still:
        shown = "; ".join(f"{name} is {old!r}, not {new!r}" for name, (old, new) in still.items())
        raise ServerFaultError(
            f"{server.url}: template {desired.name!r} does not keep what was set ({shown})",
            hint="Another program may be changing it at the same time; run the command again.",
        )


async def _read(server: Server, desired: DesiredAppliance) -> QemuTemplate:
    template = await server.template(desired.template.template_id)
    if template is None or template.values is None:
        raise ConflictError(
            f"{server.url}: template {desired.name!r} was removed in the meantime", hint="Run the command again."
        )
    return template.values
