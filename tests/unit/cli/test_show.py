"""Results as people read them."""

from __future__ import annotations

from dataclasses import replace

from gns3_minivm.agent.plan import Plan
from gns3_minivm.base.errors import ConnectError
from gns3_minivm.cli.show import plans
from gns3_minivm.cli.show.results import servers
from gns3_minivm.ops.overview import ServerDescription
from gns3_minivm.ops.templates.report import ServerReport, SyncResult

ONE, TWO = "http://one:3080", "http://two:3080"


def report(name: str, url: str, **values: object) -> ServerReport:
    whole = {"version": "3.0.6", "warnings": (f"{url}: watch {name}",), "plan": Plan(url=url, appliances=())} | values
    return ServerReport(name=name, url=url, **whole)  # type: ignore[arg-type]


def result(*reports: ServerReport) -> SyncResult:
    return SyncResult(servers=reports, dry_run=False, elapsed_s=0.1)


def test_each_warning_stands_below_the_heading_of_its_own_server() -> None:
    both = result(report("one", ONE), report("two", TWO))
    expected = [
        f"one ({ONE}, GNS3 3.0.6):",
        "  warning    watch one",
        "  nothing    to do",
        f"two ({TWO}, GNS3 3.0.6):",
        "  warning    watch two",
        "  nothing    to do",
    ]
    assert plans.plan(both).splitlines() == expected
    assert plans.status(both).splitlines() == expected
    described = [
        ServerDescription(url=url, version="3.0.6", computes=(), templates=number, warnings=(f"{url}: watch",))
        for number, url in ((1, ONE), (2, TWO))
    ]
    assert servers(described).splitlines() == [
        f"{ONE}: GNS3 3.0.6, computes: none, 1 template",
        "  warning    watch",
        f"{TWO}: GNS3 3.0.6, computes: none, 2 templates",
        "  warning    watch",
    ]


def test_a_server_that_cannot_be_asked_keeps_its_warning_too() -> None:
    failed = report("two", TWO, plan=None, error=ConnectError("nothing answers there"))
    lines = [f"{TWO}:", "  warning    watch two"]
    assert plans.registered(result(report("one", ONE), failed)).splitlines()[-2:] == lines
    assert TWO not in plans.registered(result(report("one", ONE), replace(failed, warnings=())))
    assert plans.plan(result(failed)).splitlines() == ["two: could not be asked", "  warning    watch two"]


def test_what_failed_does_not_tell_how_long_it_took_as_if_it_were_done() -> None:
    failed = result(report("one", ONE, plan=None, error=ConnectError("nothing answers there")))
    assert "0.1 s" not in plans.registered(failed) + plans.outcome(failed)
    assert plans.registered(result(report("one", ONE))).endswith("in 0.1 s")
    assert plans.outcome(result(report("one", ONE))).endswith("in 0.1 s")
