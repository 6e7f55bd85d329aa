"""``sync`` and ``status``: bring every server of a catalogue into step with it, or report the differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import ConfigError, UsageError, UserError
from gns3_minivm.catalogue import Catalogue, CatalogueAppliance, CatalogueServer, find_catalogue, read_catalogue
from gns3_minivm.catalogue.credentials import exposed_secrets, password_of
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.templates.reconcile import Announce, Policy, Target, reconcile
from gns3_minivm.ops.templates.report import SyncResult
from gns3_minivm.ops.templates.supply import BuiltSupply, Wanted


@dataclass(frozen=True, kw_only=True)
class SyncRequest:
    """``catalogue`` is None for the usual file, ``servers`` names of it, none for all of them.

    Of the context's ``image`` only the sources count: the catalogue says how disks are made.  The context's ``kernel``,
    if it names one, goes before the catalogue's, but not before that of an appliance.
    """

    catalogue: Path | None = None
    servers: tuple[str, ...] = ()
    prune: bool = False
    adopt: bool = False
    verify: bool = False


async def sync(request: SyncRequest, context: RunContext, announce: Announce | None = None) -> SyncResult:
    """Bring the servers of a catalogue into the state that it describes; ``announce`` gets the plan before it is done.

    Raises ConfigError and UsageError for the catalogue and the request, HostError for what concerns all servers.
    """
    policy = Policy(adopt=request.adopt, prune=request.prune, verify=request.verify)
    return await _reconcile(request, policy, context, announce)


async def status(request: SyncRequest, context: RunContext, *, nodes: bool = True) -> SyncResult:
    """Say how the servers differ from the catalogue, and which ``nodes`` are on older images; nothing is changed."""
    policy = Policy(adopt=request.adopt, verify=request.verify, nodes=nodes)
    return await _reconcile(request, policy, replace(context, dry_run=True), None)


async def _reconcile(
    request: SyncRequest, policy: Policy, context: RunContext, announce: Announce | None
) -> SyncResult:
    catalogue = read_catalogue(request.catalogue or find_catalogue())
    chosen = _chosen(catalogue, request.servers)
    if policy.prune and catalogue.name is None:
        raise UsageError(
            f"--prune needs a name in {catalogue.path}: the name marks a catalogue's templates",
            hint="Add a line such as `name: our-lab`, then sync once without --prune.",
        )
    for warning in exposed_secrets(catalogue, chosen):
        context.events.warn(warning)
    targets = await run_blocking(_targets, catalogue, chosen)
    image = replace(context.image, size=catalogue.size, compression=catalogue.compression)
    kernel = context.kernel if context.kernel != KernelChoice() else _standing(catalogue.kernel)
    context = replace(context, image=image, kernel=kernel)
    supply = BuiltSupply(context)
    try:
        named = replace(policy, catalogue=catalogue.name or "")
        return await reconcile(targets, supply, named, context, announce)
    finally:
        await supply.close()


def _chosen(catalogue: Catalogue, names: tuple[str, ...]) -> dict[str, CatalogueServer]:
    for name in names:
        if name not in catalogue.servers:
            raise UsageError(
                f"{catalogue.path} has no server named {name!r}",
                hint=f"Its servers are {', '.join(catalogue.servers)}.",
            )
    return {name: server for name, server in catalogue.servers.items() if not names or name in names}


def _targets(catalogue: Catalogue, servers: Mapping[str, CatalogueServer]) -> list[Target]:
    """Where the servers are, with their passwords (blocking)."""
    targets = [_target(catalogue, name, server) for name, server in servers.items()]
    known: dict[str, str] = {}
    for target in targets:
        if target.address is not None and target.url in known:
            raise ConfigError(
                f"{catalogue.path}: the servers {known[target.url]!r} and {target.name!r} are the same, {target.url}",
                hint="Remove one of them; an appliance has one template on a server.",
            )
        known[target.url] = target.name
    return targets


def _target(catalogue: Catalogue, name: str, server: CatalogueServer) -> Target:
    folder = catalogue.path.parent
    wanted = tuple(_wanted(item) for item in catalogue.appliances_of(name))
    try:
        address = parse_address(
            server.url,
            username=server.username,
            password=password_of(name, server, folder),
            ca_file=folder / Path(server.ca_file).expanduser() if server.ca_file else None,
            verify=server.verify,
        )
    except UserError as error:
        # One server whose password is missing does not keep the others from being served.
        return Target(name=name, url=name, address=None, wanted=wanted, error=error)
    return Target(name=name, url=address.url, address=address, wanted=wanted, compute=server.compute)


def _wanted(item: CatalogueAppliance) -> Wanted:
    kernel = _standing(item.kernel) if item.kernel else None
    return Wanted(image=item.source, name=item.name, template=item.settings, size=item.size, kernel=kernel)


def _standing(name: str | None) -> KernelChoice:
    return KernelChoice(name=name, standing=True) if name else KernelChoice()
