"""Brings an appliance's picture to a server, with its template.

GNS3 takes any bytes for a symbol, cannot delete one, and answers with a picture of its own where it has none of that
name; so what it shows is read and compared.  Our names follow from the content (``appliances.Appliance.settings``).
"""

from __future__ import annotations

from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.base.errors import ForbiddenError, UploadError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.server import Server


async def bring_symbol(server: Server, desired: DesiredAppliance, events: Events) -> None:
    """Upload the picture of an appliance unless the server shows it already.

    A user who may create templates but not symbols (API v3) gets a template with the server's default picture, and a
    warning.
    """
    name, svg = desired.template.symbol, desired.symbol_svg
    if svg is None or await server.symbol(name) == svg:
        return
    with events.step(f"Upload symbol {name} to {server.url}") as step:
        try:
            await server.upload_symbol(name, svg)
        except ForbiddenError as error:
            step.detail = f"left out: {error.message}"
            return
        if (shown := await server.symbol(name)) != svg:
            raise UploadError(
                f"{server.url}: symbol {name} did not arrive intact ({len(svg)} bytes; the server shows {len(shown)})",
                hint="Check whether the server's disk is full, and whether its folder of symbols is writable.",
            )
