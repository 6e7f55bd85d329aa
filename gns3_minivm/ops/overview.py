"""Read-only questions: which servers, which engine, which appliances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.appliances import Appliance, Appliances
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.gns3.address import Address, check_named, parse_address
from gns3_minivm.gns3.on_each import on_each
from gns3_minivm.gns3.server import Server
from gns3_minivm.images.engine.client import connect
from gns3_minivm.settings import Settings, local_server_urls


def server_addresses(urls: Sequence[str], *, ca_file: Path | None = None, verify: bool = True) -> tuple[Address, ...]:
    """Read server URLs; a repeated one counts once.  Raises UsageError."""
    found = [parse_address(url, ca_file=ca_file, verify=verify) for url in urls]
    return tuple({address.url: address for address in found}.values())


def local_servers() -> list[str]:
    """URLs, with credentials, that this user's GNS3 configuration names."""
    return local_server_urls()


@dataclass(frozen=True, kw_only=True)
class ServerDescription:
    """One server as it describes itself; only ``url`` and ``error`` are set if it could not be asked."""

    url: str
    version: str = ""
    computes: tuple[str, ...] = ()
    templates: int = 0
    warnings: tuple[str, ...] = ()
    error: MiniVMError | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "version": self.version,
            "computes": list(self.computes),
            "templates": self.templates,
            "warnings": list(self.warnings),
            "error": self.error.as_dict() if self.error else None,
        }


async def describe_servers(addresses: Sequence[Address]) -> list[ServerDescription]:
    """Ask every server for its version and computes.  Raises UsageError if none is named."""
    check_named(addresses)

    async def ask(server: Server) -> ServerDescription:
        computes = tuple(compute.compute_id for compute in await server.computes())
        templates = len(await server.templates())
        return ServerDescription(
            url=server.url, version=server.version, computes=computes, templates=templates, warnings=server.warnings
        )

    outcomes = await on_each(addresses, ask)
    return [outcome.value or ServerDescription(url=outcome.address.url, error=outcome.error) for outcome in outcomes]


@dataclass(frozen=True)
class EngineDescription:
    """A Docker engine that answers."""

    url: str
    version: str

    def as_dict(self) -> dict[str, Any]:
        return {"url": self.url, "version": self.version}


async def describe_engine() -> EngineDescription:
    """Find the Docker engine; raises EngineError if none answers."""

    def ask() -> EngineDescription:
        with connect() as engine:
            return EngineDescription(engine.url, str(engine.version().get("Version", "unknown")))

    return await run_blocking(ask)


def appliances(settings: Settings) -> list[Appliance]:
    """All appliances, sorted by name.  Raises ConfigError for a broken manifest."""
    return Appliances(settings.appliance_folders).all()


def appliance_dict(appliance: Appliance) -> dict[str, Any]:
    """An appliance as JSON shows it."""
    return {
        "name": appliance.name,
        "version": appliance.version,
        "description": appliance.description,
        "source": str(appliance.source),
        "ram": appliance.settings.ram,
        "adapters": appliance.settings.adapters,
        "folder": str(appliance.folder),
    }
