"""What must be done on one server, as plain values: the same object is shown, tested and applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from gns3_minivm.agent.desired import (
    EXTENSIBLE_FIELDS,
    NOT_BUILT,
    DesiredAppliance,
    WantedFile,
    catalogue_of,
    is_own_id,
    with_mark,
)
from gns3_minivm.agent.differences import Changes, differences
from gns3_minivm.agent.files import newest, numbered, numbered_names
from gns3_minivm.agent.observe import Observed
from gns3_minivm.base.versions import version_numbers, version_text
from gns3_minivm.gns3.model import CREATE_ONLY_FIELDS, IMAGE_FIELDS, QemuTemplate, ServerImage, ServerTemplate


@dataclass(frozen=True, kw_only=True)
class Upload:
    """``content`` is the recipe's name of the file, where the server has to get it under another one.

    That is so where ``damaged``, a file of the recipe's name, has other bytes than it should; ``distrusted`` are all of
    its names that the server has and that are of no use.  ``gone`` says that only the file is missing, and the server's
    record of it stands.
    """

    filename: str
    size_bytes: int | None
    compute_id: str
    content: str = ""
    damaged: str = ""
    distrusted: tuple[str, ...] = ()
    gone: bool = False

    @property
    def source(self) -> str:
        """The recipe's name of the file."""
        return self.content or self.filename


@dataclass(frozen=True)
class CreateTemplate:
    template: QemuTemplate


@dataclass(frozen=True)
class AdoptTemplate:
    """Replace a template that gns3-minivm did not make: ours is created with its user's settings."""

    template: QemuTemplate
    foreign_id: str


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
    """Something is in the way; the appliance is left untouched."""

    message: str
    hint: str


@dataclass(frozen=True)
class RemoveTemplate:
    """A template with the catalogue's mark that is no longer in the catalogue."""

    template_id: str
    name: str


TemplateAction = CreateTemplate | AdoptTemplate | UpdateTemplate | Unchanged
Action = Upload | TemplateAction | Conflict


