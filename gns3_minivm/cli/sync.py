"""The commands that keep servers in step with a catalogue: sync and status; and remove."""

from __future__ import annotations

from pathlib import Path

import click

from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session
from gns3_minivm.cli.show import plans as show_plans

_CATALOGUE = click.argument("catalogue", required=False, type=options.FILE)
_SERVER = click.option("--server", "servers", multiple=True, metavar="NAME", help="Only this server of the catalogue; "
                       "may be given several times.")  # fmt: skip


@click.command()
@_CATALOGUE
@_SERVER
@click.option("--prune", is_flag=True, help="Remove templates with the catalogue's mark that are no longer in it.")
@click.option("--adopt", is_flag=True, help="Take over templates of the same name that gns3-minivm did not make.")
@options.verify
@options.sources
@options.kernel
@options.dry_run
@options.common
@pass_session
def sync(
    session: Session,
    /,
    catalogue: Path | None,
    servers: tuple[str, ...],
    prune: bool,
    adopt: bool,
    verify: bool,
) -> int:
    """Bring all servers of a catalogue into the state that it describes.

    CATALOGUE is a YAML file (docs/use/catalogue.md); default: minivm.yml in the working directory, else
    gns3-minivm/catalogue.yml in the user's configuration folder. It reads all servers and prints the plan before it
    writes anything. Images on servers are never overwritten or deleted.
    """
    from gns3_minivm.ops.templates.sync import SyncRequest
    from gns3_minivm.ops.templates.sync import sync as perform

    request = SyncRequest(
        catalogue=catalogue,
        servers=servers,
        prune=prune,
        adopt=adopt,
        verify=verify,
    )
    result = session.perform(
        lambda context: perform(
            request,
            context,
            lambda plan: session.announce({"event": "plan", **plan.as_dict()}, show_plans.plan(plan)),
        )
    )
    session.show(result.as_dict(), show_plans.outcome(result))
    session.complain(show_plans.problems(result))
    return result.exit_status


@click.command()
@_CATALOGUE
@_SERVER
@click.option("--nodes/--no-nodes", default=True, show_default=True, help="Also list nodes that are on an older image "
              "of their template; one more request for each project.")  # fmt: skip
@options.verify
@options.sources
@options.kernel
@options.common
@pass_session
def status(
    session: Session,
    /,
    catalogue: Path | None,
    servers: tuple[str, ...],
    nodes: bool,
    verify: bool,
) -> int:
    """Show how the servers of a catalogue differ from it; nothing is changed.

    CATALOGUE is found as by sync. The exit status is 0 whether or not there is something to do.
    """
    from gns3_minivm.ops.templates.sync import SyncRequest
    from gns3_minivm.ops.templates.sync import status as perform

    request = SyncRequest(catalogue=catalogue, servers=servers, verify=verify)
    result = session.perform(lambda context: perform(request, context, nodes=nodes))
    session.show(result.as_dict(), show_plans.status(result))
    session.complain(show_plans.problems(result))
    return result.exit_status


@click.command()
@click.argument("name")
@options.server
@click.option("--delete-images", is_flag=True,
              help="Also delete those of its image files that provably nothing uses (API v3), or list "
                   "their paths (API v2 cannot delete).")  # fmt: skip
@options.dry_run
@options.common
@pass_session
def remove(session: Session, /, name: str, servers: options.ServerChoice, delete_images: bool) -> int:
    """Remove the template NAME from GNS3 servers.

    Only templates made by gns3-minivm are removed. Nodes made from it stay and keep working; they are listed.
    """
    from gns3_minivm.ops.templates.remove import RemoveRequest
    from gns3_minivm.ops.templates.remove import remove as perform

    request = RemoveRequest(name=name, servers=servers.addresses(), delete_images=delete_images)
    result = session.perform(lambda context: perform(request, context))
    session.show(result.as_dict(), show_plans.removed(result))
    session.complain(show_plans.not_removed(result))
    return result.exit_status
