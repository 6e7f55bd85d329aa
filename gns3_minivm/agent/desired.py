"""What a server shall have: the desired state of one appliance."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from gns3_minivm.artifacts import Artifact
from gns3_minivm.errors import BugError
from gns3_minivm.gns3.model import CREATE_ONLY_FIELDS, IMAGE_FIELDS, QemuTemplate, ServerTemplate

# Never to be changed: ids of templates on users' servers follow from it.
_NAMESPACE = uuid.UUID("5a9c3d62-7e0b-5c1e-9f3a-6d2b8e41c7f0")
MARK = "Made by gns3-minivm."
"""The last line of ``usage`` of each of our templates; what follows it on that line is free for a catalogue's name."""


def template_id(name: str, *, version: str = "", compute_id: str = "") -> str:
    """The id of an appliance's template: the same on every server, so that projects move between servers.

    ``version`` is given where the appliance is pinned to one, ``compute_id`` where one server has a template for each
    compute (API v2 cannot use one template on several).
    """
    return str(uuid.uuid5(_NAMESPACE, f"{name}\n{version}\n{compute_id}"))


def is_ours(template: ServerTemplate) -> bool:
    """Whether a template carries our mark: the id that belongs to its name, or the mark in its usage text."""
    if template.values is None:
        return False
    return template.template_id == template_id(template.name) or MARK in template.values.usage


@dataclass(frozen=True)
class WantedFile:
    """An image file by the name that its recipe gives it; size and md5 are None until it has been built once."""

    filename: str
    size_bytes: int | None = None
    md5: str | None = None

    @classmethod
    def of(cls, artifact: Artifact) -> WantedFile:
        return cls(artifact.filename, artifact.size_bytes, artifact.md5)


@dataclass(frozen=True)
class DesiredAppliance:
    """A template and the files it names; the mark is added to the template's usage text.

    ``user_fields`` are set when the template is created and left to the user from then on.
    """

    template: QemuTemplate
    files: tuple[WantedFile, ...]
    user_fields: frozenset[str] = CREATE_ONLY_FIELDS

    def __post_init__(self) -> None:
        named = {getattr(self.template, field) for field in IMAGE_FIELDS} - {""}
        listed = {file.filename for file in self.files}
        if named != listed or len(listed) != len(self.files):
            raise BugError(f"template {self.template.name!r} names the images {sorted(named)}, given {sorted(listed)}")
        object.__setattr__(self, "user_fields", self.user_fields | CREATE_ONLY_FIELDS)
        if MARK not in self.template.usage:
            usage = f"{self.template.usage.rstrip()}\n\n{MARK}".lstrip()
            object.__setattr__(self, "template", replace(self.template, usage=usage))

    @property
    def name(self) -> str:
        return self.template.name

    @property
    def compute_id(self) -> str:
        return self.template.compute_id or "local"

    def with_filename(self, wanted: str, filename: str) -> DesiredAppliance:
        """The same, with a file under the name that a server has it by."""
        renamed = {field: filename for field in IMAGE_FIELDS if getattr(self.template, field) == wanted}
        files = tuple(replace(file, filename=filename) if file.filename == wanted else file for file in self.files)
        return replace(self, template=replace(self.template, **renamed), files=files)  # type: ignore[arg-type]
