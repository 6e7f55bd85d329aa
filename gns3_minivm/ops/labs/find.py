"""Finds the lab and the node that are meant, and the way to the node's guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import NodeError, NotFoundError, UsageError
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.console import open_console
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import Node, Project
from gns3_minivm.gns3.server import Server
from gns3_minivm.guest.exec import GuestExec
from gns3_minivm.labs.containerlab.read import LabFile, read_lab_or_topology
from gns3_minivm.labs.state import is_lab
from gns3_minivm.ops.project import only_project

FILES = ("lab.yml", "lab.yaml")
"""The names of the default lab file."""


def default_lab() -> str:
    """The lab file of this folder.  Raises UsageError if there is none, or several topologies."""
    found = [name for name in FILES if Path(name).is_file()]
    found = found or sorted(str(path) for path in Path().glob("*.clab.y*ml"))
    if len(found) == 1 or found[:1] == [FILES[0]]:
        return found[0]
    said = f"there are several topologies here: {', '.join(found)}" if found else f"there is no {FILES[0]} here"
    raise UsageError(f"no lab is named, and {said}", hint="Name a lab file, or a project, with --lab.")


def is_file(lab: str) -> bool:
    """Whether a file is meant: it is there, or looks like one."""
    return Path(lab).is_file() or lab.endswith((".yml", ".yaml"))


async def read(lab: str) -> LabFile:
    """The lab file.  Raises ConfigError, UsageError if it is not a file but a project."""
    if not is_file(lab):
        raise UsageError(f"{lab!r} is not a lab file", hint="Name a file, as in lab.yml.")
    return await run_blocking(read_lab_or_topology, Path(lab))


async def find_lab(server: Server, lab: str) -> Project:
    """The project of a lab: named by its file, or by name or id.  Raises ConfigError, NotFoundError, ConflictError."""
    name = (await read(lab)).lab.name if is_file(lab) else lab
    projects = await server.projects()
    found = [one for one in projects if is_lab(one, name) and one.name == name]
    found = found or [one for one in projects if name in (one.name, one.project_id)]
    found = found or [one for one in projects if is_lab(one, name)]
    return only_project(server, projects, found, f"lab or project {name!r}", "Create it with `gns3-minivm lab up`. ")


async def project_of(address: Address, lab: str) -> Project:
    """``find_lab`` for those who have no connection."""
    async with await connect(address) as server:
        return await find_lab(server, lab)


async def find_node(server: Server, project: Project, name: str) -> Node:
    """A node of a project by its name or id.  Raises NotFoundError."""
    nodes = await server.nodes(project.project_id)
    for node in nodes:
        if name in (node.name, node.node_id):
            return node
    # Names of containerlab may have underscores.
    for node in nodes:
        if node.name == name.replace("_", "-"):
            return node
    known = ", ".join(sorted(node.name for node in nodes)) or "none"
    raise NotFoundError(f"the project {project.name!r} has no node {name!r}", hint=f"Its nodes are: {known}.")


def console_of(node: Node) -> tuple[str, int]:
    """Where a node's console is.  Raises NodeError if it does not run, UsageError if it has none that is telnet."""
    if node.console_type not in ("telnet", ""):
        has = "no console" if node.console_type == "none" else f"a {node.console_type} console, not a telnet one"
        raise UsageError(f"node {node.name} ({node.node_type}) has {has}", hint="Open it in GNS3 instead.")
    if node.status != "started":
        raise NodeError(
            f"node {node.name} is {node.status}: it has a console only while it runs",
            hint="Start it: `gns3-minivm lab up`.",
        )
    if node.console_port is None:
        raise UsageError(f"node {node.name} ({node.node_type}) has no console", hint="Open it in GNS3 instead.")
    return node.console_host, node.console_port


@asynccontextmanager
async def commands_in(node: Node) -> AsyncIterator[GuestExec]:
    """A running MiniVM, for commands.  Raises as ``console_of``, ConnectError."""
    if node.node_type != "qemu":
        raise UsageError(
            f"node {node.name} ({node.node_type}) is not a MiniVM: commands run in MiniVMs only",
            hint=f"Type into it: `gns3-minivm lab console {node.name}`.",
        )
    host, port = console_of(node)
    async with open_console(host, port, node=node.name) as console, GuestExec(console, console) as commands:
        yield commands
