"""The table of template settings: each field of ``TemplateSettings`` is a row.

A new setting is a field here, and the place that uses it: ``ops.templates.template`` for one that is worked into other
fields of the template, ``labs.desired`` for one that a node of a lab may have of its own.  The command line's options,
the keys of catalogues, lab files and appliance manifests with their checks, the fields that GNS3 gets, and the tables
in the documents follow from the row.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, Self

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import UsageError
from gns3_minivm.guest import contract as guest

Place = Literal["option", "catalogue", "lab", "manifest"]
"""Where a setting can be written: as an option of the command line, or as a key of one of three files."""
_EVERYWHERE: tuple[Place, ...] = ("option", "catalogue", "lab", "manifest")
_FILES: tuple[Place, ...] = ("catalogue", "manifest")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_KEY = "row"
_GNS3_ADAPTERS = (
    "e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "i82550", "i82551", "i82557a", "i82557b", "i82557c",
    "i82558a", "i82558b", "i82559a", "i82559b", "i82559c", "i82559er", "i82562", "i82801", "igb", "ne2k_pci", "pcnet",
    "rocker", "rtl8139", "virtio", "virtio-net-pci", "vmxnet3",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """A setting.  ``name`` is its word in files and in Python; the option is ``--name``, with hyphens.

    ``default`` is what a template gets by default, None where it follows from the image.  ``field`` is
    the field of ``gns3.model.QemuTemplate`` that it fills, "" for one that is worked into others; ``gns3`` is that
    field's name in both of GNS3's APIs, and ``gns3_minimum`` and ``gns3_choices`` are what these take where it is more:
    templates that come from elsewhere have it.  A user's setting (``is_users``) may be changed in GNS3, and then stays,
    unless it is stated.  ``check`` raises ValueError.
    """

    name: str
    kind: type
    help: str
    places: tuple[Place, ...]
    default: Any = None
    usually: str = ""
    """The default in words, where ``default`` does not say it."""
    unit: str = ""
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    field: str = ""
    gns3: str = ""
    gns3_minimum: int | None = None
    gns3_choices: tuple[str, ...] = ()
    is_users: bool = True
    check: Callable[[str], str] | None = None


def _row(help: str, places: tuple[Place, ...], **values: Any) -> Any:
    if values.get("field"):
        values.setdefault("gns3", values["field"])
    return field(default=None, metadata={_KEY: {"help": help, "places": places, **values}})


def _node_names(value: str) -> str:
    name = value.replace("{name}", "n").replace("{0}", "1").replace("{id}", "1")
    if not {"{0}", "{id}"} & set(re.findall(r"{\w+}", value)) or not _HOST_NAME.fullmatch(name):
        raise ValueError(
            'must hold "{0}" and be a host name according to RFC 1123 (letters, digits, "-"), such as debian-{0}'
        )
    return value


def _kernel_words(value: str) -> str:
    try:
        guest.kernel_command_line(value)
    except UsageError as error:
        raise ValueError(error.message) from error
    return value


@dataclass(frozen=True, kw_only=True)
class TemplateSettings:
    """Settings that replace an appliance's; None leaves one to the appliance, else to its default.

    What is stated is kept up; what is not is the user's to change once the template exists.
    """

    ram: int | None = _row(
        "Memory.",
        _EVERYWHERE,
        unit="MB",
        minimum=32,
        maximum=1 << 20,
        default=256,
        field="ram_mb",
        gns3="ram",
        gns3_minimum=1,
    )
    cpus: int | None = _row("Virtual CPUs.", _EVERYWHERE, minimum=1, maximum=255, default=1, field="cpus")
    adapters: int | None = _row("Network adapters.", _EVERYWHERE, minimum=0, maximum=275, default=1, field="adapters")
    kernel_args: str | None = _row(
        "Words for the end of the kernel command line (kernel/CONTRACT.md lists them).",
        _EVERYWHERE,
        unit="WORDS",
        default="",
        usually="none",
        check=_kernel_words,
    )
    machine: str | None = _row(
        "QEMU's machine type.",
        _EVERYWHERE,
        choices=X86_64.machines,
        default=X86_64.machines[0],
        is_users=False,
    )
    module_disk: bool | None = _row(
        "Attach the disk with all kernel modules, if the kernel has modules.",
        _EVERYWHERE,
        default=True,
        is_users=False,
    )
    category: str | None = _row(
        "The place in GNS3's list of devices.",
        _FILES,
        choices=("guest", "router", "switch", "firewall"),
        default="guest",
        field="category",
    )
    symbol: str | None = _row(
        'A symbol that servers have, as in ":/symbols/classic/router.svg".',
        _FILES,
        default=":/symbols/classic/computer.svg",
        usually="a computer",
        field="symbol",
    )
    default_name_format: str | None = _row(
        "Names of new nodes, as in `web-{0}`: host names.",
        _FILES,
        usually="the name, then `-{0}`",
        field="default_name_format",
        check=_node_names,
    )
    usage: str | None = _row(
        "The text that GNS3 shows with the template.", _FILES, default="", usually="none", field="usage"
    )
    compute: str | None = _row(
        "The compute that runs the nodes of a new template.", ("catalogue",), usually="the server's", is_users=False
    )
    adapter_type: str | None = _row(
        "The kind of the adapters; the only one that every kernel bundle supports.",
        ("manifest",),
        choices=("virtio-net-pci",),
        default="virtio-net-pci",
        gns3_choices=_GNS3_ADAPTERS,
        field="adapter_type",
        is_users=False,
    )
    port_name_format: str | None = _row(
        "Names of the ports.", ("manifest",), default="eth{0}", field="port_name_format"
    )
    first_port_name: str | None = _row(
        "Name of the first port, if it differs.",
        ("manifest",),
        default="",
        usually="like the others",
        field="first_port_name",
    )

    @classmethod
    def of(cls, values: object) -> Self:
        """The settings among the attributes of a value, such as an appliance's manifest or an entry of a catalogue."""
        return cls(**{row.name: getattr(values, row.name, None) for row in rows()})

    def over(self, other: Self) -> Self:
        """These settings, with those of ``other`` where nothing is said here."""
        pairs = ((row.name, getattr(self, row.name), getattr(other, row.name)) for row in rows())
        return type(self)(**{name: there if here is None else here for name, here, there in pairs})

    @property
    def fields(self) -> dict[str, Any]:
        """What fills fields of ``QemuTemplate`` as it is, by these fields' names; nothing for what is None."""
        pairs = ((row.field, getattr(self, row.name)) for row in rows() if row.field)
        return {name: value for name, value in pairs if value is not None}


@cache
def rows(place: Place | None = None) -> tuple[Row, ...]:
    """The rows of the table, in its order; with ``place`` those that can be written there."""
    hints = typing.get_type_hints(TemplateSettings)
    found = []
    for item in dataclasses.fields(TemplateSettings):
        kind = next(kind for kind in typing.get_args(hints[item.name]) if kind is not type(None))
        found.append(Row(name=item.name, kind=kind, **item.metadata[_KEY]))
    return tuple(row for row in found if place is None or place in row.places)


@cache
def usual() -> TemplateSettings:
    """The settings that a template gets by default."""
    return TemplateSettings(**{row.name: row.default for row in rows()})


@cache
def users_fields() -> frozenset[str]:
    """The fields of ``QemuTemplate`` that people may change in GNS3."""
    return frozenset(row.field for row in rows() if row.field and row.is_users)


@cache
def gns3_names() -> Mapping[str, str]:
    """The names in GNS3's APIs of those fields of ``QemuTemplate`` that have another one there."""
    return MappingProxyType({row.field: row.gns3 for row in rows() if row.field != row.gns3})
