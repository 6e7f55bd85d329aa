"""Which modules the initramfs carries: reads ``kernel/modules.list``.

The file has two parts, ``[boot]`` and ``[late]``, with one module name a line; ``#`` starts a comment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gns3_minivm.base import resources
from gns3_minivm.base.errors import BugError
from gns3_minivm.bundle.modules.depmod import Module, ModuleIndex, underscores

_PARTS = ("boot", "late")


@dataclass(frozen=True)
class ModuleList:
    """Names of modules: needed to mount the root disk, and loaded after that."""

    boot: tuple[str, ...]
    late: tuple[str, ...]


def read_module_list() -> ModuleList:
    """The list of this installation."""
    return parse_module_list((resources.folder("kernel") / "modules.list").read_text())


def parse_module_list(text: str) -> ModuleList:
    """Raises BugError for a malformed list, since the list is part of this program."""
    parts: dict[str, list[str]] = {}
    names: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if word.strip("[]") in _PARTS and word.startswith("["):
            names = parts.setdefault(word.strip("[]"), [])
        elif word and (names is None or not word.replace("-", "_").isidentifier()):
            raise BugError(
                f"kernel/modules.list, line {number}: {word!r} is not a module name in one of the parts {_PARTS}"
            )
        elif word and names is not None:
            names.append(underscores(word))
    return ModuleList(tuple(parts.get("boot", ())), tuple(parts.get("late", ())))


def load_orders(wanted: ModuleList, index: ModuleIndex) -> tuple[list[Module], list[Module]]:
    """The modules to load at boot and late, each with what it needs before it.

    A name that this kernel has built in or does not have is left out.
    """
    boot = _ordered(wanted.boot, index, ())
    return boot, _ordered(wanted.late, index, boot)


def _ordered(names: Iterable[str], index: ModuleIndex, earlier: Iterable[Module]) -> list[Module]:
    seen = {module.name for module in earlier}
    ordered: list[Module] = []
    for name in names:
        if name in index.by_name:
            for module in index.load_order(name):
                if module.name not in seen:
                    seen.add(module.name)
                    ordered.append(module)
    return ordered
