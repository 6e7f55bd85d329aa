"""The commands lab graph, lab inventory, lab save and lab export: a lab for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session
from gns3_minivm.cli.labs.guests import chosen_lab
from gns3_minivm.cli.project import exported

if TYPE_CHECKING:
    from gns3_minivm.ops.labs.outputs import TextResult

_LAB = click.argument("lab", required=False, envvar="GNS3_MINIVM_LAB")
_FORCE = click.option("--force", is_flag=True, help="Replace FILE if it exists.")


def _output(command: Any) -> Any:
    return click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                        help="Write it to FILE instead of printing it.")(command)  # fmt: skip


@click.command("graph")
@_LAB
@_output
@_FORCE
@click.option("--live", is_flag=True, help="Draw the lab as it is on the server, with the nodes' positions and states.")
@options.server
@options.dry_run
@options.common
@pass_session
def lab_graph(
    session: Session,
    /,
    lab: str | None,
    output: Path | None,
    force: bool,
    live: bool,
    servers: options.ServerChoice,
) -> None:
    """Draw a lab as an SVG picture.

    LAB is a lab file (no server is asked then) or a project's name. Nodes without a position in the file get the
    one that `lab up` would give them.
    """
    from gns3_minivm.ops.labs.find import is_file
    from gns3_minivm.ops.labs.outputs import lab_graph as perform
    from gns3_minivm.ops.project import only_server

    chosen = chosen_lab(lab)
    address = only_server(servers.addresses()) if live or not is_file(chosen) else None
    result = session.perform(lambda context: perform(address, chosen, context, output=output, force=force))
    _show(session, result)


@click.command("inventory")
@_LAB
@click.option(
    "--format",
    "form",
    type=click.Choice(["ansible", "nornir"]),
    required=True,
    help="The tool that the inventory is for.",
)
@_output
@_FORCE
@options.server
@options.dry_run
@options.common
@pass_session
def lab_inventory(
    session: Session,
    /,
    lab: str | None,
    form: Literal["ansible", "nornir"],
    output: Path | None,
    force: bool,
    servers: options.ServerChoice,
) -> None:
    """Show the nodes of a lab as an inventory for Ansible or Nornir.

    LAB is a lab file, or a project's name or id. Each node comes with its addresses and its console.
    """
    from gns3_minivm.ops.labs.outputs import lab_inventory as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    result = session.perform(
        lambda context: perform(address, chosen_lab(lab), form, context, output=output, force=force)
    )
    _show(session, result)


@click.command("save")
@_LAB
@_output
@_FORCE
@options.server
@options.dry_run
@options.common
@pass_session
def lab_save(
    session: Session,
    /,
    lab: str | None,
    output: Path | None,
    force: bool,
    servers: options.ServerChoice,
) -> None:
    """Write the state of a lab on the server as a lab file: nodes with settings and positions, links, drawings.

    LAB is a lab file, or the name or id of any project. The data on the guests' disks is not in it; `lab
    export` includes that.
    """
    from gns3_minivm.ops.labs.outputs import lab_save as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    result = session.perform(
        lambda context: perform(
            address,
            chosen_lab(lab),
            context,
            output=output,
            force=force,
        )
    )
    _show(session, result)


@click.command("export")
@_LAB
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE",
              help="The .gns3project file to write.")  # fmt: skip
@_FORCE
@options.server
@options.dry_run
@options.common
@pass_session
def lab_export(
    session: Session,
    /,
    lab: str | None,
    output: Path,
    force: bool,
    servers: options.ServerChoice,
) -> None:
    """Write a lab as a portable project that opens on another server, with disks and all images.

    LAB is a lab file, or a project's name or id. The nodes must be stopped (`lab down`). `project import` reads FILE.
    """
    from gns3_minivm.ops.labs.outputs import lab_export as perform
    from gns3_minivm.ops.project import only_server

    address = only_server(servers.addresses())
    result = session.perform(lambda context: perform(address, chosen_lab(lab), output, context, force=force))
    session.show(result.as_dict(), exported(result))


def _show(session: Session, result: TextResult) -> None:
    if result.output is None:
        text = result.text.rstrip("\n")
    else:
        text = f"would write {result.output}\ndry run: nothing was written" if result.dry_run else str(result.output)
    session.show(result.as_dict(), text)
