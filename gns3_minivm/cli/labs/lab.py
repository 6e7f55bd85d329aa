"""The commands that make labs and end them: lab up, down, destroy, status and wait."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session
from gns3_minivm.cli.labs.guests import lab_console, lab_exec, lab_test
from gns3_minivm.cli.labs.outputs import lab_export, lab_graph, lab_inventory, lab_save
from gns3_minivm.cli.show import labs as show_labs

if TYPE_CHECKING:
    from gns3_minivm.ops.labs.report import Confirm, LabReport

_FILE = click.argument("file", required=False, type=options.FILE)
_LAB = click.argument("lab", required=False, envvar="GNS3_MINIVM_LAB")
_YES = click.option("--yes", is_flag=True, help="Do not ask before disks are lost.")
_WAIT = click.option("--timeout", "wait_s", type=click.FloatRange(min=0), default=300.0, show_default=True,
                     metavar="SECONDS", help="How long to wait for the consoles.")  # fmt: skip


@click.group()
def lab() -> None:
    """Labs: turn a file into a running topology on a GNS3 server."""


@lab.command("up")
@_FILE
@options.server
@click.option("--start/--no-start", default=True, show_default=True, help="Start the nodes.")
@_WAIT
@click.option("--parallel", "at_once", type=click.IntRange(1, 64), default=8, show_default=True, metavar="N",
              help="Number of simultaneous requests to the server.")  # fmt: skip
@click.option(
    "--adopt",
    is_flag=True,
    help="Take over a project of the lab's name that is not this lab: made by others, or a copy of a lab.",
)
@_YES
@options.sources
@options.kernel
@options.dry_run
@options.common
@pass_session
def lab_up(
    session: Session,
    /,
    file: Path | None,
    servers: options.ServerChoice,
    start: bool,
    wait_s: float,
    at_once: int,
    adopt: bool,
    yes: bool,
) -> int:
    """Make a lab from FILE and start it; again, change only what differs.

    FILE is a lab file (docs/use/labs.md) or a containerlab topology; default: lab.yml in the working directory. The
    templates that it needs are registered on the server. The plan is shown first. It asks before it removes nodes
    and their disks.
    """
    from gns3_minivm.ops.labs.find import default_lab
    from gns3_minivm.ops.labs.up import LabRequest
    from gns3_minivm.ops.labs.up import lab_up as perform
    from gns3_minivm.ops.project import only_server

    request = LabRequest(
        path=file or Path(default_lab()),
        server=only_server(servers.addresses()),
        start=start,
        wait_s=wait_s,
        at_once=at_once,
        adopt=adopt,
        yes=yes,
    )
    result = session.perform(
        lambda context: perform(
            request,
            context,
            lambda report: session.announce({"event": "plan", **report.as_dict()}, show_labs.difference(report)),
            _asking(session, show_labs.removal_question),
        )
    )
    session.show(result.as_dict(), show_labs.outcome(result))
    session.complain(show_labs.problems(result))
    return result.exit_status


@lab.command("down")
@_LAB
@options.server
@click.option("--close", is_flag=True, help="Close the project too.")
@options.dry_run
@options.common
@pass_session
def lab_down(session: Session, /, lab: str | None, servers: options.ServerChoice, close: bool) -> int:
    """Stop the nodes of a lab; their disks stay as they are.

    LAB is a lab file or a lab's name; default: lab.yml in the working directory.
    """
    from gns3_minivm.ops.labs.find import default_lab
    from gns3_minivm.ops.labs.state import lab_down as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    result = session.perform(lambda context: perform(address, lab or default_lab(), context, close=close))
    return _shown(session, result)


@lab.command("destroy")
@_LAB
@options.server
@_YES
@options.dry_run
@options.common
@pass_session
def lab_destroy(session: Session, /, lab: str | None, servers: options.ServerChoice, yes: bool) -> int:
    """Delete a lab: its project, its nodes and all that is on their disks.

    LAB is as for `lab down`. Templates and images stay. Projects that are not labs are never deleted.
    """
    from gns3_minivm.ops.labs.find import default_lab
    from gns3_minivm.ops.labs.state import lab_destroy as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    confirm = _asking(session, show_labs.deletion_question)
    result = session.perform(lambda context: perform(address, lab or default_lab(), context, yes=yes, confirm=confirm))
    return _shown(session, result)


@lab.command("status")
@_LAB
@options.server
@options.common
@pass_session
def lab_status(session: Session, /, lab: str | None, servers: options.ServerChoice) -> int:
    """Show the nodes of a lab, their state and their consoles; nothing is changed.

    LAB is as for `lab down`. `lab up --dry-run` shows how the lab differs from its file.
    """
    from gns3_minivm.ops.labs.find import default_lab
    from gns3_minivm.ops.labs.state import lab_status as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    return _shown(session, session.perform(lambda _: perform(address, lab or default_lab())))


@lab.command("wait")
@_LAB
@options.server
@_WAIT
@options.common
@pass_session
def lab_wait(session: Session, /, lab: str | None, servers: options.ServerChoice, wait_s: float) -> int:
    """Wait until the console of every node of a lab answers.

    LAB is as for `lab down`. The exit status is 1 or 3 if a node does not run, or does not answer in time.
    """
    from gns3_minivm.ops.labs.find import default_lab
    from gns3_minivm.ops.labs.state import lab_wait as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    result = session.perform(lambda context: perform(address, lab or default_lab(), context, wait_s=wait_s))
    return _shown(session, result)


def _shown(session: Session, result: LabReport) -> int:
    session.show(result.as_dict(), show_labs.outcome(result))
    session.complain(show_labs.problems(result))
    return result.exit_status


def _asking(session: Session, question: Callable[[LabReport], str]) -> Confirm | None:
    """Ask the person at the terminal, if there is one."""
    if session.as_json or not sys.stdin.isatty():
        return None

    def ask(report: LabReport) -> bool:
        return click.confirm(question(report), default=False)

    return ask


for command in (lab_exec, lab_console, lab_test, lab_graph, lab_inventory, lab_save, lab_export):
    lab.add_command(command)
