"""How a server's state differs from a lab file, as plain values: the same object is shown, tested and applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from gns3_minivm.gns3.model import ALWAYS_ON, Drawing, Node, Project
from gns3_minivm.labs.canvas.drawings import DesiredDrawing
from gns3_minivm.labs.desired import DesiredNode, payload_of, without_payload
from gns3_minivm.labs.model import Lab
from gns3_minivm.labs.plan_links import LinkPlan, plan_links
from gns3_minivm.labs.state import LabState

Changes = Mapping[str, tuple[Any, Any]]
"""Old and new value by GNS3's name of a property, or one of our own words."""
NodeVerb = Literal["create", "replace", "update", "delete", "keep"]
PAYLOAD = "settings"
"""What a changed payload is called among the changes."""


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """What is done about one node; ``changes`` need it stopped, ``looks`` (place, symbol, label) do not."""

    verb: NodeVerb
    name: str
    desired: DesiredNode | None = None
    current: Node | None = None
    changes: Changes = field(default_factory=dict)
    appearance: Changes = field(default_factory=dict)
    start: bool = False
    """It should run, but does not, or will not after the change."""
    leftover: bool = False
    """An earlier run was interrupted just after making it."""

    @property
    def restart(self) -> bool:
        """Whether a running node is stopped for it."""
        return self.verb in ("update", "replace") and bool(self.changes) and self.runs

    @property
    def runs(self) -> bool:
        node = self.current
        return node is not None and node.status != "stopped" and node.node_type not in ALWAYS_ON

    @property
    def destroys(self) -> bool:
        """Whether a disk with all that was written to it is lost."""
        return self.verb in ("replace", "delete") and not self.leftover


@dataclass(frozen=True, kw_only=True)
class LabPlan:
    """``foreign`` are nodes of the project that are not the lab's, and stay.

    ``drawings`` are to be made, ``erased`` to be taken away.  ``record`` is what the mark shall say of nodes that are
    there.
    """

    lab: Lab
    project: Project | None
    nodes: tuple[NodePlan, ...]
    links: tuple[LinkPlan, ...]
    drawings: tuple[DesiredDrawing, ...]
    erased: tuple[Drawing, ...]
    foreign: tuple[Node, ...]
    marked: bool

    @property
    def nothing_to_do(self) -> bool:
        """Whether the lab exists as the file says, and is running."""
        return self.in_step and not any(item.start for item in self.nodes)

    @property
    def in_step(self) -> bool:
        """Whether the lab exists as the file says, running or not."""
        nodes = all(item.verb == "keep" for item in self.nodes)
        links = all(item.verb == "keep" for item in self.links)
        return self.project is not None and self.marked and nodes and links and not self.drawings and not self.erased

    @property
    def destroyed(self) -> tuple[NodePlan, ...]:
        return tuple(item for item in self.nodes if item.destroys)

    def node_plans(self, *verbs: NodeVerb) -> Iterator[NodePlan]:
        return (item for item in self.nodes if item.verb in verbs)


def plan(
    lab: Lab,
    desired: Sequence[DesiredNode],
    state: LabState,
    drawings: Sequence[DesiredDrawing] = (),
    *,
    start: bool = True,
    refuse: bool = True,
) -> LabPlan:
    """Compare a lab with what the server has.  Raises ConfigError for a port that a node does not have.

    Without ``refuse`` such a link is among those to be created: carrying the plan out tells it then.
    """
    nodes = [_plan_node(item, state.node_of(item.name), start) for item in desired]
    wanted = {item.name for item in desired}
    gone = [
        NodePlan(verb="delete", name=name, desired=None, current=node)
        for name, node in state.ours().items()
        if name not in wanted
    ]
    there = {item.name: item for item in nodes if item.verb in ("keep", "update")}
    foreign = _foreign(state, [item.current for item in (*nodes, *gone) if item.current is not None])
    kept = {item.name: item.current for item in there.values() if item.current is not None}
    gone += [
        NodePlan(verb="delete", name=node.name, desired=None, current=node, leftover=True)
        for node in state.half_made
        if node in foreign
    ]
    foreign = tuple(node for node in foreign if node not in state.half_made)
    minivms = {item.name for item in desired if item.is_minivm}
    links = plan_links(lab, kept, minivms, state.links, {node.node_id: node.name for node in foreign}, refuse=refuse)
    new, erased = _plan_drawings(drawings, state.drawings)
    known = set(state.record) == wanted and all(
        item.current is not None and item.current.node_id.startswith(state.record.get(item.name) or "-")
        for item in nodes
    )
    return LabPlan(
        lab=lab,
        project=state.project,
        nodes=(*gone, *nodes),
        links=tuple(links),
        drawings=new,
        erased=erased,
        foreign=foreign,
        marked=known,
    )


