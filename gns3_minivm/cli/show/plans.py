"""Plans for servers, and their results, as text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gns3_minivm.base.plurals import counted
from gns3_minivm.cli.show.changes import change, deviation
from gns3_minivm.cli.show.results import error_lines, pending_lines, short, warning_lines

if TYPE_CHECKING:
    from gns3_minivm.agent.plan import AppliancePlan
    from gns3_minivm.ops.templates.remove import RemoveReport, RemoveResult
    from gns3_minivm.ops.templates.report import ServerReport, SyncResult

_DRY_RUN = "dry run: nothing was changed"
_FIELD_NAMES = {"ram_mb": "ram"}


def registered(result: SyncResult) -> str:
    """The result of ``register``: what was done on each server, or would be."""
    lines = pending_lines(result.pending)
    for server in result.servers:
        for item in server.plan.appliances if server.plan else ():
            lines += _registered_one(server, item, dry_run=result.dry_run)
        # Of one that cannot be asked, the error says it all.
        lines += [f"{server.url}:"] if server.warnings and server.plan is None else []
        lines += warning_lines(server.warnings, server.url)
        lines += _old_nodes(server)
    return "\n".join([*lines, *_ending(result)])


def _ending(result: SyncResult) -> list[str]:
    """The last line; after an error it does not tell how long it took, since the error follows."""
    if result.dry_run:
        return [_DRY_RUN]
    return [] if result.exit_status else [f"in {result.elapsed_s:.1f} s"]


def _registered_one(server: ServerReport, item: AppliancePlan, *, dry_run: bool) -> list[str]:
    name = f"{item.desired.name} on {server.url} (GNS3 {server.version})"
    result = server.result_of(item.desired.template.template_id)
    if item.conflicts or server.error or (result and result.error):
        return [f"{name}: failed"]
    if item.nothing_to_do:
        return [f"{name}: nothing to do", *_left(item)]
    if dry_run or result is None:
        return [f"{name}:", *dict.fromkeys(_to_do(item)), *_left(item)]
    lines = [f"  {'uploaded':10} {filename}" for filename in result.uploaded]
    detail = _changes(result.changes) if result.changes else _summary(item)
    if result.outcome != "unchanged":
        lines.append(f"  {result.outcome:10} template {item.desired.name}: {detail}")
    return [f"{name}:", *lines, *_left(item)]


def plan(result: SyncResult) -> str:
    """The plan, before it is carried out."""
    lines = pending_lines(result.pending)
    for server in result.servers:
        lines += _plan_of(server)
    return "\n".join(lines)


def outcome(result: SyncResult) -> str:
    """The results of the plan."""
    if result.dry_run:
        return _DRY_RUN
    lines = []
    for server in result.servers:
        if server.plan is not None and server.error is None:
            counts = Counter(item.outcome for item in server.results)
            uploads = sum(len(item.uploaded) for item in server.results)
            said = [f"{number} {word}" for word, number in counts.items()]
            said += [f"{counted(uploads, 'file')} uploaded"] if uploads else []
            lines.append(f"{server.name}: {', '.join(said) or 'nothing to do'}")
        lines += _old_nodes(server)
    return "\n".join([*lines, *_ending(result)])


def status(result: SyncResult) -> str:
    """How the servers differ from the catalogue."""
    lines = pending_lines(result.pending)
    for server in result.servers:
        lines += [*_plan_of(server), *_old_nodes(server)]
    return "\n".join(lines)


def problems(result: SyncResult) -> str:
    """The errors, for standard error; empty if there were none."""
    lines: list[str] = []
    told: dict[str, list[str]] = {}
    for name, error in result.errors:
        told.setdefault(error.message, []).append(name)
    for error in {error.message: error for _, error in result.errors}.values():
        # What concerns many (a kernel that is not there) is told once.
        names = told[error.message]
        lines += error_lines(error, names[0] if len(names) == 1 and names[0] not in error.message else "")
    for server in result.servers:
        for found in filter(None, [server.error, *(item.error for item in server.results)]):
            lines += error_lines(found, server.name if server.url not in found.message else "")
        for item in server.plan.appliances if server.plan else ():
            result_of = server.result_of(item.desired.template.template_id)
            if result_of is None or result_of.error is None:
                for conflict in item.conflicts:
                    lines += [f"error: {server.url}: {conflict.message}", f"hint: {conflict.hint}"]
    return "\n".join(lines)


def _plan_of(server: ServerReport) -> list[str]:
    if server.plan is None:
        return [f"{server.name}: could not be asked", *warning_lines(server.warnings, server.url)]
    lines = [f"{server.name} ({server.url}, GNS3 {server.version}):", *warning_lines(server.warnings, server.url)]
    unchanged = 0
    shown: set[str] = set()
    for item in server.plan.appliances:
        if item.conflicts:
            lines += [f"  {'conflict':10} {item.desired.name}: {conflict.message}" for conflict in item.conflicts]
            continue
        # Files that several appliances share are sent once.
        to_do = [line for line in _to_do(item) if line not in shown]
        shown |= set(to_do)
        lines += [*to_do, *_left(item)]
        unchanged += item.nothing_to_do
    if unchanged:
        lines.append(f"  {'nothing':10} to do for {unchanged} of {len(server.plan.appliances)}")
    for leftover in server.plan.leftovers:
        why = "" if server.plan.prune else " (not in the catalogue; --prune removes it)"
        lines.append(f"  {'remove' if server.plan.prune else 'leftover':10} template {leftover.name}{why}")
    if len(lines) == 1 + len(server.warnings):
        lines.append(f"  {'nothing':10} to do")
    return lines


def _to_do(item: AppliancePlan) -> Iterator[str]:
    from gns3_minivm.ops.templates.report import NOT_BUILT

    for upload in item.uploads:
        if upload.filename.endswith(NOT_BUILT):
            yield f"  {'upload':10} a kernel, which must be built first"
            continue
        why = f" (the {upload.damaged} there is damaged)" if upload.damaged else ""
        why = " (its file is missing)" if upload.gone else why
        where = f" for compute {upload.compute_id}" if upload.compute_id != "local" else ""
        yield f"  {'upload':10} {upload.filename}{where}{why}"
    kind = type(item.template).__name__
    if kind == "UpdateTemplate":
        yield f"  {'update':10} template {item.desired.name}: {_changes(getattr(item.template, 'changes', {}))}"
    elif kind != "Unchanged":
        verb = "adopt" if kind == "AdoptTemplate" else "create"
        yield f"  {verb:10} template {item.desired.name}: {_summary(item)}"


def _left(item: AppliancePlan) -> list[str]:
    left = getattr(item.template, "left", {})
    return [f"  {'left':10} as it was set on the server: {item.desired.name}: {_differences(left)}"] if left else []


def _summary(item: AppliancePlan) -> str:
    template = getattr(item.template, "template", item.desired.template)
    return f"{template.ram_mb} MB, {counted(template.adapters, 'adapter')}, {counted(template.cpus, 'CPU')}"


def _changes(changes: object) -> str:
    assert isinstance(changes, dict)
    return ", ".join(f"{_FIELD_NAMES.get(field, field)} {change(*pair)}" for field, pair in changes.items())


def _differences(left: dict[str, tuple[object, object]]) -> str:
    return ", ".join(f"{_FIELD_NAMES.get(field, field)} {_difference(*pair)}" for field, pair in left.items())


def _difference(old: object, new: object) -> str:
    if isinstance(old, str) and isinstance(new, str) and new and old.startswith(f"{new} "):
        return f"with {short(old[len(new) + 1 :])} at its end"
    return deviation(old, new)


def _old_nodes(server: ServerReport) -> list[str]:
    if not server.old_nodes:
        return []
    from gns3_minivm.ops.templates.report import WHAT_TO_DO

    lines = [
        f"  {'old node':10} {node.node} of project {node.project}: {', '.join(old or 'none' for old, _ in node.images)}"
        for node in server.old_nodes
    ]
    return [*lines, f"  {WHAT_TO_DO}"]


def removed(result: RemoveResult) -> str:
    """What became of a template on each server."""
    lines = []
    for server in result.servers:
        if server.error is None:
            lines += _removed_one(result, server)
    return "\n".join([*lines, _DRY_RUN] if result.dry_run else lines)


def _removed_one(result: RemoveResult, server: RemoveReport) -> list[str]:
    if not server.template_id:
        return [f"{server.url}: no template {result.name}, nothing to do"]
    lines = [f"{server.url}: template {result.name} {'would be removed' if result.dry_run else 'removed'}"]
    lines += [f"  {'node':10} {node} of project {project} was made from it and stays" for project, node in server.nodes]
    if server.catalogue:
        lines.append(
            f"  {'note':10} the catalogue {server.catalogue} has it; sync makes it again unless it is removed there"
        )
    if server.images is not None:
        verb = "delete" if result.dry_run else "deleted"
        lines += [f"  {verb:10} {filename}" for filename in server.images.deleted]
        lines += [f"  {'kept':10} {image.filename}: {', '.join(image.reasons)}" for image in server.images.kept]
        lines += [f"  {'by hand':10} {path}: delete it on the server" for path in server.images.by_hand]
    return lines


def not_removed(result: RemoveResult) -> str:
    """The errors, for standard error; empty if there were none."""
    lines: Sequence[str] = [line for server in result.servers if server.error for line in error_lines(server.error)]
    return "\n".join(lines)
