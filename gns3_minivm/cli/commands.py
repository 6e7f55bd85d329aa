"""The commands; each calls one function of ``ops`` and shows what it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gns3_minivm import __version__
from gns3_minivm.cli import options, show
from gns3_minivm.cli.session import Session

# Imported where they are used: aiohttp, pydantic and the others cost more time than `--help` should take.
pass_session = click.make_pass_decorator(Session)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gns3-minivm")
def cli() -> None:
    """Docker images as small, persistent QEMU machines on GNS3 servers."""


@cli.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@options.server
@click.option("--compute", metavar="ID", help="The compute that runs the nodes (default: local, or vm where local "
              "has no QEMU).")  # fmt: skip
@click.option("--as", "template_name", metavar="NAME", help="Name of the template (default: the image's).")
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
    servers: tuple[str, ...],
    ca_file: Path | None,
    insecure: bool,
    compute: str | None,
    template_name: str | None,
    debs: tuple[Path, ...],
    dry_run: bool,
    **settings: Any,
) -> int:
    """Make templates for appliances or images on GNS3 servers.

    NAME is an appliance (gns3-minivm list) or an image of the Docker engine. Builds, converts and uploads only what a
    server does not have.
    """
    from gns3_minivm.ops.look import server_addresses
    from gns3_minivm.ops.register import RegisterRequest
    from gns3_minivm.ops.register import register as perform

    request = RegisterRequest(
        names=names,
        servers=server_addresses(servers, ca_file=ca_file, verify=not insecure),
        compute=compute,
        template_name=template_name,
        template=_template(settings),
        image=_image(settings),
        debs=debs,
        dry_run=dry_run,
    )
    result = session.perform(lambda events: perform(request, session.settings, events))
    session.show(result.as_dict(), show.registered(result))
    session.complain(show.not_registered(result))
    return result.exit_status


@cli.command("list")
@options.common
@pass_session
def list_appliances(session: Session) -> None:
    """List the appliances."""
    from gns3_minivm.ops.look import appliance_dict, appliances

    found = appliances()
    session.show({"appliances": [appliance_dict(appliance) for appliance in found]}, show.appliances(found))


@cli.command()
@click.argument("image")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE",
              help="The qcow2 file to write.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@options.image
@options.kernel
@options.dry_run
@options.common
@pass_session
def convert(
    session: Session, /, image: str, output: Path, force: bool, debs: tuple[Path, ...], dry_run: bool, **settings: Any
) -> None:
    """Write the disk of an image or appliance to a qcow2 file."""
    from gns3_minivm.ops.disk import convert_image

    result = session.perform(
        lambda events: convert_image(
            image, output, _image(settings), session.settings, events, force=force, debs=debs, dry_run=dry_run
        )
    )
    session.show(result.as_dict(), show.converted(result))


@cli.command()
@click.argument("image", required=False)
@click.option("--template", metavar="NAME", help="Boot what a GNS3 server has for this template instead of an image.")
@options.server
@click.option("--run", "command", metavar="COMMAND", help="Type this into the guest's shell, print the answer, power "
              "off.")  # fmt: skip
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep what the guest writes in this overlay file (default: it is thrown away).")  # fmt: skip
@options.template
@options.image
@options.kernel
@options.dry_run
@options.common
@pass_session
def boot(
    session: Session,
    /,
    image: str | None,
    template: str | None,
    servers: tuple[str, ...],
    ca_file: Path | None,
    insecure: bool,
    command: str | None,
    keep: Path | None,
    debs: tuple[Path, ...],
    dry_run: bool,
    **settings: Any,
) -> int:
    """Run the guest of an image under the local QEMU, as GNS3 would.

    The console is on this terminal; Ctrl-] leaves. The first adapter gets QEMU's own NAT network. Acceleration is used
    only if a short probe shows that it works.
    """
    from gns3_minivm.ops.boot import BootRequest
    from gns3_minivm.ops.boot import boot as perform
    from gns3_minivm.ops.look import server_addresses

    request = BootRequest(
        image=image,
        template=template,
        servers=server_addresses(servers, ca_file=ca_file, verify=not insecure) if template else (),
        command=command,
        keep=keep,
        settings=_template(settings),
        disk=_image(settings),
        debs=debs,
        dry_run=dry_run,
    )
    result = session.perform(lambda events: perform(request, session.settings, events))
    session.show(result.as_dict(), show.booted(result))
    return result.exit_status


@cli.command()
@click.argument("url", required=False)
@click.option("--find", is_flag=True, help="Only print the URLs of servers that this user's GNS3 configuration names "
              "(with their passwords).")  # fmt: skip
@options.server
@options.common
@pass_session
def server(
    session: Session, url: str | None, find: bool, servers: tuple[str, ...], ca_file: Path | None, insecure: bool
) -> int:
    """Say what answers at URL: GNS3 version, computes, templates."""
    from gns3_minivm.ops.look import describe_servers, local_servers, server_addresses

    if find:
        urls = local_servers()
        session.show({"urls": urls}, "\n".join(urls))
        return 0
    addresses = server_addresses((url,) if url else servers, ca_file=ca_file, verify=not insecure)
    found = session.perform(lambda events: describe_servers(addresses, events))
    session.show({"servers": [description.as_dict() for description in found]}, show.servers(found))
    session.complain(show.not_answering(found))
    failed = [description for description in found if description.error]
    return 0 if not failed else 1 if len(failed) == len(found) else 3


@cli.command()
@options.common
@pass_session
def engine(session: Session) -> None:
    """Say which Docker engine answers."""
    from gns3_minivm.ops.look import describe_engine

    found = session.perform(describe_engine)
    session.show(found.as_dict(), show.engine(found))


@cli.group()
def kernel() -> None:
    """The kernel bundle: kernel image, initramfs and module disk."""


@kernel.command("build")
@options.kernel
@click.option("--rebuild", is_flag=True, help="Ask for newer packages even if a bundle is there.")
@options.dry_run
@options.common
@pass_session
def kernel_build(session: Session, debs: tuple[Path, ...], rebuild: bool, dry_run: bool) -> None:
    """Make the kernel bundle from the distribution's packages, once for all images."""
    from gns3_minivm.ops.kernel import kernel_build as perform

    result = session.perform(
        lambda events: perform(session.settings, events, debs=debs, rebuild=rebuild, dry_run=dry_run)
    )
    session.show(result.as_dict(), show.bundle_built(result))


@kernel.command("list")
@options.common
@pass_session
def kernel_list(session: Session) -> None:
    """List the kernel bundles in the cache, newest first."""
    from gns3_minivm.ops.kernel import bundle_dict
    from gns3_minivm.ops.kernel import kernel_list as perform

    bundles = perform(session.settings)
    session.show({"bundles": [bundle_dict(bundle) for bundle in bundles]}, show.bundles(bundles))


def _template(settings: dict[str, Any]) -> Any:
    from gns3_minivm.ops.template import TemplateSettings

    return TemplateSettings(**{key: settings[key] for key in ("ram", "cpus", "adapters", "kernel_args")})


def _image(settings: dict[str, Any]) -> Any:
    from gns3_minivm.ops.sources import ImageSettings

    keys = ("size", "compression", "rebuild", "build_network", "registry", "registry_mirrors", "insecure_registries")
    return ImageSettings(**{key: settings[key] for key in keys})