def _plan_node(desired: DesiredNode, current: Node | None, start: bool) -> NodePlan:
    starts = start and desired.file.start
    if current is None:
        return NodePlan(verb="create", name=desired.name, desired=desired, start=starts)
    if current.template_id != desired.template_id and not _is_the_same_built_in(desired, current):
        planned = NodePlan(
            verb="replace",
            name=desired.name,
            desired=desired,
            current=current,
            changes={"template": (_known(current), desired.source)},
        )
        return replace(planned, start=starts or planned.runs)
    changes, appearance = _changes(desired, current), _appearance(desired, current)
    verb: NodeVerb = "update" if changes or appearance else "keep"
    planned = NodePlan(
        verb=verb, name=desired.name, desired=desired, current=current, changes=changes, appearance=appearance
    )
    off = current.node_type not in ALWAYS_ON and current.status != "started"
    return replace(planned, start=(starts and off) or planned.restart)


def _is_the_same_built_in(desired: DesiredNode, current: Node) -> bool:
    """Whether a node is of the built-in template of this kind, as another generation of GNS3 has it.

    Their ids are made from names (UUID version 3), others in each generation: a lab may come from another server.
    """
    template = desired.template
    if template is None or not template.builtin or current.node_type != template.template_type:
        return False
    try:
        return UUID(current.template_id or "").version == 3
    except ValueError:
        return False


def _known(node: Node) -> str:
    return f"{node.node_type} from another template"


def _changes(desired: DesiredNode, current: Node) -> Changes:
    found: dict[str, tuple[Any, Any]] = {}
    if current.name != desired.name:
        found["name"] = (current.name, desired.name)
    for key, value in desired.properties.items():
        has = current.properties.get(key)
        if key == "options":
            has, value = without_payload(str(has or "")), without_payload(str(value))
        if has != value and (has or value or isinstance(value, bool)):
            found[key] = (has, value)
    if desired.is_minivm and payload_of(current) != desired.payload_name:
        found[PAYLOAD] = (payload_of(current), desired.payload_name)
    return found


def _appearance(desired: DesiredNode, current: Node) -> Changes:
    """Differences in how a node is shown; only what the file says counts; the rest is left to people."""
    file = desired.file
    found: dict[str, tuple[Any, Any]] = {}
    if file.position is not None and (current.x, current.y) != (file.position.x, file.position.y):
        found["position"] = ((current.x, current.y), (file.position.x, file.position.y))
    if file.symbol is not None and current.symbol != file.symbol:
        found["symbol"] = (current.symbol, file.symbol)
    if file.label is not None:
        wanted = file.label.model_dump()
        has = {key: current.label.get(key) for key in wanted}
        if has != wanted:
            found["label"] = (has, wanted)
    return found


def _foreign(state: LabState, known: Sequence[Node]) -> tuple[Node, ...]:
    ids = {node.node_id for node in known}
    return tuple(node for node in state.nodes if node.node_id not in ids)


def _plan_drawings(
    desired: Sequence[DesiredDrawing], there: Sequence[Drawing]
) -> tuple[tuple[DesiredDrawing, ...], tuple[Drawing, ...]]:
    """Drawings of the lab carry its mark; one that was changed by hand has lost it, and is that person's now."""
    left = [drawing for drawing in there if DesiredDrawing.is_of_a_lab(drawing)]
    new = []
    for wanted in desired:
        same = next((drawing for drawing in left if wanted.is_drawn_as(drawing)), None)
        if same is None:
            new.append(wanted)
        else:
            left.remove(same)
    return tuple(new), tuple(left)
