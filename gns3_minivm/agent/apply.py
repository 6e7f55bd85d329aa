"""Carries out a plan on one server: the only part of the agent that writes.

Uploads first, each verified, then the template, read back and compared.  All of it may be done twice, also by two
agents at once, with the same result.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gns3_minivm.agent.desired import DesiredAppliance, catalogue_of
from gns3_minivm.agent.differences import Changes, differences
from gns3_minivm.agent.images import find_uses
from gns3_minivm.agent.plan import (
    AdoptTemplate,
    AppliancePlan,
    Plan,
    RemoveTemplate,
    Unchanged,
    UpdateTemplate,
    Upload,
)
from gns3_minivm.agent.read_back import put_back
from gns3_minivm.agent.symbols import bring_symbol
from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.errors import BugError, ConflictError, MiniVMError, NotFoundError, ServerFaultError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.model import IMAGE_FIELDS, QemuTemplate
from gns3_minivm.gns3.server import Server

Outcome = Literal["created", "adopted", "updated", "unchanged", "removed", "failed"]
GetArtifact = Callable[[str], Awaitable[Artifact]]
"""Gives a file by its recipe's name, once it has been built."""


@dataclass(frozen=True, kw_only=True)
class ApplianceResult:
    """The result for one appliance on one server; ``error`` is set exactly if the outcome is "failed"."""

    name: str
    template_id: str
    outcome: Outcome
    uploaded: tuple[str, ...] = ()
    changes: Changes | None = None
    error: MiniVMError | None = None


def at_hand(artifacts: Mapping[str, Artifact]) -> GetArtifact:
    """A supply of files that exist already."""

    async def supply(filename: str) -> Artifact:
        if filename not in artifacts:
            raise BugError(f"{filename} should be uploaded but was not built")
        return artifacts[filename]

    return supply


async def apply(
    server: Server, plan: Plan, supply: GetArtifact, events: Events, *, catalogue: str = ""
) -> tuple[ApplianceResult, ...]:
    """Carry out ``plan``; each file of ``plan.uploads`` is asked of ``supply`` when its turn comes.

    An appliance that fails does not stop the others; its error is in its result.
    """
    results = []
    sent: dict[Upload, str] = {}
    for item in plan.appliances:
        desired = item.desired
        try:
            results.append(await _apply_one(server, item, supply, events, sent))
        except MiniVMError as error:
            results.append(
                ApplianceResult(
                    name=desired.name, template_id=desired.template.template_id, outcome="failed", error=error
                )
            )
    for removal in plan.removals:
        try:
            await _remove(server, removal, catalogue, events)
            results.append(ApplianceResult(name=removal.name, template_id=removal.template_id, outcome="removed"))
        except MiniVMError as error:
            results.append(
                ApplianceResult(name=removal.name, template_id=removal.template_id, outcome="failed", error=error)
            )
    return tuple(results)


async def _apply_one(
    server: Server, item: AppliancePlan, supply: GetArtifact, events: Events, sent: dict[Upload, str]
) -> ApplianceResult:
    """``sent`` are the files that are there since an earlier appliance of this plan, with their names."""
    if item.conflicts:
        raise ConflictError(
            f"{server.url}: " + "; ".join(conflict.message for conflict in item.conflicts), hint=item.conflicts[0].hint
        )
    desired = item.desired
    uploaded = []
    for upload in item.uploads:
        filename = sent.get(upload, "")
        if not filename:
            filename, now = await _upload(server, upload, supply, events)
            sent[upload] = filename
            uploaded += [filename] if now else []
        if filename != upload.filename:
            desired = desired.with_filename(upload.filename, filename)
    outcome, changes = await _apply_template(server, item, desired, events)
    return ApplianceResult(
        name=desired.name,
        template_id=desired.template.template_id,
        outcome=outcome,
        uploaded=tuple(uploaded),
        changes=changes,
    )


