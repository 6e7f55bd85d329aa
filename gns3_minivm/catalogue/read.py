"""Finds and reads a catalogue file; every mistake in it is told with file, line and column."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.catalogue.model import Catalogue
from gns3_minivm.documents import Document, read_document

LOCAL_NAME = "minivm.yml"
_HINT = "docs/use/catalogue.md lists the keys and their values."


def find_catalogue(folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """The catalogue to use when none is named: minivm.yml in the working directory, else the user's own.

    Raises ConfigError if there is neither.
    """
    values = os.environ if environment is None else environment
    base = Path(values.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    places = ((folder or Path()) / LOCAL_NAME, base / "gns3-minivm" / "catalogue.yml")
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(
        f"no catalogue is named, and neither {places[0]} nor {places[1]} exists",
        hint="Name one: `gns3-minivm sync FILE`. docs/use/catalogue.md shows what is in it.",
    )


def read_catalogue(path: Path) -> Catalogue:
    """Read a catalogue.  Raises ConfigError."""
    document = read_document(path, what="a catalogue")
    if "path" in document.values:
        raise document.error(("path",), "unknown key 'path'", hint=_HINT)
    document.values["path"] = path
    catalogue = document.read_as(Catalogue, hint=_HINT)
    _check_servers(catalogue, document)
    return catalogue


def _check_servers(catalogue: Catalogue, document: Document) -> None:
    for number, appliance in enumerate(catalogue.appliances):
        for place, server in enumerate(appliance.servers or ()):
            if server not in catalogue.servers:
                raise document.error(
                    ("appliances", number, "servers", place),
                    f"there is no server named {server!r}",
                    hint=f"The catalogue's servers are {', '.join(catalogue.servers)}.",
                )
    for server in catalogue.servers:
        seen: dict[str, int] = {}
        for number, appliance in enumerate(catalogue.appliances):
            if appliance.servers is not None and server not in appliance.servers:
                continue
            key = appliance.name or appliance.source
            if key in seen:
                raise document.error(
                    ("appliances", number),
                    f"{key!r} appears twice for the server {server!r}",
                    hint="Give one of them another name, or assign it to other servers.",
                )
            seen[key] = number
