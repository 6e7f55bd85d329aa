"""Which kernel bundle a template or a guest gets; a value apart, since what reads bundles takes long to load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KernelChoice:
    """What the user says of the kernel.

    ``debs`` are packages to make the bundle from; else ``name`` says which it is: a flavour (the newest bundle of that),
    FLAVOUR:VERSION, or the start of a bundle's id.  None is the distribution's kernel, built where it is missing.
    """

    debs: tuple[Path, ...] = ()
    name: str | None = None
