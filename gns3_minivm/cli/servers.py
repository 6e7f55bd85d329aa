"""Commands about servers and what they get: register, list, server, engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session
from gns3_minivm.cli.show import plans as show_plans
from gns3_minivm.cli.show import results as show

if TYPE_CHECKING:
    from gns3_minivm.template_settings.table import TemplateSettings


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@options.server
@click.option("--compute", metavar="ID", help="The compute that runs the nodes (default: local, or vm where local "
              "has no QEMU).")  # fmt: skip
@click.option("--as", "template_name", metavar="NAME", help="Name of the template (default: the image's).")
@click.option("--adopt", is_flag=True, help="Take over a template of the same name that gns3-minivm did not make.")
@options.verify
@options.template
@options.image
@options.kernel
@options.dry_run
@options.common
@pass_session
def register(
    session: Session,
    /,
    names: tuple[str, ...],
    servers: options.ServerChoice,
    compute: str | None,
    template_name: str | None,
    adopt: bool,
    verify: bool,
    template_settings: TemplateSettings,
) -> int:
    """Make templates for appliances or images on GNS3 servers.

    NAME is an appliance (gns3-minivm list) or an image of the Docker engine. Builds, converts and uploads only
    what a server lacks.
    """
    from gns3_minivm.ops.templates.register import RegisterRequest
    from gns3_minivm.ops.templates.register import register as perform

    request = RegisterRequest(
        names=names,
        servers=servers.addresses(),
        compute=compute,
        template_name=template_name,
        template=template_settings,
        adopt=adopt,
        verify=verify,
    )
    result = session.perform(lambda context: perform(request, context))
    session.show(result.as_dict(), show_plans.registered(result))
    session.complain(show_plans.problems(result))
    return result.exit_status


@click.command("list")
@options.appliances
@options.common
@pass_session
def list_appliances(session: Session) -> None:
    """List the appliances."""
    from gns3_minivm.ops.overview import appliance_dict, appliances

    found = appliances(session.settings)
    session.show({"appliances": [appliance_dict(appliance) for appliance in found]}, show.appliances(found))


@click.command()
@click.argument("url", required=False)
@click.option("--find", is_flag=True, help="Only print the URLs of servers that this user's GNS3 configuration names "
              "(with their passwords).")  # fmt: skip
@options.server
@options.common
@pass_session
def server(session: Session, /, url: str | None, find: bool, servers: options.ServerChoice) -> int:
    """Show what answers at URL: GNS3 version, computes, templates."""
    from gns3_minivm.ops.overview import describe_servers, local_servers

    if find:
        urls = local_servers()
        session.show({"urls": urls}, "\n".join(urls))
        return 0
    addresses = servers.addresses(url)
    found = session.perform(lambda _: describe_servers(addresses))
    session.show({"servers": [description.as_dict() for description in found]}, show.servers(found))
    session.complain(show.not_answering(found))
    failed = [description for description in found if description.error]
    return 0 if not failed else 1 if len(failed) == len(found) else 3


@click.command()
@options.common
@pass_session
def engine(session: Session) -> None:
    """Show which Docker engine answers."""
    from gns3_minivm.ops.overview import describe_engine

    found = session.perform(lambda _: describe_engine())
    session.show(found.as_dict(), show.engine(found))
