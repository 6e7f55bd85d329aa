"""Carries a plan out: the only part that changes a lab on a server.

Several requests run at once.  A failure at one node or link does not stop the others; a lost server stops all.  What
was done stays, and is recognised by the next run, which does the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gns3_minivm.base.bounded import bounded_map
from gns3_minivm.base.errors import (
    ConfigError,
    ConnectError,
    LoginError,
    MiniVMError,
    NodeError,
    ServerError,
    UsageError,
)
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.model import ALWAYS_ON, LinkEnd, Node
from gns3_minivm.gns3.server import Server
from gns3_minivm.labs.canvas.drawings import DesiredDrawing
from gns3_minivm.labs.desired import DesiredNode, payload_of
from gns3_minivm.labs.plan import PAYLOAD, LabPlan, NodePlan
from gns3_minivm.labs.plan_links import LinkPlan, new_ends, stated_ends
from gns3_minivm.labs.state import HALF_MADE, mark

Job = tuple[str, Callable[[], Awaitable[None]]]
"""What it is about ("node r1"), and the work."""
STARTS_AT_ONCE = 4


@dataclass
class Applied:
    """The outcome of a plan: the nodes that exist, by name, and the errors, by what they concern."""

    nodes: dict[str, Node] = field(default_factory=dict)
    errors: dict[str, MiniVMError] = field(default_factory=dict)
    gone: MiniVMError | None = None
    """Why the server was given up."""


async def apply(server: Server, plan: LabPlan, project_id: str, events: Events, *, at_once: int = 8) -> Applied:
    """Make a project as the plan says, and start its nodes; errors of single nodes and links are in the result."""
    work = _Work(server, plan, project_id, events, at_once)
    try:
        await work.make()
        await work.start()
    except _ServerIsGone:
        pass
    return work.done


class _ServerIsGone(Exception):
    """Ends the work; the reason is in the result."""


class _Work:
    def __init__(self, server: Server, plan: LabPlan, project_id: str, events: Events, at_once: int) -> None:
        self._server = server
        self._plan = plan
        self._project = project_id
        self._events = events
        self._at_once = at_once
        self.done = Applied({item.name: item.current for item in plan.node_plans("keep", "update") if item.current})
        self._failed: set[str] = set()

    async def make(self) -> None:
        """Everything but starting nodes."""
        plan = self._plan
        wanted = {item.name: item.current.node_id if item.current else "" for item in plan.nodes}
        if not plan.marked and any(not item.desired or item.verb != "keep" for item in plan.nodes):
            # Before anything is made, so that the next run knows what is the lab's even if this one ends here.
            await self._mark(wanted)
        await self._each("Remove links", [
            (f"link {item.text}", partial(self._delete_link, item)) for item in plan.links
            if item.verb == "delete"
        ])  # fmt: skip
        await self._each(
            "Remove nodes", [self._node_job(item, self._delete) for item in plan.node_plans("delete", "replace")]
        )
        made = list(plan.node_plans("create", "replace"))
        await self._each("Make nodes", [self._node_job(item, self._create) for item in made])
        changed = list(plan.node_plans("update"))
        await self._each("Change nodes", [self._node_job(item, self._change) for item in changed])
        at_once = 1 if self._server.one_link_at_a_time else None
        await self._each("Make links", self._link_jobs(), at_once=at_once)
        await self._each("Change links", [
            (f"link {item.text}", partial(self._change_link, item)) for item in plan.links
            if item.verb == "update"
        ])  # fmt: skip
        await self._draw()
        if not plan.marked or made:
            names = [item.name for item in plan.nodes if item.desired is not None]
            await self._mark({name: self.done.nodes[name].node_id if name in self.done.nodes else "" for name in names})

    async def start(self) -> None:
        """Start the nodes that should run but do not."""
        starting = [item for item in self._plan.nodes if item.start and item.name in self.done.nodes]
        jobs = [self._node_job(item, self._start) for item in starting if item.name not in self._failed
                and self.done.nodes[item.name].node_type not in ALWAYS_ON]  # fmt: skip
        await self._each("Start nodes", jobs, at_once=STARTS_AT_ONCE)
        # The server gives its helpers ten seconds each, which several starts at once may exceed where it is busy.
        late = [about for about, error in self.done.errors.items() if _is_late(error)]
        self._failed -= {about.removeprefix("node ") for about in late}
        for about in late:
            del self.done.errors[about]
        await self._each("Start nodes again", [job for job in jobs if job[0] in late], at_once=1)

    async def _mark(self, nodes: dict[str, str]) -> None:
        project = self._plan.project
        others = dict(project.variables) if project is not None else {}
        variables = {**others, **mark(self._plan.lab.name, self._project, nodes)}
        try:
            await self._server.update_project(self._project, variables=variables)
        except ServerError as error:
            self._give_up(error)

    def _node_job(self, item: NodePlan, work: Callable[[NodePlan], Awaitable[None]]) -> Job:
        async def guarded() -> None:
            if item.name in self._failed:
                return
            try:
                await work(item)
            except MiniVMError:
                self._failed.add(item.name)
                raise

        return f"node {item.name}", guarded

    async def _each(self, title: str, jobs: Sequence[Job], *, at_once: int | None = None) -> None:
        """Do all jobs, a few at a time; their errors are kept."""
        if not jobs:
            return
        with self._events.step(title, total=len(jobs)) as step:

            async def one(job: Job) -> None:
                if self.done.gone is None:
                    await self._guarded(*job)
                    step.advance(1)

            await bounded_map(one, jobs, at_once=at_once or self._at_once)
            if self.done.gone is not None:
                step.detail = "the server is gone"
        if self.done.gone is not None:
            raise _ServerIsGone

    async def _guarded(self, about: str, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except (ConnectError, LoginError) as error:
            self.done.gone = error
            self.done.errors[about] = error
        except MiniVMError as error:
            self.done.errors[about] = error

    def _give_up(self, error: MiniVMError) -> None:
        self.done.gone = error
        raise _ServerIsGone

    # Nodes

    async def _delete(self, item: NodePlan) -> None:
        assert item.current is not None
        await self._server.delete_node(self._project, item.current.node_id)

    async def _create(self, item: NodePlan) -> None:
        desired = item.desired
        assert desired is not None
        x, y = HALF_MADE
        node = await self._server.create_node(
            self._project, desired.template_id, x=x, y=y, compute_id=desired.compute_id
        )
        try:
            self.done.nodes[item.name] = await self._settle(desired, node)
        except BaseException:
            # Without its name it would be nobody's.
            await asyncio.shield(self._discard(node))
            raise

    async def _settle(self, desired: DesiredNode, node: Node) -> Node:
        """Give a new node its name, its settings and its place, at once."""
        if desired.payload:
            await self._hand_over(desired, node)
        x, y = desired.place
        label = desired.file.label
        settled = await self._server.update_node(
            self._project,
            node.node_id,
            name=desired.name,
            properties=_differing(desired.properties, node) or None,
            x=x,
            y=y,
            symbol=desired.file.symbol,
            label=None if label is None else {**node.label, **label.model_dump()},
            node_type=_checked_as(desired, node),
        )
        if settled.name != desired.name:
            raise UsageError(
                f"node {desired.name}: the server calls it {settled.name!r}; the project has another node of this name",
                hint="Rename that node, or the lab's.",
            )
        return settled

    async def _discard(self, node: Node) -> None:
        try:
            await self._server.delete_node(self._project, node.node_id)
        except ServerError:
            pass  # the next run does it: it knows the place where such nodes stand

    async def _change(self, item: NodePlan) -> None:
        desired, node = item.desired, item.current
        assert desired is not None and node is not None
        if item.restart:
            # Changed only while it is stopped: then a running node always runs with what it is said to have.
            await self._server.stop_node(self._project, node.node_id)
        if PAYLOAD in item.changes and desired.payload:
            await self._hand_over(desired, node)
        values = {key: desired.properties[key] for key in item.changes if key in desired.properties}
        if PAYLOAD in item.changes:
            values["options"] = desired.properties["options"]
        x, y = item.appearance.get("position", (None, (None, None)))[1]
        label = item.appearance.get("label", (None, None))[1]
        self.done.nodes[item.name] = await self._server.update_node(
            self._project,
            node.node_id,
            name=desired.name if "name" in item.changes else None,
            properties=values or None,
            x=x,
            y=y,
            symbol=item.appearance.get("symbol", (None, None))[1],
            label=None if label is None else {**node.label, **label},
            node_type=_checked_as(desired, node),
        )
        if PAYLOAD in item.changes and (old := payload_of(node)):
            # It may hold secrets and be large; files cannot be deleted there.
            await self._server.write_node_file(self._project, node.node_id, old, b"")

    async def _hand_over(self, desired: DesiredNode, node: Node) -> None:
        await self._server.write_node_file(self._project, node.node_id, desired.payload_name, desired.payload)

    async def _start(self, item: NodePlan) -> None:
        node = self.done.nodes[item.name]
        try:
            # What becomes of it is seen when its console is waited for.
            self.done.nodes[item.name] = await self._server.start_node(self._project, node.node_id, watch_s=0)
        except NodeError:
            await self._halt(node)
            raise

    async def _halt(self, node: Node) -> None:
        """End what has started of a node: if QEMU's helpers fail, QEMU itself runs on without console and network."""
        with suppress(ServerError):
            now = await self._server.node(self._project, node.node_id)
            on_close = now.properties.get("on_close")
            if now.status == "stopped" or now.node_type != "qemu":
                return
            # A guest that has hardly begun to boot does not hear the power button.
            await self._set(node, {"on_close": "power_off"})
            try:
                await self._server.stop_node(self._project, node.node_id)
            finally:
                await self._set(node, {"on_close": on_close})

    async def _set(self, node: Node, properties: dict[str, Any]) -> None:
        await self._server.update_node(self._project, node.node_id, properties=properties)

    # Links and drawings

    def _link_jobs(self) -> list[Job]:
        """Ports are chosen before the first link is made, so that no two want the same."""
        plan = self._plan
        minivms = {item.name for item in plan.nodes if item.desired is not None and item.desired.is_minivm}
        kept = [item.current for item in plan.links if item.verb in ("keep", "update") and item.current is not None]
        taken = {end for link in kept for end in link.ends}
        taken |= stated_ends(plan.lab.links, self.done.nodes, minivms)
        jobs: list[Job] = []
        for item in (item for item in plan.links if item.verb == "create"):
            assert item.file is not None
            about = f"link {item.text}"
            missing = [end.node for end in item.file.ends if end.node not in self.done.nodes]
            if missing:
                continue  # that the node is not there is told already
            try:
                ends = new_ends(item.file, self.done.nodes, minivms, taken)
            except UsageError as error:
                place = plan.lab.at("links", plan.lab.links.index(item.file))
                self.done.errors[about] = ConfigError(f"{place}: {error.message}", hint=error.hint)
                continue
            taken |= set(ends)
            jobs.append((about, partial(self._create_link, item, ends)))
        return jobs

    async def _create_link(self, item: LinkPlan, ends: tuple[LinkEnd, LinkEnd]) -> None:
        file = item.file
        assert file is not None
        await self._server.create_link(
            self._project,
            ends,
            filters=file.filters.as_gns3() if file.filters is not None else None,
            style=file.style.as_gns3() if file.style is not None else None,
            suspended=bool(file.suspend),
        )

    async def _change_link(self, item: LinkPlan) -> None:
        assert item.current is not None
        new: dict[str, Any] = {key: value for key, (_, value) in item.changes.items()}
        style = {**item.current.style, **new["style"]} if "style" in new else None
        await self._server.update_link(
            self._project, item.current.link_id, filters=new.get("filters"), style=style, suspended=new.get("suspend")
        )

    async def _delete_link(self, item: LinkPlan) -> None:
        assert item.current is not None
        await self._server.delete_link(self._project, item.current.link_id)

    async def _draw(self) -> None:
        jobs: list[Job] = []
        for number, old in enumerate(self._plan.erased, 1):
            jobs.append((f"old drawing {number}", partial(self._server.delete_drawing, self._project, old.drawing_id)))
        for number, new in enumerate(self._plan.drawings, 1):
            jobs.append((f"drawing {number}", partial(self._draw_one, new)))
        await self._each("Draw", jobs)

    async def _draw_one(self, drawing: DesiredDrawing) -> None:
        await self._server.create_drawing(
            self._project, drawing.svg, x=drawing.x, y=drawing.y, z=drawing.z, rotation=drawing.rotation
        )


def _is_late(error: MiniVMError) -> bool:
    return isinstance(error, NodeError) and "hypervisor" in error.message


def _checked_as(desired: DesiredNode, node: Node) -> str:
    """Only what we know of is checked before it is sent; the file's author is responsible for the rest."""
    return node.node_type if desired.is_minivm else "other"


def _differing(wanted: Any, node: Node) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if node.properties.get(key) != value}
