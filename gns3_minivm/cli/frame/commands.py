"""The command group; each command calls one function of ``ops`` and shows what it returns."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping

import click

from gns3_minivm import __version__

# A command's module is loaded when it is asked for: all of them together take longer than many a command.
_PLACES = {
    "register": "servers:register",
    "sync": "sync:sync",
    "status": "sync:status",
    "remove": "sync:remove",
    "doctor": "doctor:doctor",
    "lab": "labs.lab:lab",
    "project": "project:project",
    "export": "gns3a:export_appliances",
    "import": "gns3a:import_appliance",
    "list": "servers:list_appliances",
    "new": "appliances:new",
    "convert": "images:convert",
    "boot": "images:boot",
    "inspect": "inspect:inspect",
    "server": "servers:server",
    "engine": "servers:engine",
    "kernel": "kernels:kernel",
    "cache": "cache:cache",
}


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name."""

    def __init__(self) -> None:
        self._places: dict[str, str | click.Command] = dict(_PLACES)

    def __getitem__(self, name: str) -> click.Command:
        found = self._places[name]
        if isinstance(found, str):
            module, _, attribute = found.partition(":")
            found = self._places[name] = getattr(importlib.import_module(f"gns3_minivm.cli.{module}"), attribute)
            assert isinstance(found, click.Command)
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._places[name] = command

    def __delitem__(self, name: str) -> None:
        del self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@click.group(commands=_Commands(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gns3-minivm")
def cli() -> None:
    """Docker images as small, persistent QEMU machines on GNS3 servers."""
