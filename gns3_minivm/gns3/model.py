"""What a GNS3 server holds, in our words: the same for API v2 and v3.

Texts that GNS3 takes from a fixed list (``adapter_type``, ``status`` ...) are plain strings here: servers may know more
of them than we do.  What we send is checked by the models in ``v2/`` and ``v3/``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gns3_minivm.base.architecture import X86_64

LOCAL_COMPUTE = "local"
"""The compute on the server itself."""
VM_COMPUTE = "vm"
"""The GNS3 VM, which runs nodes where the server itself has no QEMU (Windows, macOS)."""
SCRATCH_PROJECT = "gns3-minivm-"
"""What the names of projects begin with that we make for a moment; an id follows."""

ALWAYS_ON = frozenset({"ethernet_switch", "ethernet_hub", "cloud", "nat", "frame_relay_switch", "atm_switch"})
"""Types of nodes that run as long as their project is open, and cannot be stopped."""

ImageState = Literal["whole", "damaged", "gone"]


@dataclass(frozen=True, kw_only=True)
class ServerImage:
    """An image file as a server lists it; ``md5`` may be out of date on API v2.

    ``state`` says, where somebody has looked, whether what lies on the disk is what arrived: other bytes ("damaged"),
    or no file at all ("gone": API v3 keeps its record).  ``recorded_at`` is when API v3 made its record, by the
    server's clock.
    """

    filename: str
    size_bytes: int | None
    md5: str | None
    state: ImageState = "whole"
    recorded_at: datetime.datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Uploaded:
    """How an upload ended: the name under which the server has these bytes, and whether any were sent."""

    filename: str
    sent: bool


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where nodes run; ``version`` and ``platform`` ("linux", "win32", "darwin") are None if the server is silent."""

    compute_id: str
    name: str
    connected: bool
    version: str | None = None
    platform: str | None = None


@dataclass(frozen=True, kw_only=True)
class ComputeHealth:
    """What a compute says about itself; None is what its API does not tell.

    ``kvm`` only means that /dev/kvm is there: it may still not work.
    """

    compute: Compute
    disk_used_percent: int | None = None
    memory_free_bytes: int | None = None
    kvm: bool | None = None
    qemu_versions: tuple[str, ...] | None = None
    """Versions of its QEMU for our guests, in the order in which the server found them."""
    error: str = ""
    """Why the compute could not be asked."""


@dataclass(frozen=True)
class NodeTrial:
    """What starting QEMU on a compute has shown; None is what it has not."""

    qemu_version: str | None = None
    ubridge: bool | None = None
    fault: str = ""
    """Why it did not start, in the server's words."""


@dataclass(frozen=True)
class Rights:
    """What the logged-in user may do; ``missing`` are GNS3's names of privileges that we need."""

    username: str
    administrator: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QemuTemplate:
    """A QEMU template: GNS3's own field names, but ``ram_mb`` for its ``ram``.

    The defaults are those of a MiniVM, not GNS3's.  Image names are bare file names: absolute paths fail on remote
    computes of API v3.  A bare symbol name ("router") means that symbol of the classic theme.
    """

    template_id: str
    name: str
    category: str = "guest"
    symbol: str = ":/symbols/classic/computer.svg"
    default_name_format: str = "{name}-{0}"
    usage: str = ""
    ram_mb: int = 256
    cpus: int = 1
    adapters: int = 1
    adapter_type: str = "virtio-net-pci"
    port_name_format: str = "eth{0}"
    first_port_name: str = ""
    console_type: str = "telnet"
    on_close: str = "shutdown_signal"
    hda_disk_image: str = ""
    hda_disk_interface: str = "virtio"
    hdb_disk_image: str = ""
    hdb_disk_interface: str = "none"
    kernel_image: str = ""
    initrd: str = ""
    kernel_command_line: str = ""
    options: str = ""
    linked_clone: bool = True
    platform: str = X86_64.qemu
    compute_id: str | None = LOCAL_COMPUTE
    version: str = ""
    """The version of what the template is of; only for people, and kept by servers that ``have_template_versions``."""

    def __post_init__(self) -> None:
        # API v3 replaces a bare name by its current theme's file, so that what is read back would differ.
        if re.fullmatch(r"[A-Za-z0-9_]+", self.symbol):
            object.__setattr__(self, "symbol", f":/symbols/classic/{self.symbol}.svg")


IMAGE_FIELDS = ("hda_disk_image", "hdb_disk_image", "kernel_image", "initrd")
"""The fields of a template that name image files."""
CREATE_ONLY_FIELDS = frozenset({"template_id", "compute_id"})
"""Fields that an update never sends: ids stay, and API v2 ignores another compute."""


@dataclass(frozen=True, kw_only=True)
class ServerTemplate:
    """Any template on a server; ``values`` is None where it is not a QEMU template."""

    template_id: str
    name: str
    template_type: str
    builtin: bool
    values: QemuTemplate | None


@dataclass(frozen=True)
class Project:
    """``variables`` are texts that belong to the project; GNS3 shows them to people."""

    project_id: str
    name: str
    status: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    project_id: str
    snapshot_id: str
    name: str


@dataclass(frozen=True)
class ImageUse:
    """Something on a server that names an image file: "template debian-minivm", "node pc-1 of project lab"."""

    filename: str
    user: str
    template_id: str = ""
    """Set where it is a template."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """One network port of a node: its name on the canvas and its place in links."""

    name: str
    adapter: int
    port: int
    mac_address: str | None
    short_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Node:
    """``console_host`` can be connected to from here; ``properties`` are GNS3's own, by their own names."""

    project_id: str
    node_id: str
    name: str
    node_type: str
    status: str
    compute_id: str
    template_id: str | None
    console_host: str
    console_port: int | None
    ports: tuple[Port, ...]
    properties: Mapping[str, Any] = field(repr=False)
    x: int = 0
    y: int = 0
    symbol: str = ""
    label: Mapping[str, Any] = field(default_factory=dict, repr=False)
    console_type: str = ""

    @property
    def image_md5s(self) -> dict[str, str]:
        """The md5 of each image that the node was made with, by the template's field: what its compute really has.

        A compute that has another file of the same name uses that one without a word, so compare.
        """
        found = {name: self.properties.get(f"{name}_md5sum") for name in IMAGE_FIELDS}
        return {name: md5 for name, md5 in found.items() if isinstance(md5, str) and md5}


@dataclass(frozen=True)
class LinkEnd:
    """``label`` is what stands beside it; it does not count when ends are compared."""

    node_id: str
    adapter: int
    port: int = 0
    label: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Link:
    """``filters`` and ``style`` are GNS3's own, by their own names."""

    project_id: str
    link_id: str
    ends: tuple[LinkEnd, ...]
    filters: Mapping[str, Any] = field(default_factory=dict)
    style: Mapping[str, Any] = field(default_factory=dict)
    suspended: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Something on the canvas: SVG, and where it is."""

    drawing_id: str
    svg: str
    x: int
    y: int
    z: int = 0
    rotation: int = 0
