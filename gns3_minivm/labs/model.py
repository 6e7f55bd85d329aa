"""What a lab file may hold: the keys, their values, and their defaults.

A node's own settings (addresses, files, commands, ...) are those of ``guest_settings.NodeSettings``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    StringConstraints,
    model_validator,
)

from gns3_minivm.documents import Mark, Where
from gns3_minivm.guest.settings import NodeSettings, Texts
from gns3_minivm.guest.settings import Text as AnyText
from gns3_minivm.template_settings.keys import keys_of
from gns3_minivm.template_settings.table import TemplateSettings

SETTING_KEYS = frozenset(NodeSettings.model_fields)
"""The keys of a node that reach its guest by the payload file: only a MiniVM reads it."""
_INTERFACE = re.compile(r"eth(\d+)(?:\..*)?")


def _no_number(value: str) -> str:
    if value.isdigit():
        raise ValueError("should contain a letter: GNS3 accepts host names only (RFC 1123)")
    return value


Text = Annotated[str, Field(min_length=1)]
NodeName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"), AfterValidator(_no_number)
]
LabName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9 ._-]{0,61}[A-Za-z0-9])?$")]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]


class _Part(BaseModel):
    """Refuses unknown keys, and values of another type (``yes`` for a text, ``"2"`` for a number)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Position(_Part):
    """A place on GNS3's canvas: pixels right of and below its middle."""

    x: int
    y: int


def _as_position(value: Any) -> Any:
    return {"x": value[0], "y": value[1]} if isinstance(value, list) and len(value) == 2 else value


Place = Annotated[Position, BeforeValidator(_as_position)]


class LabLabel(_Part):
    """Where a node's name is: pixels from its symbol's corner; ``x`` None is the middle.  GNS3 shows no other text."""

    x: int | None = None
    y: int = -25
    rotation: Annotated[int, Field(ge=-359, le=360)] = 0


class LabNode(NodeSettings, keys_of("lab")):  # type: ignore[misc]
    """A node: where it comes from, how QEMU runs it (``template_settings``), what its guest is told, how GNS3 shows it.

    Exactly one of ``appliance``, ``image`` and ``template`` is set.  The template decides whatever is None.
    """

    appliance: Text | None = None
    image: Text | None = None
    template: Text | None = None
    """Name or id of any template that the server has; Ethernet switch, NAT, VPCS ... among them."""
    compute: Text | None = None
    properties: dict[str, Any] = Field(default_factory=dict)
    """GNS3's own properties of the node, by GNS3's names; for nodes of other templates."""
    position: Place | None = None
    label: LabLabel | None = None
    symbol: Text | None = None
    start: bool = True

    @model_validator(mode="after")
    def _one_origin(self) -> LabNode:
        given = [key for key in ("appliance", "image", "template") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of appliance, image and template is needed, found {found}")
        if self.properties and self.template is None:
            raise ValueError("properties are allowed with template only; MiniVMs have keys of their own")
        return self

    @property
    def source(self) -> str:
        """The appliance or image that is registered on demand; "" where the server's template is named."""
        return self.appliance or self.image or ""

    @property
    def template_settings(self) -> TemplateSettings:
        """What it says of its machine; without ``adapters`` it has as many as its links and addresses need."""
        return TemplateSettings.of(self)

    @property
    def settings(self) -> tuple[str, ...]:
        """The keys of this node that only reach a MiniVM's guest, as far as they are given."""
        return tuple(key for key in NodeSettings.model_fields if key in self.model_fields_set)


class LabEnd(_Part):
    """One end of a link; without ``interface`` any free port of the node will do."""

    node: NodeName
    interface: Text | None = None

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}" if self.interface else self.node


