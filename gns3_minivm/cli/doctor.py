"""The command doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gns3_minivm.base.plurals import counted
from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session

if TYPE_CHECKING:
    from gns3_minivm.ops.doctor import Diagnosis


@click.command()
@options.server
@click.option("--try", "try_nodes", is_flag=True,
              help="Also start a node on each server for a moment, in a project of its own: shows "
                   "QEMU's version where the API does not (v3), and whether ubridge is installed.")  # fmt: skip
@options.common
@pass_session
def doctor(session: Session, /, servers: options.ServerChoice, try_nodes: bool) -> int:
    """Find what keeps MiniVMs from working, here and on GNS3 servers, and say what to do.

    Without --try nothing is changed. The exit status is 1 if there is a problem; warnings do not count.
    """
    from gns3_minivm.ops.doctor import examine

    addresses = servers.addresses()
    diagnosis = session.perform(lambda context: examine(addresses, context, try_nodes=try_nodes))
    session.show(diagnosis.as_dict(), _text(diagnosis))
    return diagnosis.exit_status


def _text(diagnosis: Diagnosis) -> str:
    lines = []
    for examined in diagnosis.places:
        lines.append(f"{examined.place}:")
        for finding in examined.findings:
            lines.append(f"  {finding.level:8} {finding.message}")
            if finding.hint and finding.level != "ok":
                lines.append(f"  {'':8} -> {finding.hint}")
    count = diagnosis.problems
    lines.append(counted(count, "problem") if count else "no problems")
    return "\n".join(lines)
