"""A running lab as an inventory for Ansible or Nornir: pure, rows in, text out.

Ansible: the YAML inventory of ansible-core (plugin ``yaml``).  Nornir: a host file of its SimpleInventory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gns3_minivm.documents import yaml_text

Format = Literal["ansible", "nornir"]

_NETMIKO_TELNET = "generic_telnet"


@dataclass(frozen=True, kw_only=True)
class InventoryHost:
    """A node.  ``address`` is where it can be reached over a network, "" if it has none."""

    name: str
    group: str
    address: str
    console_host: str
    console_port: int | None
    node_id: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """The hosts of a lab, and the server and project that they are in."""

    server: str
    project: str
    project_id: str
    hosts: Sequence[InventoryHost] = field(default_factory=tuple)

    def text(self, form: Format) -> str:
        """The inventory as a file of the tool."""
        return yaml_text(self._ansible() if form == "ansible" else self._nornir())

    def as_dict(self, form: Format) -> dict[str, Any]:
        return {"format": form, "inventory": self._ansible() if form == "ansible" else self._nornir()}

    def _ansible(self) -> dict[str, Any]:
        groups: dict[str, Any] = {}
        for host in self.hosts:
            values: dict[str, Any] = {"ansible_host": host.address} if host.address else {}
            groups.setdefault(group_name(host.group), {"hosts": {}})["hosts"][host.name] = {**values, **_facts(host)}
        variables = {"gns3_server": self.server, "gns3_project": self.project, "gns3_project_id": self.project_id}
        return {"all": {"vars": variables, "children": groups}}

    def _nornir(self) -> dict[str, Any]:
        hosts: dict[str, Any] = {}
        for host in self.hosts:
            entry: dict[str, Any] = {"hostname": host.address or host.console_host, "platform": "linux"}
            entry["data"] = {
                "group": host.group,
                "gns3_server": self.server,
                "gns3_project": self.project,
                **_facts(host),
            }
            if host.console_port is not None:
                entry["connection_options"] = {
                    "netmiko": {
                        "hostname": host.console_host,
                        "port": host.console_port,
                        "platform": _NETMIKO_TELNET,
                    }
                }
            hosts[host.name] = entry
        return hosts


def _facts(host: InventoryHost) -> dict[str, Any]:
    facts: dict[str, Any] = {"gns3_node_id": host.node_id}
    if host.console_port is not None:
        facts |= {"gns3_console_host": host.console_host, "gns3_console_port": host.console_port}
    if host.addresses:
        facts["addresses"] = list(host.addresses)
    return facts


def group_name(text: str) -> str:
    """A name that Ansible takes for a group: letters, digits and underscores."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text) or "nodes"
    return f"_{name}" if name[0].isdigit() else name
