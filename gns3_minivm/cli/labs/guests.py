"""The commands lab exec, lab console and lab test: into the nodes of a running lab."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.base.errors import MiniVMError, UsageError
from gns3_minivm.base.plurals import counted
from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session

if TYPE_CHECKING:
    from gns3_minivm.guest.exec import Channel
    from gns3_minivm.labs.checks import CheckResult
    from gns3_minivm.ops.labs.check import TestReport

lab_option = click.option(
    "--lab", metavar="LAB", envvar="GNS3_MINIVM_LAB",
    help="A lab file, or a project's name or id (default: GNS3_MINIVM_LAB, else lab.yml or the only topology of "
    "containerlab in this folder).",
)  # fmt: skip


def chosen_lab(lab: str | None) -> str:
    from gns3_minivm.ops.labs.find import default_lab

    return lab or default_lab()


@click.command("exec")
@click.argument("node")
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND...")
@lab_option
@click.option("--user", default="", metavar="USER", help="NAME, NUMBER, or either with :GROUP (default: root).")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable of the command's "
              "environment; may be given several times.")  # fmt: skip
@click.option("--workdir", default="", metavar="DIR", help="Where it runs (default: as the main program).")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Kill it after this time (default: never).")  # fmt: skip
@click.option("--wait", "wait_s", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
              metavar="SECONDS", help="How long a booting guest may take to answer.")  # fmt: skip
@click.option("--no-stdin", is_flag=True, help="Pass nothing on to the command's standard input.")
@options.server
@options.common
@pass_session
def lab_exec(
    session: Session,
    /,
    node: str,
    words: tuple[str, ...],
    lab: str | None,
    user: str,
    variables: tuple[str, ...],
    workdir: str,
    timeout: float | None,
    wait_s: float,
    no_stdin: bool,
    servers: options.ServerChoice,
) -> int:
    """Run a command in a node of a running lab.

    It goes through the node's console, beside whatever people do there; the node needs no network and no shell. Output,
    errors and exit status are the command's own, and what is piped in is its standard input. If gns3-minivm
    itself fails, the status is 125 (2 for wrong options).
    """
    from gns3_minivm.guest.exec import ExecRequest
    from gns3_minivm.ops.labs.exec import OWN_FAILURE
    from gns3_minivm.ops.labs.exec import lab_exec as perform
    from gns3_minivm.ops.project import only_server

    chosen, address = chosen_lab(lab), only_server(servers.addresses())
    request = ExecRequest(
        argv=words,
        shell="",
        environment=_variables(variables),
        user=user,
        working_dir=workdir,
        stdin=None if no_stdin else _piped_in(),
    )
    try:
        answer = session.perform(
            lambda _: perform(
                address, chosen, node, request,
                wait_s=wait_s, timeout_s=timeout, on_output=None if session.as_json else _pass_on,
            )
        )  # fmt: skip
    except MiniVMError as error:
        session.show_error(error)
        return OWN_FAILURE
    session.show(answer.as_dict(), "")
    session.complain(f"error: {answer.result.failure}" if answer.result.failure else "")
    return answer.exit_status


@click.command("console")
@click.argument("node")
@lab_option
@options.server
@options.common
@pass_session
def lab_console(session: Session, /, node: str, lab: str | None, servers: options.ServerChoice) -> None:
    """Open a node's console on this terminal.

    For MiniVMs, and for all nodes whose console is telnet (VPCS, routers ...). Ctrl-] leaves; the node goes on.
    """
    from gns3_minivm.ops.labs.exec import lab_console as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    session.perform(lambda _: perform(address, chosen_lab(lab), node))


@click.command("test")
@click.argument("lab", required=False)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the results to FILE as JUnit XML, for CI systems.")  # fmt: skip
@click.option("--jobs", "-j", "at_once", type=click.IntRange(1, 64), default=8, show_default=True, metavar="N",
              help="How many checks run at once.")  # fmt: skip
@options.server
@options.dry_run
@options.common
@pass_session
def lab_test(
    session: Session,
    /,
    lab: str | None,
    junit: Path | None,
    at_once: int,
    servers: options.ServerChoice,
) -> int:
    """Run the checks of a lab file (`tests:`) in its running lab.

    Each check is tried until it holds or its time is over. The status is 1 if one of them fails.
    """
    from gns3_minivm.ops.labs.check import lab_test as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    report = session.perform(
        lambda context: perform(
            address, chosen_lab(lab), context, junit=junit, at_once=at_once,
            on_result=lambda result: session.announce({"event": "check", **result.as_dict()}, _result(result)),
        )
    )  # fmt: skip
    session.show(report.as_dict(), _report(report))
    return report.exit_status


def _variables(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--env {pair!r} must be NAME=VALUE")
        found[name] = value
    return found


def _piped_in() -> bytes | None:
    """Standard input, if it is a pipe or a file; it does not wait for a terminal."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return None
    return sys.stdin.buffer.read() if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode) else None


def _pass_on(channel: Channel, data: bytes) -> None:
    stream = sys.stdout.buffer if channel == "stdout" else sys.stderr.buffer
    stream.write(data)
    stream.flush()


def _result(result: CheckResult) -> str:
    sign = "ok  " if result.outcome == "passed" else "FAIL"
    tries = f", {result.attempts} attempts" if result.attempts > 1 else ""
    lines = [f"{sign}  {result.name} ({result.elapsed_s:.1f} s{tries})"]
    if result.outcome != "passed":
        lines += [f"      {result.message}", *(f"      | {line}" for line in result.output.splitlines()[-20:])]
    return "\n".join(lines)


def _report(report: TestReport) -> str:
    if report.dry_run:
        return "\n".join([*(f"would check: {name}" for name in report.names), "dry run: nothing was done"])
    passed = len(report.results) - len(report.failed)
    return f"{report.lab}: {passed} of {counted(len(report.results), 'check')} passed, in {report.elapsed_s:.1f} s"
