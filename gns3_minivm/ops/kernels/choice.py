"""Which kernel bundle a template or a guest gets; a module of its own, since code that reads bundles loads slowly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gns3_minivm.base.architecture import X86_64

_END = r"-[0-9a-f]{12}(?:-\d+)?"
_NAMES = {
    "debian": rf"vmlinuz-.+-(?:{'|'.join(X86_64.kernel_endings)}){_END}",
    "monolithic": rf"vmlinuz-.+-monolithic{_END}",
}
"""What the image files of a flavour are called: the versions of its kernels end so."""


@dataclass(frozen=True, kw_only=True)
class KernelChoice:
    """What the user says of the kernel.

    ``debs`` are packages to make the bundle from; else ``name`` says which it is: a flavour (the newest bundle of
    that), FLAVOUR:VERSION, or the start of a bundle's id.  None is the kernel that was installed with pip, else the
    distribution's; that, and the flavour monolithic, are built where they are missing.

    ``standing`` says that it holds for good, as in a catalogue: a template that has a kernel of the flavour keeps it,
    whichever version it is.  Otherwise it is moved on to the newest one now.
    """

    debs: tuple[Path, ...] = ()
    name: str | None = None
    standing: bool = False

    @property
    def kept_names(self) -> str:
        """The pattern of names of kernel images that do as well as the bundle at hand; empty for none."""
        return _NAMES.get(self.name or "", "") if self.standing else ""