async def _upload(server: Server, upload: Upload, supply: GetArtifact, events: Events) -> tuple[str, bool]:
    artifact = await supply(upload.source)
    if upload.gone:
        with events.step(f"Upload {upload.filename} to {server.url}", total=artifact.size_bytes, unit="bytes") as step:
            await put_back(server, artifact, upload.filename, step.advance)
        return upload.filename, True
    filename, replaced = upload.filename, False
    if upload.damaged:
        # Nodes are linked clones of what lies there, damaged or not.
        uses = await find_uses(server, [upload.damaged], events=events)
        # Another agent may have repaired it meanwhile: its template has moved on, and that is why nothing uses this.
        listed = {image.filename for image in await server.images(upload.compute_id)}
        if not uses[upload.damaged] and upload.filename not in listed:
            filename, replaced = upload.damaged, True
    with events.step(f"Upload {filename} to {server.url}", total=artifact.size_bytes, unit="bytes") as step:
        done = await server.upload_image(
            artifact.path,
            filename,
            artifact.size_bytes,
            artifact.md5,
            step.advance,
            compute_id=upload.compute_id,
            replace=replaced,
            distrusted=upload.distrusted,
        )
        if done.filename != filename:
            step.detail = f"the server has it as {done.filename}"
        elif not done.sent:
            step.detail = "already there"
        return done.filename, done.sent


async def _apply_template(
    server: Server, item: AppliancePlan, desired: DesiredAppliance, events: Events
) -> tuple[Outcome, Changes | None]:
    action = item.template
    if isinstance(action, Unchanged) and desired is item.desired:
        return "unchanged", None
    if isinstance(action, UpdateTemplate | Unchanged):
        current = await _read(server, desired)
        changes, _ = differences(current, desired)
        if "symbol" in changes or current.symbol == desired.template.symbol:
            await bring_symbol(server, desired, events)
        with events.step(f"Update template {desired.name} on {server.url}"):
            await _change(server, desired, changes)
        return ("updated", changes) if changes else ("unchanged", None)
    if getattr(action, "template", desired.template).symbol == desired.template.symbol:
        await bring_symbol(server, desired, events)
    with events.step(f"Create template {desired.name} on {server.url}"):
        if isinstance(action, AdoptTemplate):
            # Both have the files that were sent meanwhile, perhaps under other names than planned.
            images = {name: getattr(desired.template, name) for name in IMAGE_FIELDS}
            await _adopt(server, replace(action.template, **images), action.foreign_id)
            return "adopted", None
        await _create(server, desired.template)
        # Another agent may have created it at the same moment, from another release's settings.
        changes, _ = differences(await _read(server, desired), desired)
        await _change(server, desired, changes)
    return "created", None


async def _create(server: Server, template: QemuTemplate) -> None:
    created = await server.create_template(template)
    if created.values is None:
        raise ConflictError(
            f"{server.url}: the id {template.template_id} belongs to a {created.template_type} template"
            f" {created.name!r}",
            hint="Delete that template on the server.",
        )


async def _adopt(server: Server, template: QemuTemplate, foreign_id: str) -> None:
    """Create ours in place of a foreign template; API v3 refuses two of one name, so that one is renamed first."""
    try:
        await server.update_template(foreign_id, {"name": f"{template.name} (before gns3-minivm)"})
    except NotFoundError:
        pass  # another agent was faster
    try:
        await _create(server, template)
    except (MiniVMError, asyncio.CancelledError):
        with contextlib.suppress(MiniVMError):
            # An answer that did not come says nothing.
            if await server.template(template.template_id) is None:
                await server.update_template(foreign_id, {"name": template.name})
        raise
    try:
        await server.delete_template(foreign_id)
    except NotFoundError:
        pass


async def _remove(server: Server, removal: RemoveTemplate, catalogue: str, events: Events) -> None:
    with events.step(f"Remove template {removal.name} from {server.url}") as step:
        current = await server.template(removal.template_id)
        if current is None:
            step.detail = "already gone"
        elif current.values is None or catalogue_of(current.values.usage) != catalogue:
            raise ConflictError(
                f"{server.url}: template {removal.name!r} lost the catalogue's mark in the meantime",
                hint="Run the command again.",
            )
        else:
            await server.delete_template(removal.template_id)


async def _change(server: Server, desired: DesiredAppliance, changes: Changes) -> None:
    if not changes:
        return
    await server.update_template(desired.template.template_id, {name: new for name, (_, new) in changes.items()})
    still, _ = differences(await _read(server, desired), desired)
    if still:
        shown = "; ".join(f"{name} is {old!r}, not {new!r}" for name, (old, new) in still.items())
        raise ServerFaultError(
            f"{server.url}: template {desired.name!r} does not keep its new settings ({shown})",
            hint="Another program may be changing it at the same time; run the command again.",
        )


async def _read(server: Server, desired: DesiredAppliance) -> QemuTemplate:
    template = await server.template(desired.template.template_id)
    if template is None or template.values is None:
        raise ConflictError(
            f"{server.url}: template {desired.name!r} was removed in the meantime", hint="Run the command again."
        )
    return template.values
