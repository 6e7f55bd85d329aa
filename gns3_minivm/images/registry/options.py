"""The user's options for registries; kept apart from the client, which is loaded only when a registry is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gns3_minivm.base.errors import UsageError
from gns3_minivm.images.registry.reference import parse_place


@dataclass(frozen=True, kw_only=True)
class RegistryOptions:
    """Which registries are asked, and how; places are ``HOST[:PORT][/PATH]``."""

    default: str = ""
    """Where names without a host are looked for."""
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Places that are asked before a host."""
    insecure: frozenset[str] = frozenset()
    """Hosts (with ports) that may use http or any certificate."""

    @classmethod
    def parse(cls, default: str, mirrors: tuple[str, ...], insecure: tuple[str, ...]) -> RegistryOptions:
        """From the user's words; a mirror is written ``HOST=PLACE``.  Raises UsageError."""
        found: dict[str, tuple[str, ...]] = {}
        for word in mirrors:
            host, equals, place = word.partition("=")
            if not equals:
                raise UsageError(
                    f"the mirror {word!r} is not of the form HOST=MIRROR",
                    hint="Write it as in a.example=b.example:5000.",
                )
            parse_place(place)
            key = parse_place(host)[0]
            found[key] = (*found.get(key, ()), place)
        if default:
            parse_place(default)
        return cls(default=default, mirrors=found, insecure=frozenset(parse_place(host)[0] for host in insecure))
