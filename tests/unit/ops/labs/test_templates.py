"""What the templates of a lab are called, and what the lab commands print."""

from __future__ import annotations

from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConnectError, NodeError
from gns3_minivm.cli.show import labs as show_labs
from gns3_minivm.labs.plan import plan
from gns3_minivm.ops.labs.report import LabReport, NodeRow, whole_lab
from gns3_minivm.ops.labs.templates import image_template_name
from tests.unit.labs.test_plan import FILE, case


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("debian:bookworm-slim", "debian-bookworm-slim"),
        ("nginx", "nginx"),
        ("docker://debian:bookworm-slim", "debian-bookworm-slim"),
        ("docker://docker.io/library/debian:12", "debian-12"),
        ("docker://quay.io:5000/frrouting/frr:10.2.1", "frrouting-frr-10.2.1"),
        ("docker-daemon:team/app:1", "team-app-1"),
        ("example.org/app@sha256:" + "0123456789abcdef" * 4, "app-0123456789ab"),
        ("docker-archive:images/web.tar", "images-web.tar"),
        ("oci:./layout:2", "layout-2"),
    ],
)
def test_a_template_is_called_like_its_image_with_its_tag(image: str, name: str) -> None:
    assert image_template_name(image) == name


def test_images_of_one_name_and_other_places_have_templates_of_their_own() -> None:
    images = ("one/web:1", "two/web:1", "web:1", "web:2", "web", "one/web")
    assert len({image_template_name(image) for image in images}) == len(images)


def test_the_difference_is_a_line_for_each_change(tmp_path: Path) -> None:
    there = case(tmp_path)
    text = FILE.replace("b: {appliance: vm}", "b: {appliance: vm, ram: 512, position: [1, 2]}")
    text = text.replace("  - [a:eth1, sw]\n", "").replace("10.0.0.1", "10.0.0.9") + "  - [a:eth2, b:eth2]\n"
    changed = there.with_file(tmp_path, text).with_node("sw", name="sw")
    planned = plan(changed.lab, changed.desired, changed.state)
    shown = show_labs.difference(
        LabReport(
            lab="lab",
            url="http://here",
            project="lab",
            project_id="p",
            rows=(),
            plan=planned,
            foreign=("theirs",),
            dry_run=True,
        )
    )
    assert shown.splitlines() == [
        "lab on http://here:",
        "  ~ node a: restart (adapters 2 -> 3; settings)",
        "  ~ node b: restart (ram 256 -> 512; adapters 2 -> 3; position (0, 0) -> (1, 2))",
        "  + link a:eth2 -- b:eth2",
        "  - link a:eth1 -- sw:e0",
        "  not of this lab, left alone: theirs",
        "dry run: nothing was changed",
    ]
    same = LabReport(lab="lab", url="http://here", project="lab", project_id="p", rows=(), plan=there.plan())
    assert show_labs.difference(same) == "lab on http://here: nothing to do"


def test_the_table_and_what_went_wrong() -> None:
    rows = (
        NodeRow(
            name="r1",
            source="frr-minivm",
            state="ready",
            console="telnet://127.0.0.1:5000",
            addresses=("eth0 10.0.0.1/24",),
        ),
        NodeRow(name="h1", source="debian", state="missing"),
    )
    errors = {"node h1": NodeError("no room", hint="Make room.")}
    report = LabReport(
        lab="lab", url="http://here", project="lab", project_id="p", rows=rows, errors=errors, elapsed_s=1.26
    )
    assert show_labs.outcome(report).splitlines() == [
        "node  from        state    console                  addresses",
        "r1    frr-minivm  ready    telnet://127.0.0.1:5000  eth0 10.0.0.1/24",
        "h1    debian      missing  -",
        "lab on http://here",
    ]
    assert show_labs.problems(report).splitlines() == [
        "error: node h1: no room",
        "hint: Make room.",
        "Everything else is done; `lab up` tries the rest again.",
    ]
    assert report.exit_status == 3
    gone = LabReport(
        lab="lab",
        url="http://here",
        project="lab",
        project_id="p",
        rows=rows[1:],
        errors=errors,
        gone=ConnectError("gone"),
    )
    assert gone.exit_status == 1 and "Gave up on the server" in show_labs.problems(gone)


def report(**values: object) -> LabReport:
    rows = (NodeRow(name="r1", source="frr", state="stopped"), NodeRow(name="h1", source="frr", state="missing"))
    known = {"lab": "lab", "url": "http://here", "project": "production", "project_id": "p", "rows": rows}
    return LabReport(**{**known, **values})  # type: ignore[arg-type]


def test_the_question_before_a_lab_is_deleted_names_project_and_server() -> None:
    question = show_labs.deletion_question(report())
    assert question.splitlines()[-1] == (
        "Delete the project 'production' on http://here, with all that is on the disk of its 1 node?"
    )
    assert "lab (project 'production') on http://here" in question
    assert whole_lab(report(foreign=("theirs", "mine"))).endswith(
        "of its 1 node, and of theirs, mine, which the lab file did not create"
    )


def test_a_dry_run_says_what_would_be_done_where() -> None:
    dry = report(dry_run=True, pending=(f"delete {whole_lab(report())}",))
    assert show_labs.outcome(dry).splitlines()[-2:] == [
        "would delete the project 'production' on http://here, with all that is on the disk of its 1 node",
        "dry run: nothing was changed",
    ]


def test_the_question_before_nodes_are_removed_names_project_and_server(tmp_path: Path) -> None:
    there = case(tmp_path)
    text = FILE.replace("  b: {appliance: vm}\n", "").replace("  - [a:eth0, b:eth0]\n", "").replace(
        "  - [b:eth1, sw:e1]\n", "")  # fmt: skip
    asked = show_labs.removal_question(report(plan=there.with_file(tmp_path, text).plan()))
    assert asked == "Remove b from the project 'production' on http://here, and all that is on its disk?"


def test_taking_a_project_over_is_part_of_the_difference(tmp_path: Path) -> None:
    planned = case(tmp_path).with_node("b", status="stopped").plan()
    shown = show_labs.difference(report(plan=planned, adopts="is a copy of the lab 'lab'"))
    assert shown.splitlines()[:2] == [
        "lab (project 'production') on http://here:",
        "  ~ project production is taken over: it is a copy of the lab 'lab'",
    ]
