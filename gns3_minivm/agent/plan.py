"""What has to be done on one server, as plain values: the same object is shown, tested and applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gns3_minivm.agent.desired import DesiredAppliance, WantedFile
from gns3_minivm.agent.observe import Observed
from gns3_minivm.gns3.model import QemuTemplate, ServerImage, ServerTemplate

Changes = Mapping[str, tuple[Any, Any]]
"""Field -> (what the server has, what it shall have)."""


@dataclass(frozen=True)
class Upload:
    filename: str
    size_bytes: int | None
    compute_id: str


@dataclass(frozen=True)
class CreateTemplate:
    template: QemuTemplate


@dataclass(frozen=True)
class UpdateTemplate:
    """``left`` are differences in fields that belong to the user."""

    template_id: str
    name: str
    changes: Changes
    left: Changes


@dataclass(frozen=True)
class Unchanged:
    template_id: str
    name: str
    left: Changes


@dataclass(frozen=True)
class Conflict:
    """Something of other origin is in the way; the appliance it concerns is not touched."""

    message: str
    hint: str


TemplateAction = CreateTemplate | UpdateTemplate | Unchanged
Action = Upload | TemplateAction | Conflict


@dataclass(frozen=True)
class AppliancePlan:
    """``desired`` has the file names that this server has them by."""

    desired: DesiredAppliance
    uploads: tuple[Upload, ...]
    template: TemplateAction
    conflicts: tuple[Conflict, ...]

    @property
    def actions(self) -> tuple[Action, ...]:
        return self.conflicts or (*self.uploads, self.template)

    @property
    def nothing_to_do(self) -> bool:
        return not self.conflicts and not self.uploads and isinstance(self.template, Unchanged)


@dataclass(frozen=True)
class Plan:
    """All that is to be done on one server."""

    url: str
    appliances: tuple[AppliancePlan, ...]

    @property
    def uploads(self) -> tuple[Upload, ...]:
        """What must be at hand before the plan is applied; each file once."""
        wanted = (upload for item in self.appliances if not item.conflicts for upload in item.uploads)
        return tuple(dict.fromkeys(wanted))

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        return tuple(conflict for item in self.appliances for conflict in item.conflicts)

    @property
    def nothing_to_do(self) -> bool:
        return all(item.nothing_to_do for item in self.appliances)


def plan(observed: Observed, desired: Sequence[DesiredAppliance]) -> Plan:
    """Compare a server's state with what it shall have."""
    return Plan(observed.url, tuple(_plan_one(observed, appliance) for appliance in desired))


def differences(template: QemuTemplate, desired: DesiredAppliance) -> tuple[Changes, Changes]:
    """What differs on the server: the fields to be changed, and those that belong to the user."""
    changes: dict[str, tuple[Any, Any]] = {}
    left: dict[str, tuple[Any, Any]] = {}
    for name in (field.name for field in fields(QemuTemplate)):
        old, new = getattr(template, name), getattr(desired.template, name)
        if old != new:
            (left if name in desired.user_fields else changes)[name] = (old, new)
    return changes, left


def _plan_one(observed: Observed, appliance: DesiredAppliance) -> AppliancePlan:
    images = observed.images.get(appliance.compute_id, {})
    uploads: list[Upload] = []
    conflicts: list[Conflict] = []
    for file in appliance.files:
        image = images.get(file.filename)
        if image is None:
            twin = _same_content(images, file) if observed.one_name_per_content else None
            if twin is not None:
                appliance = appliance.with_filename(file.filename, twin)
            else:
                uploads.append(Upload(file.filename, file.size_bytes, appliance.compute_id))
        elif _differs(image.size_bytes, file.size_bytes) or _differs(image.md5, file.md5):
            conflicts.append(_other_content(image, file))
    conflicts += _foreign_templates(observed, appliance)
    existing = next((t for t in observed.templates if t.template_id == appliance.template.template_id), None)
    return AppliancePlan(appliance, tuple(uploads), _template_action(existing, appliance), tuple(conflicts))


def _template_action(existing: ServerTemplate | None, appliance: DesiredAppliance) -> TemplateAction:
    if existing is None or existing.values is None:
        return CreateTemplate(appliance.template)
    changes, left = differences(existing.values, appliance)
    if changes:
        return UpdateTemplate(existing.template_id, existing.name, changes, left)
    return Unchanged(existing.template_id, existing.name, left)


def _foreign_templates(observed: Observed, appliance: DesiredAppliance) -> Iterator[Conflict]:
    for template in observed.templates:
        same_id = template.template_id == appliance.template.template_id
        if same_id and template.values is None:
            yield Conflict(
                f"the id of the template {appliance.name!r} belongs to a {template.template_type} template"
                f" {template.name!r}",
                "Delete that template on the server.",
            )
        elif not same_id and template.name == appliance.name:
            yield Conflict(
                f"a template {template.name!r} of other origin is there already (id {template.template_id})",
                "Rename or delete it on the server, or register this appliance under another name.",
            )


def _other_content(image: ServerImage, file: WantedFile) -> Conflict:
    return Conflict(
        f"an image {file.filename} with other content is there already ({image.size_bytes} bytes, md5 {image.md5};"
        f" ours: {file.size_bytes} bytes, md5 {file.md5})",
        "Overwriting it would damage nodes that use it: remove it on the server if none does.",
    )


def _same_content(images: Mapping[str, ServerImage], file: WantedFile) -> str | None:
    if file.md5 is None:
        return None
    twins = (image for image in images.values() if (image.size_bytes, image.md5) == (file.size_bytes, file.md5))
    return next((image.filename for image in twins), None)


def _differs(server: object, ours: object) -> bool:
    return server is not None and ours is not None and server != ours
