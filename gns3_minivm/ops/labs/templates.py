"""The templates that a lab needs: those of appliances and images are registered on demand, others must exist."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gns3_minivm.agent.desired import is_ours, template_id
from gns3_minivm.base.errors import ConflictError, MiniVMError
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.model import ServerTemplate
from gns3_minivm.gns3.server import Server
from gns3_minivm.images.resolve import FILE_SCHEMES, split_scheme
from gns3_minivm.labs.desired import find_template
from gns3_minivm.labs.model import Lab, LabNode
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.templates.reconcile import Policy, Target, reconcile
from gns3_minivm.ops.templates.report import SyncResult
from gns3_minivm.ops.templates.supply import BuiltSupply, Wanted

_NAME_MAX = 60


@dataclass(frozen=True)
class LabTemplates:
    """``by_node`` has each node's template, or its id where a dry run would make it.

    ``pending`` are what would be made: templates, and steps without which a dry run cannot tell more.
    """

    by_node: Mapping[str, ServerTemplate | str]
    warnings: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()


def template_name(node: LabNode) -> str:
    """The name of an appliance's or image's template: images with their tags, so that they do not collide."""
    if node.appliance is not None:
        return node.appliance
    return image_template_name(node.image or "")


def image_template_name(image: str) -> str:
    """A template's name from an image's name alone, so that no engine or registry is needed to know it.

    >>> image_template_name("docker://quay.io/frrouting/frr:10.2.1")
    'frrouting-frr-10.2.1'
    >>> image_template_name("debian:bookworm-slim")
    'debian-bookworm-slim'
    """
    _, rest = split_scheme(image)
    name, _, digest = rest.lstrip("/").partition("@")
    parts = [part for part in name.split("/") if part]
    if len(parts) > 1 and re.search(r"[.:]|^localhost$", parts[0]):
        parts = parts[1:]
    if len(parts) > 1 and parts[0] == "library":
        parts = parts[1:]
    parts = parts[-3:]
    if digest:
        parts.append(digest.rpartition(":")[2][:12])
    made = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-.")
    return made[-_NAME_MAX:].strip("-.") or "image"


def _image(lab: Lab, node: LabNode) -> str:
    """What is looked for; files are relative to the lab file."""
    if node.image is None:
        return node.source
    scheme, rest = split_scheme(node.image)
    return f"{scheme}:{lab.path.parent / rest}" if scheme in FILE_SCHEMES else node.image


async def find_templates(server: Server, lab: Lab, address: Address, context: RunContext) -> LabTemplates:
    """Each node's template, registered now where it is missing or old.

    Raises NotFoundError for a template that is named and not there, and whatever keeps one from being made.
    """
    there = await server.templates()
    # What is missing is told before anything is converted.
    named = {
        name: find_template(there, node.template, f"{lab.at('nodes', name, 'template')}: node {name}: {server.url}")
        for name, node in lab.nodes.items()
        if node.template is not None
    }
    wanted = {
        name: Wanted(image=_image(lab, node), name=template_name(node))
        for name, node in lab.nodes.items()
        if node.source
    }
    unique = list(dict.fromkeys(wanted.values()))
    warnings, pending = await _register(lab, address, unique, there, context)
    by_id = {item.template_id: item for item in await server.templates()} if wanted else {}
    ours: dict[str, ServerTemplate | str] = {}
    for name, item in wanted.items():
        identifier = template_id(item.label)
        ours[name] = by_id.get(identifier, identifier)
        if identifier not in by_id and not context.dry_run:
            raise ConflictError(
                f"{server.url}: the template {item.label!r} of node {name} no longer exists",
                hint="Run the command again.",
            )
    return LabTemplates({**named, **ours}, warnings, pending)


async def _register(
    lab: Lab,
    address: Address,
    wanted: list[Wanted],
    there: list[ServerTemplate],
    context: RunContext,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Bring the templates to the server; returned are warnings, and what a dry run would do."""
    if not wanted:
        return (), ()
    supply = BuiltSupply(context)
    known = {item.template_id for item in there if is_ours(item)}
    warnings = []
    try:
        for found in await supply.find(wanted):
            if found.error is None:
                continue
            if template_id(found.wanted.label) not in known:
                raise found.error
            # Another machine has made it; nodes can be made of it without the image.
            warnings.append(
                f"{found.wanted.image}: {found.error.message}; the server's template {found.wanted.label} is "
                "used as it is"
            )
            wanted = [item for item in wanted if item != found.wanted]
        if not wanted:
            return tuple(warnings), ()
        target = Target(name=address.url, url=address.url, address=address, wanted=tuple(wanted), compute=lab.compute)
        result = await reconcile([target], supply, Policy(), context)
    finally:
        await supply.close()
    _check(result)
    return tuple(warnings), (*result.pending, *_planned(result)) if context.dry_run else ()


def _planned(result: SyncResult) -> list[str]:
    """What a dry run would do to templates."""
    said = []
    for report in result.servers:
        for item in report.plan.appliances if report.plan else ():
            said += [f"upload {upload.filename}" for upload in item.uploads]
            if not item.nothing_to_do:
                said.append(f"register the template {item.desired.name}")
    return said


def _check(result: SyncResult) -> None:
    """Raise the error that prevented a template."""
    for _, error in result.errors:
        raise error
    for report in result.servers:
        failures: list[MiniVMError] = [report.error] if report.error else []
        failures += [outcome.error for outcome in report.results if outcome.error]
        conflicts = report.plan.conflicts if report.plan else ()
        failures += [ConflictError(conflict.message, hint=conflict.hint) for conflict in conflicts]
        for failure in failures:
            raise failure