def _as_end(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    node, colon, interface = value.partition(":")
    return {"node": node, "interface": interface.strip()} if colon else {"node": node}


PEN_STYLES = {"solid": 1, "dashed": 2, "dotted": 3}
"""Qt's numbers, as GNS3 has them."""


class LinkStyle(_Part):
    color: Colour | None = None
    width: Annotated[int, Field(ge=1, le=50)] | None = None
    type: Literal["solid", "dashed", "dotted"] | None = None

    def as_gns3(self) -> dict[str, int | str]:
        """The style as GNS3's API has it."""
        given = {"color": self.color, "width": self.width, "type": PEN_STYLES[self.type] if self.type else None}
        return {key: value for key, value in given.items() if value is not None}


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Percent = Annotated[int, Field(ge=0, le=100)]


class LinkFilters(_Part):
    """What GNS3 does to the packets of a link, by its own names."""

    delay: Annotated[
        list[Annotated[int, Field(ge=0, le=32767)]], Field(min_length=1, max_length=2), BeforeValidator(_as_list)
    ] | None = None  # fmt: skip
    """Milliseconds, and jitter."""
    packet_loss: Percent | None = None
    corrupt: Percent | None = None
    frequency_drop: Annotated[int, Field(ge=-1, le=32767)] | None = None
    """Every such packet is dropped; -1 for all of them."""
    bpf: Text | None = None
    """Packets that this expression matches are dropped."""

    def as_gns3(self) -> dict[str, list[int | str]]:
        """The filters as GNS3's API has them; those of no effect are left out, as the server does."""
        given = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        lists = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
        return {name: values for name, values in lists.items() if values[0] != 0}


class LabLink(_Part):
    """A link between two nodes."""

    ends: Annotated[list[Annotated[LabEnd, BeforeValidator(_as_end)]], Field(min_length=2, max_length=2)]
    labels: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """What stands at each end; None: the names of the ports."""
    style: LinkStyle | None = None
    filters: LinkFilters | None = None
    suspend: bool | None = None

    def __str__(self) -> str:
        return " -- ".join(str(end) for end in self.ends)


def _as_link(value: Any) -> Any:
    return {"ends": value} if isinstance(value, list) else value


class LabTest(_Part):
    """Something that must hold in the running lab; it is tried until it does, or ``within`` seconds are over.

    ``ping`` an address, a node or NODE:INTERFACE, or ``exec`` a line for a shell or a list of words.
    """

    node: NodeName
    name: Text | None = None
    ping: Text | None = None
    exec: str | list[AnyText] | None = None
    status: Annotated[int, Field(ge=0, le=255)] | None = None
    """The exit status of ``exec``; None: 0, unless ``fails``."""
    output: Texts = Field(default_factory=list)
    """All of these texts are in its output."""
    matches: Texts = Field(default_factory=list)
    """All of these regular expressions match in its output."""
    excludes: Texts = Field(default_factory=list)
    """None of these texts is in its output."""
    fails: bool = False
    """It must not succeed: no answer to the ping, a status other than 0."""
    within: Annotated[float, Field(gt=0, le=3600)] = 60.0

    @model_validator(mode="after")
    def _one_question(self) -> LabTest:
        given = [key for key in ("ping", "exec") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of ping and exec is needed, found {' and '.join(given) or 'none'}")
        if self.ping is not None:
            for key in ("status", "output", "matches", "excludes"):
                if getattr(self, key) not in (None, []):
                    raise ValueError(f"{key} needs exec")
        elif not self.exec:
            raise ValueError("exec is empty")
        if self.fails and self.status is not None:
            raise ValueError("status and fails contradict each other; leave one of them out")
        for pattern in self.matches:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"matches: {pattern!r} is not a regular expression: {error}") from error
        return self


class LabDrawing(_Part):
    """Something to see on the canvas: a text, a rectangle, an ellipse, or SVG (in the file, or in one of its own)."""

    position: Place
    text: Text | None = None
    rectangle: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] | None = None
    ellipse: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] | None = None
    svg: Text | None = None
    source: Text | None = None
    """An SVG file, relative to the lab file."""
    color: Colour | None = None
    size: Annotated[int, Field(ge=1, le=500)] | None = None
    """Of a text, in points."""
    rotation: Annotated[int, Field(ge=-359, le=360)] = 0
    layer: Annotated[int, Field(ge=-100, le=100)] = 0

    @model_validator(mode="after")
    def _one_kind(self) -> LabDrawing:
        kinds = ("text", "rectangle", "ellipse", "svg", "source")
        given = [key for key in kinds if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(kinds)} is needed, found {' and '.join(given) or 'none'}")
        if self.size is not None and self.text is None:
            raise ValueError("size is for text only")
        return self


class Lab(_Part):
    """A lab; ``name`` is that of its project on the server."""

    name: LabName
    compute: Text | None = None
    """Where nodes run that do not say so themselves."""
    nodes: dict[NodeName, LabNode] = Field(min_length=1)
    links: list[Annotated[LabLink, BeforeValidator(_as_link)]] = Field(default_factory=list)
    drawings: list[LabDrawing] = Field(default_factory=list)
    tests: list[LabTest] = Field(default_factory=list)

    path: Path = Field(exclude=True)
    """The file; relative names in it start from its folder."""
    marks: SkipValidation[Mapping[Where, Mark]] = Field(default_factory=dict, exclude=True, repr=False)
    """Line and column of each value in it."""

    def at(self, *where: str | int) -> str:
        """``FILE:LINE:COLUMN`` of a value, or of what it is in; FILE where no more is known."""
        known = (self.marks[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self.marks)
        mark = next(known, None)
        return str(self.path) if mark is None else f"{self.path}:{mark[0]}:{mark[1]}"

    def end_at(self, link: int, side: int) -> str:
        """Where an end of a link stands: links may be a list of two, or have a key for them."""
        plain = ("links", link, side)
        return self.at(*plain) if plain in self.marks else self.at("links", link, "ends", side)

    def compute_of(self, node: str) -> str | None:
        """The compute that is asked for a node; None for the server's own choice."""
        return self.nodes[node].compute or self.compute

    def adapters_needed(self, name: str) -> int:
        """How many network adapters a MiniVM needs for the links and addresses that the file gives it."""
        used = [end.interface for link in self.links for end in link.ends if end.node == name and end.interface]
        return max((number + 1 for text in (*used, *self.nodes[name].interfaces) if (number := adapter_of(text)) >= 0),
                   default=0)  # fmt: skip


def adapter_of(interface: str) -> int:
    """The number of the adapter that a MiniVM's interface is (of ``eth1`` and ``eth1.20`` it is 1); -1 for others."""
    found = _INTERFACE.fullmatch(interface)
    return int(found[1]) if found else -1
