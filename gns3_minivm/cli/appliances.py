"""Commands about appliances: new."""

from __future__ import annotations

import shlex

import click

from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.session import Session
from gns3_minivm.settings import Settings


@click.command()
@click.argument("name")
@click.option("--from", "image", metavar="IMAGE", required=True,
              help="The image that the appliance starts from, as for docker pull.")  # fmt: skip
@options.appliances
@options.dry_run
@options.common
@pass_session
def new(session: Session, /, name: str, image: str) -> None:
    """Make the folder of a new appliance.

    It is made in the folder of --appliances, else in the user's own one (gns3-minivm/appliances in the user's data
    folder), and holds a manifest and a Dockerfile to edit.
    """
    from gns3_minivm.ops.new import new_appliance

    result = session.perform(lambda context: new_appliance(name, image, context))
    made = [f"{result.folder / file}" for file in result.files]
    # Of the folders that are looked into, those of the option are not remembered.
    known = result.folder.parent in Settings.from_environment().appliance_folders
    where = "" if known else f" --appliances {shlex.quote(str(result.folder.parent))}"
    last = (
        "dry run: nothing was written" if session.dry_run else f"Next: edit them, then gns3-minivm boot {name}{where}"
    )
    session.show(result.as_dict(), "\n".join([*made, last]))