@dataclass(frozen=True, kw_only=True)
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

    @property
    def moves_on(self) -> bool:
        """Whether an existing template gets other image files, so that its nodes are on older ones then."""
        changes: Changes = getattr(self.template, "changes", {})
        return not self.conflicts and not changes.keys().isdisjoint(IMAGE_FIELDS)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is to be done on one server.

    ``leftovers`` are templates of the catalogue that it does not have any more; they are removed if ``prune`` is set.
    """

    url: str
    appliances: tuple[AppliancePlan, ...]
    leftovers: tuple[RemoveTemplate, ...] = ()
    prune: bool = False

    @property
    def uploads(self) -> tuple[Upload, ...]:
        """The files that must be ready before the plan is applied; each file once."""
        wanted = (upload for item in self.appliances if not item.conflicts for upload in item.uploads)
        return tuple(dict.fromkeys(wanted))

    @property
    def needs_names(self) -> bool:
        """Whether a file is to be sent of which not even the name is known yet."""
        return any(upload.source.endswith(NOT_BUILT) for upload in self.uploads)

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        return tuple(conflict for item in self.appliances for conflict in item.conflicts)

    @property
    def removals(self) -> tuple[RemoveTemplate, ...]:
        return self.leftovers if self.prune else ()

    @property
    def nothing_to_do(self) -> bool:
        return all(item.nothing_to_do for item in self.appliances) and not self.removals


def plan(
    observed: Observed,
    desired: Sequence[DesiredAppliance],
    *,
    adopt: bool = False,
    catalogue: str = "",
    prune: bool = False,
) -> Plan:
    """Compare a server's state with the desired one.

    ``adopt`` takes over templates of the same name that somebody else or another catalogue made.  ``desired`` has
    to be all of ``catalogue`` for this server: other templates with its mark are its leftovers.
    """
    appliances = tuple(_plan_one(observed, appliance, adopt) for appliance in desired)
    leftovers = tuple(_leftovers(observed, desired, catalogue)) if catalogue else ()
    return Plan(url=observed.url, appliances=appliances, leftovers=leftovers, prune=prune)


def _plan_one(observed: Observed, appliance: DesiredAppliance, adopt: bool) -> AppliancePlan:
    images = observed.images.get(appliance.compute_id, {})
    existing = observed.template(appliance.template.template_id)
    has = existing.values if existing is not None else None
    in_use = [getattr(has, field) for field in IMAGE_FIELDS] if has is not None else []
    uploads: list[Upload] = []
    for file in appliance.files:
        upload = _upload(images, file, appliance.compute_id)
        if upload is None:
            appliance = appliance.with_filename(file.filename, newest(images, file, in_use) or file.filename)
        elif (twin := _same_content(images, file) if observed.one_name_per_content else None) is not None:
            appliance = appliance.with_filename(file.filename, twin)
        else:
            uploads.append(upload)
            appliance = appliance.with_filename(file.filename, upload.filename)
    conflicts = [*_conflicts(observed, appliance, existing, adopt), *_other_copies(observed, appliance)]
    action = _template_action(existing, appliance)
    if isinstance(action, CreateTemplate) and not conflicts and (foreign := _foreign(observed, appliance)):
        action = _adopt(foreign[0], appliance)
    if not (isinstance(action, Unchanged) and not uploads):
        conflicts += _old_qemu(observed, appliance)
    return AppliancePlan(desired=appliance, uploads=tuple(uploads), template=action, conflicts=tuple(conflicts))


# Files


def _upload(images: Mapping[str, ServerImage], file: WantedFile, compute_id: str) -> Upload | None:
    """How a file gets to the server; None if it is there."""
    present = numbered_names(images, file)
    if not present:
        return Upload(filename=file.filename, size_bytes=file.size_bytes, compute_id=compute_id)
    if newest(images, file) is not None:
        return None
    gone = next((name for name in present if images[name].state == "gone"), None)
    if gone is not None:
        return Upload(
            filename=gone, size_bytes=file.size_bytes, compute_id=compute_id, content=file.filename, gone=True
        )
    return Upload(
        filename=numbered(file.filename, len(present) + 1),
        size_bytes=file.size_bytes,
        compute_id=compute_id,
        content=file.filename,
        damaged=file.filename if file.has_recipe else "",
        distrusted=tuple(present) if file.has_recipe else (),
    )


def _same_content(images: Mapping[str, ServerImage], file: WantedFile) -> str | None:
    if file.md5 is None:
        return None
    twins = (
        image
        for image in images.values()
        if (image.size_bytes, image.md5, image.state) == (file.size_bytes, file.md5, "whole")
    )
    return next((image.filename for image in twins), None)


def _other_copies(observed: Observed, appliance: DesiredAppliance) -> Iterator[Conflict]:
    """Files with our names but different content on the compute that the nodes run on: GNS3 would use those."""
    images, copies = (by_compute.get(appliance.compute_id, {}) for by_compute in (observed.images, observed.copies))
    for file in appliance.files:
        copy, image = copies.get(file.filename), images.get(file.filename)
        meant = file.md5 or (image.md5 if image else None)
        if copy is not None and None not in (copy.md5, meant) and copy.md5 != meant:
            yield Conflict(
                f"compute {appliance.compute_id!r} has a different file named {file.filename} (md5 {copy.md5},"
                f" not {meant})",
                "Delete it in the folder images/QEMU of that compute if nothing uses it; GNS3 copies the right one.",
            )


# Templates


def _template_action(existing: ServerTemplate | None, appliance: DesiredAppliance) -> TemplateAction:
    if existing is None or existing.values is None:
        return CreateTemplate(appliance.template)
    changes, left = differences(existing.values, appliance)
    if changes:
        return UpdateTemplate(existing.template_id, existing.name, changes, left)
    return Unchanged(existing.template_id, existing.name, left)


def _foreign(observed: Observed, appliance: DesiredAppliance) -> list[ServerTemplate]:
    same_name = observed.templates_named(appliance.name)
    return [template for template in same_name if template.template_id != appliance.template.template_id]


def _adopt(foreign: ServerTemplate, appliance: DesiredAppliance) -> AdoptTemplate:
    ours = appliance.template
    assert foreign.values is not None
    kept = appliance.user_fields - CREATE_ONLY_FIELDS - EXTENSIBLE_FIELDS - {"name"}
    values = {field.name: getattr(foreign.values, field.name) for field in fields(QemuTemplate) if field.name in kept}
    if "usage" in values:
        values["usage"] = with_mark(values["usage"], appliance.catalogue, appliance.origin)
    return AdoptTemplate(replace(ours, **values), foreign.template_id)


def _conflicts(
    observed: Observed, appliance: DesiredAppliance, existing: ServerTemplate | None, adopt: bool
) -> Iterator[Conflict]:
    if existing is not None:
        if existing.values is None:
            yield Conflict(
                f"the id of the template {appliance.name!r} belongs to a {existing.template_type} template"
                f" {existing.name!r}",
                "Delete that template on the server.",
            )
            return
        owner = catalogue_of(existing.values.usage)
        if appliance.catalogue and owner and owner != appliance.catalogue and not adopt:
            yield Conflict(
                f"the template {existing.name!r} belongs to the catalogue {owner!r}",
                f"Remove it from one of the two catalogues, or move it to {appliance.catalogue!r} with --adopt.",
            )
        if "name" in appliance.user_fields:
            # Ours keeps the name that it has, so nobody else's can be in its way.
            return
    # Beside a template of ours there is no place to take.
    yield from _foreign_templates(_foreign(observed, appliance), adopt, takeable=existing is None)


def _foreign_templates(foreign: Sequence[ServerTemplate], adopt: bool, *, takeable: bool) -> Iterator[Conflict]:
    takeable = takeable and len(foreign) == 1 and foreign[0].values is not None
    if adopt and takeable:
        return
    for template in foreign:
        kind = "" if template.values is not None else f"{template.template_type} "
        can = "take it over with --adopt, " if takeable else ""
        yield Conflict(
            f"the {kind}template {template.name!r} exists already and is not ours (id {template.template_id})",
            f"Rename or delete it on the server, {can}or use another name for this appliance.",
        )


def _leftovers(observed: Observed, desired: Sequence[DesiredAppliance], catalogue: str) -> Iterator[RemoveTemplate]:
    wanted = {appliance.template.template_id for appliance in desired}
    for template in observed.templates:
        marked = template.values is not None and catalogue_of(template.values.usage) == catalogue
        # A duplicate that somebody made in the GUI has the mark too, and an id of GNS3's.
        if marked and is_own_id(template.template_id) and template.template_id not in wanted:
            yield RemoveTemplate(template.template_id, template.name)


# QEMU


def _old_qemu(observed: Observed, appliance: DesiredAppliance) -> Iterator[Conflict]:
    versions = observed.qemu_versions.get(appliance.compute_id)
    if not appliance.qemu_minimum or not versions:
        return
    # A version that cannot be read is no reason to refuse.
    if all(() < version_numbers(version) < appliance.qemu_minimum for version in versions):
        wanted = version_text(appliance.qemu_minimum)
        yield Conflict(
            f"the disk of {appliance.name!r} needs QEMU {wanted}, but compute {appliance.compute_id!r} has"
            f" {', '.join(versions)}",
            appliance.qemu_hint,
        )
