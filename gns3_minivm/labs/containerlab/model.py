"""What a containerlab topology file may hold, and what a node inherits.

https://containerlab.dev/manual/topo-def-file/ and .../manual/nodes/ describe the format.  Only supported keys have a
field; others are kept in ``model_extra``, so that they can be listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Level = Literal["defaults", "kinds", "groups", "nodes"]


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _as_definition(value: Any) -> Any:
    return {} if value is None else value


def _as_list(value: Any) -> Any:
    return [] if value is None else value


Text = Annotated[str, BeforeValidator(_as_text)]
Texts = Annotated[list[Text], BeforeValidator(_as_list)]
Map = Annotated[dict[str, Text], BeforeValidator(_as_definition)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, populate_by_name=False)


class DnsConfig(_Part):
    servers: Texts = Field(default_factory=list)


class NodeDefinition(_Part):
    """A node, or what nodes inherit from defaults, their kind, or their group."""

    kind: Text | None = None
    group: Text | None = None
    type: Text | None = None
    image: Text | None = None
    entrypoint: Text | None = None
    cmd: Text | None = None
    exec: Texts = Field(default_factory=list)
    binds: Texts = Field(default_factory=list)
    env: Map = Field(default_factory=dict)
    env_files: Texts = Field(default_factory=list, alias="env-files")
    user: Text | None = None
    labels: Map = Field(default_factory=dict)
    sysctls: Map = Field(default_factory=dict)
    dns: DnsConfig | None = None
    memory: Text | None = None
    cpu: float | int | None = None
    network_mode: Text | None = Field(default=None, alias="network-mode")


Definition = Annotated[NodeDefinition, BeforeValidator(_as_definition)]


class ClabEndpoint(_Part):
    """An end of a link in the long form."""

    node: Text
    interface: Text = ""
    mac: Text | None = None
    ipv4: Text | None = None
    ipv6: Text | None = None


def _as_endpoint(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    node, colon, interface = value.partition(":")
    if not colon or not node or not interface:
        raise ValueError("should be NODE:INTERFACE")
    return {"node": node, "interface": interface}


class LinkDefinition(_Part):
    """A link; without ``type`` the short form, whose ends are NODE:INTERFACE."""

    type: Text | None = None
    endpoints: list[Annotated[ClabEndpoint, BeforeValidator(_as_endpoint)]] = Field(default_factory=list)
    endpoint: ClabEndpoint | None = None
    mtu: Annotated[int, Field(ge=68, le=65535)] | None = None


class Topology(_Part):
    defaults: Definition = Field(default_factory=NodeDefinition)
    kinds: dict[str, Definition] = Field(default_factory=dict)
    groups: dict[str, Definition] = Field(default_factory=dict)
    nodes: dict[Text, Definition] = Field(default_factory=dict)
    links: Annotated[list[LinkDefinition], BeforeValidator(_as_list)] = Field(default_factory=list)


class TopologyFile(_Part):
    name: Text
    topology: Topology


def kind_of(topology: Topology, name: str) -> str:
    """The kind of a node: its own, its group's, that of the defaults' group, the defaults'; "" without any."""
    node, defaults = topology.nodes[name], topology.defaults
    groups = [topology.groups.get(group) for group in (node.group, defaults.group) if group]
    found = [node.kind, *(group.kind for group in groups if group), defaults.kind]
    return next((kind for kind in found if kind), "")


def group_of(topology: Topology, name: str) -> str:
    kind = topology.kinds.get(kind_of(topology, name))
    found = [topology.nodes[name].group, kind.group if kind else None, topology.defaults.group]
    return next((group for group in found if group), "")


def inherited(topology: Topology, name: str) -> NodeDefinition:
    """A node with all that it inherits: from defaults, then its kind, then its group, the more special one counting.

    Variables, labels and kernel settings are merged, commands and binds add up.
    """
    levels = [
        topology.defaults,
        topology.kinds.get(kind_of(topology, name)),
        topology.groups.get(group_of(topology, name)),
    ]
    parts = [level for level in levels if level is not None] + [topology.nodes[name]]
    return NodeDefinition.model_validate(
        {
            "kind": kind_of(topology, name) or None,
            "group": group_of(topology, name) or None,
            **{key: _last(getattr(part, key.replace("-", "_")) for part in parts) for key in _SINGLE},
            **{
                key: {k: v for part in parts for k, v in getattr(part, key).items()}
                for key in ("env", "labels", "sysctls")
            },
            **{key: [item for part in parts for item in getattr(part, key.replace("-", "_"))] for key in _LISTS},
            "dns": _last(part.dns for part in parts),
        }
    )


_SINGLE = ("type", "image", "entrypoint", "cmd", "user", "memory", "cpu", "network-mode")
_LISTS = ("exec", "binds", "env-files")


def _last(values: Iterable[Any]) -> Any:
    """The most special value that is given; containerlab takes an empty text for none."""
    return next((value for value in reversed(list(values)) if value not in (None, "")), None)
