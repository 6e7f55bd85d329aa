"""gns3-minivm for programs: what the commands do, as methods to await.

    async with Agent("http://user:password@gns3.example:3080") as agent:
        result = await agent.register("busybox-minivm")

Every method returns the value that ``--json`` prints.  Errors are exceptions of ``gns3_minivm.base.errors``,
all of them MiniVMError; where several servers are asked and only some of them fail, the result is returned and its
reports carry their errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from gns3_minivm.api.lab import Lab
from gns3_minivm.base.errors import ConflictError, MiniVMError, UsageError
from gns3_minivm.base.events import Events, Sink
from gns3_minivm.gns3.address import Address, parse_address
from gns3_minivm.ops.context import ImageSettings, RunContext
from gns3_minivm.ops.disk import ConvertResult, convert_image
from gns3_minivm.ops.doctor import Diagnosis, examine
from gns3_minivm.ops.gns3a.export import ApplianceExport, ExportRequest, export_appliances
from gns3_minivm.ops.gns3a.import_file import ApplianceImport, ImportRequest, import_appliance
from gns3_minivm.ops.kernels.bundles import BuildResult, KernelOrigin, kernel_build, kernel_list
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.kernels.newer import Newer, newer_kernels
from gns3_minivm.ops.kernels.pack import PackResult, kernel_pack
from gns3_minivm.ops.new import NewAppliance, new_appliance
from gns3_minivm.ops.templates.register import RegisterRequest, register
from gns3_minivm.ops.templates.remove import RemoveRequest, RemoveResult, remove
from gns3_minivm.ops.templates.report import ServerReport, SyncResult
from gns3_minivm.ops.templates.sync import SyncRequest, status, sync
from gns3_minivm.settings import Settings
from gns3_minivm.template_settings.table import TemplateSettings

if TYPE_CHECKING:
    from gns3_minivm.api.gns3fy import Connector

R = TypeVar("R", SyncResult, RemoveResult)

__all__ = ["Agent", "ImageSettings", "KernelChoice", "KernelOrigin", "Lab", "TemplateSettings"]


class Agent:
    """Some GNS3 servers, this machine's cache, and a receiver of progress events.

    ``appliances`` are folders with appliances of one's own.  ``servers`` are URLs as for ``--server``, or addresses.
    ``on_event`` is called with each event of ``gns3_minivm.base.events``, from several threads.  Connections are opened
    by each method and closed at its end, so an agent may be kept for as long as the program runs, and several methods
    may run at once.
    """

    def __init__(
        self,
        *servers: str | Address,
        cache: Path | None = None,
        appliances: Iterable[Path] = (),
        image: ImageSettings | None = None,
        kernel: KernelChoice | None = None,
        on_event: Sink | None = None,
    ) -> None:
        self.servers = tuple(parse_address(one) if isinstance(one, str) else one for one in servers)
        settings = Settings.from_environment()
        folders = (*appliances, *settings.appliances)
        self._context = RunContext(
            settings=replace(settings, cache_root=cache or settings.cache_root, appliances=folders),
            image=image or ImageSettings(),
            kernel=kernel or KernelChoice(),
            events=Events(on_event),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left open between calls."""

    async def register(
        self,
        *names: str,
        template: TemplateSettings | None = None,
        template_name: str | None = None,
        compute: str | None = None,
        adopt: bool = False,
        verify: bool = False,
        dry_run: bool = False,
    ) -> SyncResult:
        """Make templates for appliances or images on all servers; ``verify`` reads the files there back."""
        request = RegisterRequest(
            names=names,
            servers=self.servers,
            compute=compute,
            template_name=template_name,
            template=template or TemplateSettings(),
            adopt=adopt,
            verify=verify,
        )
        return _checked(await register(request, self._run(dry_run=dry_run)))

    async def sync(
        self,
        catalogue: Path | None = None,
        *,
        servers: Iterable[str] = (),
        prune: bool = False,
        adopt: bool = False,
        verify: bool = False,
        dry_run: bool = False,
    ) -> SyncResult:
        """Bring the servers of a catalogue into the state that it describes; ``servers`` are names in it."""
        request = SyncRequest(
            catalogue=catalogue,
            servers=tuple(servers),
            prune=prune,
            adopt=adopt,
            verify=verify,
        )
        return _checked(await sync(request, self._run(dry_run=dry_run)))

    async def status(
        self, catalogue: Path | None = None, *, servers: Iterable[str] = (), verify: bool = False, nodes: bool = True
    ) -> SyncResult:
        """Say how servers differ from their catalogue, with ``nodes`` also which nodes are on older images."""
        request = SyncRequest(catalogue=catalogue, servers=tuple(servers), verify=verify)
        return _checked(await status(request, self._context, nodes=nodes))

    async def export(
        self,
        *names: str,
        folder: Path,
        portable: bool = False,
        version: str | None = None,
        template: TemplateSettings | None = None,
        template_name: str | None = None,
        add: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> ApplianceExport:
        """Write appliances or images as ``.gns3a`` files into a folder, with their images beside them."""
        request = ExportRequest(
            names=names,
            folder=folder,
            template_name=template_name,
            version=version,
            template=template or TemplateSettings(),
            portable=portable,
            add=add,
            force=force,
        )
        return await export_appliances(request, self._run(dry_run=dry_run))

    async def import_appliance(
        self,
        file: Path,
        *versions: str,
        template_name: str | None = None,
        folders: Iterable[Path] = (),
        compute: str | None = None,
        adopt: bool = False,
        verify: bool = False,
        dry_run: bool = False,
    ) -> ApplianceImport:
        """Make templates of a ``.gns3a`` file on all servers; images are looked for in ``folders``, too."""
        request = ImportRequest(
            path=file,
            servers=self.servers,
            versions=versions,
            template_name=template_name,
            folders=tuple(folders),
            compute=compute,
            adopt=adopt,
            verify=verify,
        )
        done = await import_appliance(request, self._run(dry_run=dry_run))
        _checked(done.result)
        return done

    async def remove(self, name: str, *, delete_images: bool = False, dry_run: bool = False) -> RemoveResult:
        """Remove the template of this name from all servers."""
        request = RemoveRequest(name=name, servers=self.servers, delete_images=delete_images)
        return _checked(await remove(request, self._run(dry_run=dry_run)))

    async def doctor(self, *, try_nodes: bool = False) -> Diagnosis:
        """Find what keeps MiniVMs from working; ``try_nodes`` starts a node on each server for a moment."""
        return await examine(self.servers, self._context, try_nodes=try_nodes)

    async def convert(self, image: str, output: Path, *, force: bool = False, dry_run: bool = False) -> ConvertResult:
        """Write the disk of an image or appliance to a qcow2 file."""
        return await convert_image(image, output, self._run(dry_run=dry_run), force=force)

    async def new(self, name: str, image: str, *, folder: Path | None = None, dry_run: bool = False) -> NewAppliance:
        """Make the folder of a new appliance that starts from an image."""
        return await new_appliance(name, image, self._run(dry_run=dry_run), folder=folder)

    async def kernel_build(
        self, origin: KernelOrigin | None = None, *, rebuild: bool = False, dry_run: bool = False
    ) -> BuildResult:
        """Make a kernel bundle, unless there is one: the distribution's where nothing else is named."""
        return await kernel_build(origin or KernelOrigin(), self._run(dry_run=dry_run), rebuild=rebuild)

    async def kernel_pack(self, name: str, folder: Path, *, force: bool = False, dry_run: bool = False) -> PackResult:
        """Write a wheel of a kernel bundle, named as for ``KernelChoice``, into a folder."""
        return await kernel_pack(name, folder, self._run(dry_run=dry_run), force=force)

    async def newer_kernels(self) -> list[Newer]:
        """List the kernels of this machine's apt that are newer than the bundles."""
        return await newer_kernels(kernel_list(self._context.settings), self._context)

    def lab(self, lab: str | Path, server: str | Address | None = None) -> Lab:
        """A lab, by its file or its name, on a server; the agent's own one where there is only one.

        Raises UsageError where no server is meant.
        """
        return Lab(lab, self._only_server(server, "a lab"), self._context)

    async def gns3fy(self, server: str | Address | None = None) -> Connector:
        """Return a connector of gns3fy's line for a server, logged in; the agent's own one where there is only one.

        Raises UsageError where the extra is not installed, or no server is meant.
        """
        try:
            from gns3_minivm.api.gns3fy import connector
        except ImportError as error:
            raise UsageError(
                f"gns3fy cannot be used: {error}", hint="Install it: pip install 'gns3-minivm[gns3fy]'"
            ) from error
        return await connector(self._only_server(server, "a connector"))

    def _run(self, *, dry_run: bool) -> RunContext:
        return replace(self._context, dry_run=dry_run)

    def _only_server(self, server: str | Address | None, what: str) -> Address:
        if server is None and len(self.servers) != 1:
            raise UsageError(
                f"the agent has {len(self.servers)} servers, but {what} needs one", hint="Name it: server=..."
            )
        meant = self.servers[0] if server is None else server
        return parse_address(meant) if isinstance(meant, str) else meant


def _checked(result: R) -> R:
    """The result, if any part of it succeeded; else raises the first error."""
    if result.exit_status in (0, 3):
        return result
    raise next(iter(_errors_of(result)))


def _errors_of(result: SyncResult | RemoveResult) -> Iterator[MiniVMError]:
    if isinstance(result, SyncResult):
        yield from (error for _, error in result.errors)
    for report in result.servers:
        if report.error:
            yield report.error
        if isinstance(report, ServerReport):
            yield from (outcome.error for outcome in report.results if outcome.error)
            conflicts = report.plan.conflicts if report.plan else ()
            yield from (ConflictError(conflict.message, hint=conflict.hint) for conflict in conflicts)
