"""Makes a large lab in one go, as a project file that the server opens (``labs.project_file``)."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import ConflictError, ConnectError, LoginError, MiniVMError, ServerError
from gns3_minivm.base.events import Events, Step
from gns3_minivm.gns3.model import LOCAL_COMPUTE, Node, Project
from gns3_minivm.gns3.server import Server
from gns3_minivm.labs.canvas.drawings import DesiredDrawing
from gns3_minivm.labs.desired import DesiredNode
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.project_file import fits, project_file
from gns3_minivm.labs.state import mark

SMALLEST = 12
"""Nodes and links; fewer are made one by one, in about the same time."""
_POLL_S = 1.0


async def make_at_once(
    server: Server, lab: Lab, desired: Sequence[DesiredNode], drawings: Sequence[DesiredDrawing], events: Events
) -> Project | None:
    """Make the project with all nodes that fit into a file; None where that is not worth it, or not possible.

    Whatever is not as it should be afterwards, the plan finds.  Nothing is left if it fails.
    """
    nodes = [item for item in desired if fits(item)]
    if len(nodes) + len(lab.links) < SMALLEST or not nodes or not await _only_local(server, lab):
        return None
    try:
        with events.step(f"Make the project {lab.name}", total=len(nodes) + len(lab.links)) as step:
            return await _make(server, lab, nodes, drawings, step)
    except ServerError as error:
        if isinstance(error, ConflictError) and lab.name in error.message:
            raise
        events.warn(f"{lab.name} could not be created in one go ({error.message}); its nodes are created one by one")
        return None


async def _only_local(server: Server, lab: Lab) -> bool:
    """Whether the server would run all nodes itself: an import spreads them over its computes."""
    asked = {lab.compute_of(name) for name in lab.nodes} - {None, LOCAL_COMPUTE}
    return not asked and [compute.compute_id for compute in await server.computes()] == [LOCAL_COMPUTE]


async def _make(
    server: Server, lab: Lab, nodes: Sequence[DesiredNode], drawings: Sequence[DesiredDrawing], step: Step
) -> Project:
    samples = await _samples(server, nodes)
    # What the server refuses now is told when its nodes are made one by one.
    nodes = [item for item in nodes if item.template_id in samples]
    project_id = str(uuid.uuid4())
    data = await run_blocking(
        project_file, lab, nodes, samples, drawings,
        variables=mark(lab.name, project_id, dict.fromkeys(lab.nodes, "")),
        version=server.version, revision=server.newest_project_revision,
    )  # fmt: skip
    try:
        project = await _import(server, project_id, data, lab.name)
        if project.name != lab.name:
            raise ConflictError(
                f"{server.url}: a project named {lab.name!r} was created by somebody else at the same time",
                hint="Run the command again.",
            )
        watch = asyncio.create_task(_watch(server, project_id, step))
        try:
            await server.open_project(project_id)
        finally:
            watch.cancel()
        # That it stays open when nobody looks at it is said with the mark, once the nodes' ids are known.
        return await server.project(project_id)
    except BaseException:
        with suppress(MiniVMError):
            await asyncio.shield(server.delete_project(project_id))
        raise


async def _import(server: Server, project_id: str, data: bytes, name: str) -> Project:
    with tempfile.TemporaryDirectory(prefix="gns3-minivm-") as folder:
        path = Path(folder) / "lab.gns3project"
        await run_blocking(path.write_bytes, data)
        return await server.import_project(project_id, path, len(data), name=name)


async def _watch(server: Server, project_id: str, step: Step) -> None:
    """Tell how far the server has come."""
    told = 0
    while True:
        await asyncio.sleep(_POLL_S)
        with suppress(MiniVMError):
            done = sum(await server.project_size(project_id))
            step.advance(max(0, done - told))
            told = max(told, done)


async def _samples(server: Server, nodes: Sequence[DesiredNode]) -> dict[str, tuple[Node, Mapping[str, Any]]]:
    """A node of each template, and the same in the server's words; nothing of templates of which it makes none."""
    async with server.scratch_project() as project:
        found: dict[str, tuple[Node, Mapping[str, Any]]] = {}
        for template_id, compute_id in {item.template_id: item.compute_id for item in nodes}.items():
            try:
                node = await server.create_node(project.project_id, template_id, compute_id=compute_id)
            except ServerError as error:
                if isinstance(error, ConnectError | LoginError):
                    raise
                continue
            found[template_id] = (node, await server.node_settings(project.project_id, node.node_id))
        return found
