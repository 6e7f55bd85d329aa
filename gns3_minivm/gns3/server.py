"""One GNS3 server in our words: the interface that everything above ``gns3/`` uses, the same for API v2 and v3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gns3_minivm.gns3.model import (
    LOCAL_COMPUTE,
    Compute,
    ComputeHealth,
    Drawing,
    ImageUse,
    Link,
    LinkEnd,
    Node,
    NodeTrial,
    Project,
    QemuTemplate,
    Rights,
    ServerImage,
    ServerTemplate,
    Snapshot,
)

Progress = Callable[[int], None]


def no_progress(amount: int) -> None:
    """For callers that show none."""


@dataclass(frozen=True)
class Uploaded:
    """How an upload ended: the name under which the server has these bytes, and whether any were sent."""

    filename: str
    sent: bool


class Server(ABC):
    """A connected server; made by ``detect.connect``, to be closed (or used with ``async with``).

    Every method raises ServerError's subclasses, with the server's own words, and UsageError for values that the
    server's API does not take.
    """

    generation: int
    """2 or 3, for people to read; what a server can do is asked for by the attributes below."""
    version: str
    url: str
    warnings: tuple[str, ...]
    """What the user should know about this server, such as a default password."""
    one_name_per_content: bool
    """Whether the server refuses the same bytes under a second name."""
    can_read_images: bool
    """Whether ``image_bytes`` works."""
    images_per_compute: bool
    """Whether ``images`` lists a compute's own files, and not those of the whole server."""
    can_delete_images: bool
    """Whether ``delete_image`` works."""
    have_template_versions: bool
    """Whether templates have a ``version``."""
    one_link_at_a_time: bool
    """Whether two links that are made at once may get the same UDP port, so that their nodes do not start."""
    newest_project_revision: int | None
    """The newest revision of project files that the server opens, where that is known."""

    @abstractmethod
    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Images

    @abstractmethod
    async def images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
        """All QEMU images, without the left-overs of interrupted uploads."""

    @abstractmethod
    async def upload_image(
        self,
        source: Path,
        filename: str,
        size_bytes: int,
        md5: str,
        progress: Progress = no_progress,
        *,
        compute_id: str = LOCAL_COMPUTE,
        replace: bool = False,
        distrusted: Collection[str] = (),
    ) -> Uploaded:
        """Bring a file to the server and check that what lies there is what was sent.

        Nothing is sent if it is there already; an image with other bytes under this name is a ConflictError and is
        left alone, unless ``replace`` says that it is damaged, whatever the server says of it, and that nothing uses it.
        The same content under another name is taken where the server wants it so (``Uploaded.filename``), but for names
        that are ``distrusted``: those have other bytes than the server says.  Raises UploadError if what arrived is not
        what was sent.
        """

    @abstractmethod
    async def image_md5(self, filename: str, compute_id: str = LOCAL_COMPUTE) -> str | None:
        """The md5 of what really lies on the server's disk, or None where that cannot be found out.

        Slow: the server hashes or sends the whole file.
        """

    @abstractmethod
    def image_bytes(self, filename: str) -> AsyncIterator[bytes]:
        """An image's content; UnsupportedServerError where the API does not give it."""

    @abstractmethod
    async def disk_images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
        """What lies in a compute's folder of QEMU images, whatever the server's database says.

        Slow at the first time: the compute hashes every file once, and remembers that.
        """

    @abstractmethod
    async def delete_image(self, filename: str) -> None:
        """Delete an image file from the server; UnsupportedServerError where the API has no way to.

        The server itself only looks whether a template uses it as a disk or kernel: prove first that nothing does.
        """

    @abstractmethod
    async def image_uses(self, filenames: Collection[str]) -> list[ImageUse]:
        """Which templates, and which nodes of any project, open or closed, name one of these image files.

        Snapshots are not looked into.  Complete only if ``rights().administrator``.
        """

    # Health

    @abstractmethod
    async def rights(self) -> Rights:
        """What the user may do; asks for things that are refused either way, so that nothing is changed."""

    @abstractmethod
    async def raw_images_allowed(self) -> bool | None:
        """Whether kernels and initial RAM disks can be uploaded; None if that cannot be found out.  Changes nothing."""

    @abstractmethod
    async def qemu_versions(self, compute_id: str = LOCAL_COMPUTE) -> tuple[str, ...] | None:
        """Versions of a compute's qemu-system-x86_64; None where the API does not tell."""

    @abstractmethod
    async def compute_health(self) -> list[ComputeHealth]:
        """What each compute says about itself."""

    @abstractmethod
    async def try_node(self, compute_id: str = LOCAL_COMPUTE) -> NodeTrial:
        """Start QEMU for a moment, only to print its version, in a project that is made for it and deleted."""

    # Templates

    @abstractmethod
    async def templates(self) -> list[ServerTemplate]:
        """All templates, also the built-in ones and those of other emulators."""

    @abstractmethod
    async def template(self, template_id: str) -> ServerTemplate | None:
        """One template, or None."""

    @abstractmethod
    def check_template(self, template: QemuTemplate) -> None:
        """Raise UsageError if the server's API would not take this template, before anything is sent."""

    @abstractmethod
    async def create_template(self, template: QemuTemplate) -> ServerTemplate:
        """Create a template with our own id.

        If one of this id exists meanwhile (another agent was faster), that one is returned as it is.
        """

    @abstractmethod
    async def update_template(self, template_id: str, changes: Mapping[str, Any]) -> ServerTemplate:
        """Change some fields (QemuTemplate's names) of a template; ids and the compute cannot be changed."""

    @abstractmethod
    async def delete_template(self, template_id: str) -> None:
        """Take a template away; images and nodes stay as they are."""

    # Symbols

    @abstractmethod
    async def symbol(self, name: str) -> bytes:
        """The picture that the server shows under this name; for a name that it does not have, a picture of its own."""

    @abstractmethod
    async def upload_symbol(self, name: str, content: bytes) -> None:
        """Give the server a picture; one of the same name is replaced.  There is no way to delete it."""

    # Labs

    @abstractmethod
    async def computes(self) -> list[Compute]:
        """Where nodes can run; "local" comes first if the server runs nodes itself."""

    @abstractmethod
    async def default_compute(self) -> str:
        """Where MiniVMs run if nobody says otherwise: "local", or "vm" where "local" has no QEMU (Windows, macOS)."""

    @abstractmethod
    async def projects(self) -> list[Project]: ...

    @abstractmethod
    async def create_project(self, name: str, *, variables: Mapping[str, str] | None = None) -> Project:
        """Create and open a project that stays open when nobody looks at it."""

    @abstractmethod
    async def project(self, project_id: str) -> Project:
        """One project, with its variables."""

    @abstractmethod
    async def project_size(self, project_id: str) -> tuple[int, int]:
        """How many nodes and links a project has; cheap, and answered while it is being opened."""

    @abstractmethod
    async def update_project(self, project_id: str, *, variables: Mapping[str, str] | None = None) -> Project:
        """Set the variables, all of them at once; and let the project stay open when nobody looks at it."""

    @abstractmethod
    async def open_project(self, project_id: str) -> Project:
        """Open a project: its nodes are made on their computes, which may take long."""

    @abstractmethod
    async def snapshots(self, project_id: str) -> list[Snapshot]: ...

    @abstractmethod
    def export_project(
        self, project_id: str, *, with_images: bool = False, with_snapshots: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """A project as GNS3's portable archive: a zip file whose members are not compressed.

        Initial RAM disks are never in it.  ConflictError if a node runs.
        """

    @abstractmethod
    def export_images(self, filenames: Sequence[str], compute_id: str = LOCAL_COMPUTE) -> AsyncGenerator[bytes, None]:
        """A portable archive that holds these image files, by way of a project that is made for it and deleted.

        Works on both APIs and for every compute.  ConflictError if one of them is not there.
        """

    @abstractmethod
    async def import_project(
        self, project_id: str, source: Path, size_bytes: int, progress: Progress = no_progress, *, name: str = ""
    ) -> Project:
        """Make a new project with this id from a portable archive; the server chooses another name if it is taken."""

    @abstractmethod
    async def close_project(self, project_id: str) -> None:
        """Stop the project's nodes and close it."""

    @abstractmethod
    async def delete_project(self, project_id: str) -> None: ...

    @abstractmethod
    async def nodes(self, project_id: str) -> list[Node]:
        """All nodes; answers also while a node is being stopped."""

    @abstractmethod
    async def node(self, project_id: str, node_id: str) -> Node:
        """One node; waits while another request to this node is under way."""

    @abstractmethod
    async def node_settings(self, project_id: str, node_id: str) -> Mapping[str, Any]:
        """A node of any kind as the server has it, by GNS3's names."""

    @abstractmethod
    async def create_node(
        self,
        project_id: str,
        template_id: str,
        *,
        name: str | None = None,
        x: int = 0,
        y: int = 0,
        compute_id: str | None = None,
    ) -> Node:
        """Make a node from a template; without ``name`` the server makes one up.

        ``compute_id`` has no effect on API v2 where the template names a compute.
        """

    @abstractmethod
    async def template_settings(self, template_id: str) -> Mapping[str, Any]:
        """A template of any kind as the server has it, by GNS3's names."""

    @abstractmethod
    async def update_node(
        self,
        project_id: str,
        node_id: str,
        *,
        name: str | None = None,
        properties: Mapping[str, Any] | None = None,
        x: int | None = None,
        y: int | None = None,
        symbol: str | None = None,
        label: Mapping[str, Any] | None = None,
        node_type: str = "qemu",
    ) -> Node:
        """Rename a stopped node, or change some of its properties (GNS3's names), effective at the next start.

        Place, symbol and label (GNS3's names) can always be changed.  The properties of a node of another ``node_type``
        are not checked here.
        """

    @abstractmethod
    async def start_node(self, project_id: str, node_id: str, *, watch_s: float = 4) -> Node:
        """Start a node and watch it for ``watch_s``: that it was started does not mean that it runs.

        Raises NodeError with the end of its qemu.log if it has ended by then.
        """

    @abstractmethod
    async def stop_node(self, project_id: str, node_id: str) -> Node:
        """Stop a node in the way its ``on_close`` says; may take two minutes."""

    @abstractmethod
    async def delete_node(self, project_id: str, node_id: str) -> None: ...

    @abstractmethod
    async def read_node_file(self, project_id: str, node_id: str, path: str) -> bytes:
        """A file of the node's directory on its compute (not of the guest's disk)."""

    @abstractmethod
    async def write_node_file(self, project_id: str, node_id: str, path: str, data: bytes) -> None:
        """Put a file into the node's directory, which is QEMU's working directory."""

    @abstractmethod
    async def node_log(self, project_id: str, node_id: str) -> str:
        """The node's qemu.log: its command line and what QEMU said; empty if there is none yet."""

    @abstractmethod
    async def links(self, project_id: str) -> list[Link]: ...

    @abstractmethod
    async def create_link(
        self,
        project_id: str,
        ends: Sequence[LinkEnd],
        *,
        filters: Mapping[str, Any] | None = None,
        style: Mapping[str, Any] | None = None,
        suspended: bool = False,
    ) -> Link:
        """Connect two ports."""

    @abstractmethod
    async def update_link(
        self,
        project_id: str,
        link_id: str,
        *,
        filters: Mapping[str, Any] | None = None,
        style: Mapping[str, Any] | None = None,
        suspended: bool | None = None,
    ) -> Link:
        """Change what is given of a link."""

    @abstractmethod
    async def delete_link(self, project_id: str, link_id: str) -> None: ...

    @abstractmethod
    async def drawings(self, project_id: str) -> list[Drawing]: ...

    @abstractmethod
    async def create_drawing(
        self, project_id: str, svg: str, *, x: int, y: int, z: int = 0, rotation: int = 0
    ) -> Drawing:
        """Put a picture on the canvas."""

    @abstractmethod
    async def delete_drawing(self, project_id: str, drawing_id: str) -> None: ...
