"""The index files of /lib/modules/VERSION, as depmod(8) makes them, from the modules' own ``.modinfo``.

Text formats: modules.dep(5).  Binary formats: kmod's libkmod/libkmod-index.h (see ``trie``); kmod's modprobe reads only
those, busybox's only the text.  Module names are written with underscores, as kmod does.  Not supported: overrides from
/etc/depmod.d, and modules that were built without modpost (whose ``depends=`` is what is read here).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gns3_minivm.base.errors import PackageError
from gns3_minivm.bundle.modules import elf, trie


@dataclass(frozen=True)
class Module:
    """What is known of a module file; ``path`` is relative to /lib/modules/VERSION and ends in .ko."""

    path: str
    info: tuple[tuple[str, str], ...]
    symbols: tuple[str, ...]

    @property
    def name(self) -> str:
        return module_name(self.path)

    def values(self, key: str) -> list[str]:
        return [value for found, value in self.info if found == key]

    @property
    def depends(self) -> list[str]:
        return [underscores(name) for value in self.values("depends") for name in value.split(",") if name]


def read_module(path: str, data: bytes) -> Module:
    """Read an uncompressed module file.  Raises PackageError if it is not one."""
    found = elf.sections(data, path)
    return Module(path, tuple(elf.modinfo(found)), tuple(elf.exported_symbols(found)))


def module_name(path: str) -> str:
    """The name of a module, from its path or from a spelling of its name."""
    return underscores(path.rpartition("/")[2].partition(".")[0])


def underscores(name: str) -> str:
    """A module name or alias in its one spelling: dashes are underscores, except in a ``[character class]``."""
    return re.sub(r"\[[^\]]*\]|-", lambda match: "_" if match[0] == "-" else match[0], name)


class ModuleIndex:
    """All modules of one kernel, and what they need.

    ``order`` is the content of modules.order (paths, the first wins where aliases clash), ``builtin`` of
    modules.builtin, ``builtin_modinfo`` of modules.builtin.modinfo.
    """

    def __init__(
        self, modules: Iterable[Module], *, order: str = "", builtin: str = "", builtin_modinfo: bytes = b""
    ) -> None:
        places = {path: place for place, path in enumerate(order.split())}
        self.modules = sorted(modules, key=lambda module: (places.get(module.path, len(places)), module.path))
        self.by_name: Mapping[str, Module] = {module.name: module for module in reversed(self.modules)}
        self.builtin = frozenset(module_name(path) for path in builtin.split())
        self._builtin_paths = builtin.split()
        self._builtin_modinfo = builtin_modinfo

    def load_order(self, name: str) -> list[Module]:
        """What must be loaded for a module, itself last; empty if it is built into the kernel.

        Raises PackageError if the kernel has no such module, or one that it needs is missing.
        """
        ordered: dict[str, Module] = {}
        self._visit(underscores(name), (), ordered)
        return list(ordered.values())

    def _visit(self, name: str, trail: tuple[str, ...], ordered: dict[str, Module]) -> None:
        if name in ordered or name in self.builtin and name not in self.by_name:
            return
        if name in trail:
            raise PackageError(f"the kernel modules {', '.join(trail)} depend on each other")
        module = self.by_name.get(name)
        if module is None:
            needed = f" (needed by {trail[-1]})" if trail else ""
            raise PackageError(
                f"the kernel package has no module {name}{needed}",
                hint="Name all packages of the kernel; on Ubuntu these are linux-image-* and linux-modules-*.",
            )
        for needed_name in module.depends:
            self._visit(needed_name, (*trail, name), ordered)
        ordered[name] = module

    def files(self) -> dict[str, bytes]:
        """The index files by name, for the folder /lib/modules/VERSION."""
        dep = {module.name: self._dep_line(module) for module in self.modules}
        aliases = [(alias, module.name) for module in self.modules for alias in module.values("alias")]
        symbols = [(f"symbol:{symbol}", module.name) for module in self.modules for symbol in module.symbols]
        builtin_aliases = self._builtin_aliases()
        place = {module.name: number for number, module in enumerate(self.modules)}

        def ranked(pairs: Iterable[tuple[str, str]]) -> bytes:
            return trie.encode((key, value, place[value]) for key, value in pairs)

        return {
            "modules.alias": _text("# Aliases extracted from modules themselves.", "alias", aliases),
            "modules.alias.bin": ranked((underscores(alias), name) for alias, name in aliases),
            "modules.builtin.alias.bin": trie.encode((alias, name, 0) for alias, name in builtin_aliases),
            "modules.builtin.bin": trie.encode((module_name(path), "", 0) for path in self._builtin_paths),
            "modules.dep": "".join(f"{line}\n" for line in dep.values()).encode(),
            "modules.dep.bin": trie.encode((name, line, place[name]) for name, line in dep.items()),
            "modules.devname": self._devname(),
            "modules.softdep": self._softdep(),
            "modules.symbols": _text("# Aliases for symbols, used by symbol_request().", "alias", symbols),
            "modules.symbols.bin": ranked(symbols),
        }

    def _dep_line(self, module: Module) -> str:
        # modprobe loads from the right end to the left.
        needed = [other.path for other in self.load_order(module.name) if other is not module]
        return " ".join([f"{module.path}:", *reversed(needed)])

    def _builtin_aliases(self) -> list[tuple[str, str]]:
        pairs = elf.parse_modinfo(self._builtin_modinfo)
        return [
            (underscores(value), underscores(key.removesuffix(".alias")))
            for key, value in pairs
            if key.endswith(".alias")
        ]

    def _softdep(self) -> bytes:
        lines = ["# Soft dependencies extracted from modules themselves."]
        lines += [f"softdep {module.name} {value}" for module in self.modules for value in module.values("softdep")]
        return "".join(f"{line}\n" for line in lines).encode()

    def _devname(self) -> bytes:
        lines = []
        for module in self.modules:
            device, name = "", ""
            for alias in module.values("alias"):
                if match := re.fullmatch(r"(char|block)-major-(\d+)-(\d+)", alias):
                    device = f"{match[1][0]}{match[2]}:{match[3]}"
                elif alias.startswith("devname:"):
                    name = alias.removeprefix("devname:")
            if device and name:
                lines.append(f"{module.name} {name} {device}\n")
        head = "# Device nodes to trigger on-demand module loading.\n"
        return (head + "".join(lines) if lines else "").encode()


def _text(comment: str, word: str, pairs: Iterable[tuple[str, str]]) -> bytes:
    return "".join([f"{comment}\n", *(f"{word} {key} {value}\n" for key, value in pairs)]).encode()
