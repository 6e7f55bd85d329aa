"""The desired state of one appliance on a server."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace

from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.errors import BugError
from gns3_minivm.gns3.model import CREATE_ONLY_FIELDS, IMAGE_FIELDS, QemuTemplate, ServerTemplate

# Never to be changed: ids of templates on users' servers follow from it.
_NAMESPACE = uuid.UUID("5a9c3d62-7e0b-5c1e-9f3a-6d2b8e41c7f0")
MARK = "Made by gns3-minivm."
"""The last line of ``usage`` of each of our templates; a catalogue's name may follow it there.

``usage`` is the one field that both APIs have, that the GUI leaves alone when something else is edited, and that people
may read: it says where a template comes from.
"""
_MARK_LINE = re.compile(
    r"^(?:Image: (?P<origin>.*)\n)?Made by gns3-minivm\.(?: Catalogue: (?P<catalogue>\S+)\.)?[ \t]*$", re.MULTILINE
)

EXTENSIBLE_FIELDS = frozenset({"kernel_command_line", "options"})
"""Fields that a user may add words to, at the end; what we have put there stays ours."""


NOT_BUILT = "not-built-yet"
"""The end of a file name that only stands for one: what it is made of, and so its name, is known after it was made."""


def template_id(name: str, *, version: str = "", compute_id: str = "") -> str:
    """The id of an appliance's template: the same on every server, so that projects move between servers.

    ``version`` is given where the appliance is pinned to one, ``compute_id`` where one server has a template for each
    compute (API v2 cannot use one template on several).
    """
    return str(uuid.uuid5(_NAMESPACE, f"{name}\n{version}\n{compute_id}"))


def is_own_id(value: str) -> bool:
    """Whether an id can be one of ``template_id``; GNS3's own ids are random numbers (version 4)."""
    try:
        return uuid.UUID(value).version == 5
    except ValueError:
        return False


def is_ours(template: ServerTemplate) -> bool:
    """Whether a template carries our mark: the id that belongs to its name, or the mark in its usage text."""
    if template.values is None:
        return False
    return template.template_id == template_id(template.name) or catalogue_of(template.values.usage) is not None


def mark(catalogue: str = "") -> str:
    """The line by which a catalogue's templates are known."""
    return f"{MARK} Catalogue: {catalogue}." if catalogue else MARK


def catalogue_of(usage: str) -> str | None:
    """The catalogue that a usage text is marked with: "" for a mark without one, None without a mark."""
    found = _MARK_LINE.search(usage)
    return (found["catalogue"] or "") if found else None


def without_mark(usage: str) -> str:
    """The text that people wrote."""
    return _MARK_LINE.sub("", usage).strip()


def origin_of(usage: str) -> str:
    """The image that a marked usage text says the disk was made of, with its digest; empty if it does not."""
    found = _MARK_LINE.search(usage)
    return (found["origin"] or "").strip() if found else ""


def with_mark(text: str, catalogue: str = "", origin: str = "") -> str:
    """A usage text with the mark, in place of any that it has; the line before it says what the disk was made of."""
    line = f"Image: {origin}\n" if origin else ""
    return f"{without_mark(text)}\n\n{line}{mark(catalogue)}".lstrip()


ZSTD_QEMU = (5, 1)
"""The first QEMU that reads qcow2 clusters of this compression."""


@dataclass(frozen=True)
class WantedFile:
    """An image file by the name that its recipe gives it; size and md5 are None until it has been built once.

    Where the name does not follow from a recipe, but is an author's, another file of this name on a server is somebody
    else's and not a damaged one.
    """

    filename: str
    size_bytes: int | None = None
    md5: str | None = None
    has_recipe: bool = True

    @classmethod
    def of(cls, artifact: Artifact) -> WantedFile:
        return cls(artifact.filename, artifact.size_bytes, artifact.md5)


@dataclass(frozen=True, kw_only=True)
class DesiredAppliance:
    """A template and the files it names; the mark is added to the template's usage text.

    ``user_fields`` are set when the template is created and left to the user from then on.  ``catalogue`` is the name
    of the catalogue that states it, "" for none.  ``qemu_minimum`` is the oldest QEMU that reads the disk, where that
    is not simply any, and ``qemu_hint`` says what to do about an older one.

    ``kernel_stated`` says that the user has named the kernel; otherwise a template keeps the one that it has, so that
    two agents with other kernels in their caches do not change it to and fro.  Where only a kind of kernel is named,
    ``kernel_names`` is the pattern (of ``re``) of its image files, and a template keeps any of these.  ``offered`` are
    the files that it would have been given, by field.

    ``origin`` is the image that the disk is made of, with its digest; it becomes a line beside the mark.
    """

    template: QemuTemplate
    files: tuple[WantedFile, ...]
    user_fields: frozenset[str] = CREATE_ONLY_FIELDS
    catalogue: str = ""
    qemu_minimum: tuple[int, ...] = ()
    qemu_hint: str = ""
    kernel_stated: bool = False
    kernel_names: str = ""
    symbol_svg: bytes | None = None
    """The picture that the template's symbol names, where servers do not have it by themselves."""
    offered: tuple[tuple[str, str], ...] = ()
    origin: str = ""

    def __post_init__(self) -> None:
        named = {getattr(self.template, field) for field in IMAGE_FIELDS} - {""}
        listed = {file.filename for file in self.files}
        if named != listed or len(listed) != len(self.files):
            raise BugError(f"template {self.template.name!r} names the images {sorted(named)}, given {sorted(listed)}")
        object.__setattr__(self, "user_fields", self.user_fields | CREATE_ONLY_FIELDS)
        usage = self.template.usage
        if catalogue_of(usage) != self.catalogue or origin_of(usage) != self.origin:
            usage = with_mark(usage, self.catalogue, self.origin)
            object.__setattr__(self, "template", replace(self.template, usage=usage))

    @property
    def name(self) -> str:
        return self.template.name

    @property
    def compute_id(self) -> str:
        return self.template.compute_id or "local"

    def with_filename(self, wanted: str, filename: str) -> DesiredAppliance:
        """The same, with a file under the name that a server has it by."""
        if filename == wanted:
            return self
        renamed = {field: filename for field in IMAGE_FIELDS if getattr(self.template, field) == wanted}
        files = tuple(replace(file, filename=filename) if file.filename == wanted else file for file in self.files)
        return replace(self, template=replace(self.template, **renamed), files=files)  # type: ignore[arg-type]
