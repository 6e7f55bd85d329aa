"""``remove``: removes one of our templates from servers, and on request the images that nothing uses any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gns3_minivm.agent.desired import catalogue_of, is_ours, template_id
from gns3_minivm.agent.images import DeletionReport, delete_unused_images
from gns3_minivm.agent.nodes import nodes_of
from gns3_minivm.base.errors import ConflictError, MiniVMError, NotFoundError
from gns3_minivm.gns3.address import Address, check_named
from gns3_minivm.gns3.model import IMAGE_FIELDS, ServerTemplate
from gns3_minivm.gns3.on_each import on_each
from gns3_minivm.gns3.server import Server
from gns3_minivm.ops.context import RunContext


@dataclass(frozen=True, kw_only=True)
class RemoveRequest:
    name: str
    servers: tuple[Address, ...]
    delete_images: bool = False


@dataclass(frozen=True, kw_only=True)
class RemoveReport:
    """What happened to the template on one server; ``template_id`` is empty where there was none.

    ``nodes`` were made from it, as (project, node): they stay, and keep their own copy of its settings.
    ``catalogue`` is the one that it belongs to, and would be made again by.
    """

    url: str
    template_id: str = ""
    catalogue: str = ""
    nodes: tuple[tuple[str, str], ...] = ()
    images: DeletionReport | None = None
    error: MiniVMError | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "template_id": self.template_id,
            "catalogue": self.catalogue,
            "nodes": [{"project": project, "node": node} for project, node in self.nodes],
            "images": self.images.as_dict() if self.images else None,
            "error": self.error.as_dict() if self.error else None,
        }


@dataclass(frozen=True, kw_only=True)
class RemoveResult:
    name: str
    servers: tuple[RemoveReport, ...]
    dry_run: bool

    @property
    def exit_status(self) -> int:
        """0 all done, 3 some done and some failed, 1 all failed."""
        failed = [server for server in self.servers if server.error]
        return 0 if not failed else 1 if len(failed) == len(self.servers) else 3

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dry_run": self.dry_run,
            "servers": [server.as_dict() for server in self.servers],
        }


async def remove(request: RemoveRequest, context: RunContext) -> RemoveResult:
    """Remove the template of this name from every server; an error of one is in its report and stops no other."""
    check_named(request.servers)
    outcomes = await on_each(request.servers, lambda server: _remove(server, request, context))
    reports = [outcome.value or RemoveReport(url=outcome.address.url, error=outcome.error) for outcome in outcomes]
    return RemoveResult(name=request.name, servers=tuple(reports), dry_run=context.dry_run)


async def _remove(server: Server, request: RemoveRequest, context: RunContext) -> RemoveReport:
    template = _ours(server, request.name, await server.templates())
    if template is None or template.values is None:
        return RemoveReport(url=server.url)
    nodes = await nodes_of(server, template.template_id)
    if not context.dry_run:
        with context.events.step(f"Remove template {template.name} from {server.url}"):
            try:
                await server.delete_template(template.template_id)
            except NotFoundError:
                pass  # another agent was faster
    images: DeletionReport | None = None
    if request.delete_images:
        names = {getattr(template.values, field) for field in IMAGE_FIELDS} - {""}
        images = await delete_unused_images(
            server,
            sorted(names),
            dry_run=context.dry_run,
            events=context.events,
            without_templates=[template.template_id],
        )
    catalogue = catalogue_of(template.values.usage) or ""
    return RemoveReport(
        url=server.url, template_id=template.template_id, catalogue=catalogue, nodes=tuple(nodes), images=images
    )


def _ours(server: Server, name: str, templates: Sequence[ServerTemplate]) -> ServerTemplate | None:
    """Our template of this name (or made under it, and renamed since); ConflictError if there is only a foreign one."""
    by_id = [template for template in templates if template.template_id == template_id(name) and template.values]
    by_name = [template for template in templates if template.name == name]
    ours = by_id or [template for template in by_name if is_ours(template)]
    if len(ours) > 1 or (by_name and not ours):
        if ours:
            raise ConflictError(
                f"{server.url}: {len(ours)} templates of ours are named {name!r}; `remove` deletes one only",
                hint="Rename all but one of them.",
            )
        raise ConflictError(
            f"{server.url}: the template {name!r} is not ours; `remove` deletes only templates made by gns3-minivm",
            hint="Delete it on the server if nobody needs it.",
        )
    return ours[0] if ours else None
