"""What the user's containers-registries.conf(5) says: where plain names are looked for, mirrors, other locations.

Podman and skopeo read the same files: ``CONTAINERS_REGISTRIES_CONF`` alone where it is set, else the user's
own ``~/.config/containers/registries.conf`` or the system's ``/etc/containers/registries.conf``, then the drop-in
folders ``registries.conf.d`` of both, of which a later file's entries replace an earlier one's.

https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md (version 2; not supported:
``mirror-by-digest-only``, ``pull-from-mirror``, credential helpers, version 1)
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gns3_minivm.base.errors import ConfigError

_SYSTEM = Path("/etc/containers")


@dataclass(frozen=True, kw_only=True)
class RegistryRule:
    """A ``[[registry]]`` table: what is asked instead of, and before, the places that begin with ``prefix``."""

    prefix: str
    location: str
    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    """Those of the places above that may use http or any certificate."""
    blocked: bool = False

    def fits(self, name: str) -> bool:
        """Whether ``HOST/PATH`` begins with the prefix; ``*.example.org`` means all hosts below it."""
        if self.prefix.startswith("*."):
            host = name.partition("/")[0]
            return host.endswith(self.prefix[1:]) and "/" not in self.prefix
        return name == self.prefix or name.startswith(f"{self.prefix}/")

    def rewritten(self, name: str) -> tuple[str, ...]:
        """The places of ``HOST/PATH``, in the order in which they are asked."""
        rest = name.partition("/")[2] if self.prefix.startswith("*.") else name.removeprefix(self.prefix).lstrip("/")
        own = f"{self.location}/{rest}" if self.location else name
        return (*(f"{mirror}/{rest}" for mirror in self.mirrors), own)


@dataclass(frozen=True)
class RegistriesConf:
    """``search``: registries for plain names; ``aliases``: plain names with the full ones that they stand for."""

    search: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[RegistryRule, ...] = ()

    def rule_for(self, name: str) -> RegistryRule | None:
        """The longest that fits."""
        return max((rule for rule in self.rules if rule.fits(name)), key=lambda rule: len(rule.prefix), default=None)


def read_registries_conf(environ: Mapping[str, str], system: Path = _SYSTEM) -> RegistriesConf:
    """Read the user's files; without any, the result is empty.  Raises ConfigError for a damaged one."""
    search: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    rules: dict[str, RegistryRule] = {}
    for path in _files(environ, system):
        document = _document(path)
        if "unqualified-search-registries" in document:
            search = tuple(_texts(document["unqualified-search-registries"], path))
        aliases |= {
            name: full for name, full in _table(document.get("aliases"), path).items() if isinstance(full, str) and full
        }
        for table in _tables(document.get("registry"), path):
            rule = _rule(table, path)
            rules[rule.prefix] = rule
    return RegistriesConf(search, aliases, tuple(rules.values()))


def _files(environ: Mapping[str, str], system: Path) -> list[Path]:
    if named := environ.get("CONTAINERS_REGISTRIES_CONF"):
        return [Path(named)]
    home = environ.get("HOME") or os.path.expanduser("~")
    own = Path(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers")
    main = next((path for path in (own / "registries.conf", system / "registries.conf") if path.exists()), None)
    drop_ins = [path for folder in (system, own) for path in sorted(folder.glob("registries.conf.d/*.conf"))]
    return [*([main] if main else []), *drop_ins]


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        words = getattr(error, "strerror", "") or str(error)
        raise ConfigError(
            f"{path} cannot be read: {words}", hint="containers-registries.conf(5) describes the format."
        ) from error


def _rule(table: Mapping[str, Any], path: Path) -> RegistryRule:
    location = _text(table.get("location", ""), path)
    prefix = _text(table.get("prefix", ""), path) or location
    if not prefix:
        raise _wrong("a [[registry]] has neither prefix nor location", path)
    mirrors = list(_tables(table.get("mirror"), path))
    places = [_text(mirror.get("location", ""), path) for mirror in mirrors]
    loose = [place for place, mirror in zip(places, mirrors, strict=True) if mirror.get("insecure") is True]
    if table.get("insecure") is True:
        loose.append(location or prefix)
    return RegistryRule(
        prefix=prefix,
        location=location,
        mirrors=tuple(places),
        insecure=tuple(loose),
        blocked=table.get("blocked") is True,
    )


def _text(value: Any, path: Path) -> str:
    if not isinstance(value, str):
        raise _wrong(f"{value!r} is not a string", path)
    return value.rstrip("/")


def _texts(value: Any, path: Path) -> Iterable[str]:
    if not isinstance(value, list):
        raise _wrong(f"{value!r} is not a list", path)
    return [_text(one, path) for one in value]


def _table(value: Any, path: Path) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise _wrong(f"{value!r} is not a table", path)
    return value or {}


def _tables(value: Any, path: Path) -> Iterable[Mapping[str, Any]]:
    if value is not None and not isinstance(value, list):
        raise _wrong(f"{value!r} is not a list of tables", path)
    return [_table(one, path) for one in value or ()]


def _wrong(what: str, path: Path) -> ConfigError:
    return ConfigError(f"{path}: {what}", hint="containers-registries.conf(5) describes the format.")
