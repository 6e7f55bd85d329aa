"""What the lab commands print: the differences before they are resolved, and the table of nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gns3_minivm.base.plurals import counted
from gns3_minivm.cli.show.changes import change
from gns3_minivm.cli.show.results import warning_lines

if TYPE_CHECKING:
    from gns3_minivm.labs.plan import LabPlan, NodePlan
    from gns3_minivm.ops.labs.report import LabReport, NodeRow

_SIGNS = {"create": "+", "delete": "-", "replace": "!", "update": "~", "keep": " "}


def difference(report: LabReport) -> str:
    """The plan."""
    plan = report.plan
    assert plan is not None
    lines = ["not supported:", *(f"  {line}" for line in report.unheeded)] if report.unheeded else []
    lines += [f"  first: {step}" for step in report.pending]
    if plan.nothing_to_do:
        return "\n".join([*lines, f"{_place(report)}: nothing to do", *warning_lines(report.warnings, report.url)])
    lines += [f"{_place(report)}:", *warning_lines(report.warnings, report.url)]
    if plan.project is None:
        lines.append(f"  + project {report.project}")
    if report.adopts:
        lines.append(f"  ~ project {report.project} is taken over: it {report.adopts}")
    lines += _nodes(plan)
    for link in plan.links:
        if link.verb != "keep":
            lines.append(f"  {_SIGNS[link.verb]} link {link.text}{_pairs(link.changes)}")
    lines += [f"  + {counted(len(plan.drawings), 'drawing')}"] if plan.drawings else []
    lines += [f"  - {counted(len(plan.erased), 'drawing')}"] if plan.erased else []
    if report.foreign:
        lines.append(f"  not of this lab, left alone: {', '.join(report.foreign)}")
    if report.dry_run:
        lines.append("dry run: nothing was changed")
    return "\n".join(lines)


def _place(report: LabReport) -> str:
    project = "" if report.project == report.lab else f" (project {report.project!r})"
    return f"{report.lab}{project} on {report.url}"


def removal_question(report: LabReport) -> str:
    """What ``lab up`` asks after it has shown the difference."""
    lost = [item.name for item in report.plan.destroyed] if report.plan is not None else []
    whose = "its disk" if len(lost) == 1 else "their disks"
    return f"Remove {', '.join(lost)} from the project {report.project!r} on {report.url}, and all that is on {whose}?"


def deletion_question(report: LabReport) -> str:
    """What ``lab destroy`` asks, after what is there."""
    from gns3_minivm.ops.labs.report import whole_lab

    return f"{outcome(report)}\nDelete {whole_lab(report)}?"


def _nodes(plan: LabPlan) -> Iterator[str]:
    for item in plan.nodes:
        if item.verb == "keep" and not item.start:
            continue
        yield f"  {_SIGNS[item.verb]} node {item.name}{_node_words(item)}"


def _node_words(item: NodePlan) -> str:
    lost = "left by an interrupted run" if item.leftover else "its disk is lost"
    words = {"delete": lost, "replace": "recreated, its disk is lost"}.get(item.verb, "")
    source = item.desired.source if item.desired is not None and item.verb == "create" else ""
    said = [word for word in (source, words) if word]
    changes = _pairs({**item.changes, **item.appearance})
    if item.restart:
        said.append("restart")
    elif item.start and item.verb != "create":
        said.append("start")
    return (f": {', '.join(said)}" if said else "") + changes


def _pairs(changes: Mapping[str, tuple[Any, Any]]) -> str:
    if not changes:
        return ""
    told = [
        name if name == "settings" else f"{name} {change(old, new, _plain)}" for name, (old, new) in changes.items()
    ]
    return f" ({'; '.join(told)})"


def _plain(value: object) -> str:
    return "none" if value in (None, "", {}) else str(value)


def outcome(report: LabReport) -> str:
    """The table of a lab's nodes."""
    if report.dry_run and report.plan is not None:
        return ""  # the difference is all that there is to say
    lines = [*_table(report.rows)]
    closed = ", closed" if report.project_status == "closed" else ""
    took = "" if report.errors or report.gone is not None else f", {report.elapsed_s:.1f} s"
    lines.append(f"{_place(report)}{closed}{took}")
    if report.foreign:
        lines.append(f"not of this lab: {', '.join(report.foreign)}")
    lines += [f"would {step}" for step in report.pending]
    if report.dry_run:
        lines.append("dry run: nothing was changed")
    return "\n".join(lines)


def _table(rows: Sequence[NodeRow]) -> Iterator[str]:
    cells = [("node", "from", "state", "console", "addresses")]
    cells += [(row.name, row.source, row.state, row.console or "-", ", ".join(row.addresses)) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def problems(report: LabReport) -> str:
    """The errors, beside what was shown."""
    lines = []
    for about, error in (report.errors or {}).items():
        lines.append(f"error: {about}: {error.message}")
        lines += [f"hint: {error.hint}"] if error.hint else []
    if report.gone is not None:
        lines.append("Gave up on the server; the work so far stays, and `lab up` does the rest.")
    elif report.errors:
        lines.append("Everything else is done; `lab up` tries the rest again.")
    return "\n".join(lines)
