"""The command group; each command calls one function of ``ops`` and shows what it returns."""

from __future__ import annotations

import click

from gns3_minivm import __version__
from gns3_minivm.cli.appliances import new
from gns3_minivm.cli.cache import cache
from gns3_minivm.cli.doctor import doctor
from gns3_minivm.cli.gns3a import export_appliances, import_appliance
from gns3_minivm.cli.images import boot, convert
from gns3_minivm.cli.inspect import inspect
from gns3_minivm.cli.kernels import kernel
from gns3_minivm.cli.labs import lab
from gns3_minivm.cli.project import project
from gns3_minivm.cli.servers import engine, list_appliances, register, server
from gns3_minivm.cli.sync import remove, status, sync


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gns3-minivm")
def cli() -> None:
    """Docker images as small, persistent QEMU machines on GNS3 servers."""


for command in (
    register,
    sync,
    status,
    remove,
    doctor,
    lab,
    project,
    export_appliances,
    import_appliance,
    list_appliances,
    new,
    convert,
    boot,
    inspect,
    server,
    engine,
    kernel,
    cache,
):
    cli.add_command(command)
