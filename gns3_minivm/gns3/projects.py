"""Projects: list, make, open, close, and GNS3's portable archives (.gns3project)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.base.events import Progress, no_progress
from gns3_minivm.gns3 import messages, replies
from gns3_minivm.gns3.messages import checked
from gns3_minivm.gns3.model import LOCAL_COMPUTE, SCRATCH_PROJECT, Project, Snapshot
from gns3_minivm.gns3.routes import Routes


class ProjectRoutes(Routes):
    """The projects of a server."""

    newest_project_revision: int | None
    """The newest revision of project files that the server opens, where that is known."""

    async def projects(self) -> list[Project]:
        return [replies.project(item) for item in await self._list("/projects", "list the projects")]

    async def create_project(
        self, name: str, *, project_id: str | None = None, variables: Mapping[str, str] | None = None
    ) -> Project:
        """Create and open a project that stays open when nobody looks at it; without an id the server chooses one."""
        values: dict[str, Any] = {"name": name, "auto_close": False}
        if project_id is not None:
            values["project_id"] = project_id
        if variables is not None:
            values |= {"variables": _as_list(variables), "show_interface_labels": True}
        body = checked(messages.ProjectCreate, values, f"project {name!r}")
        return replies.project(await self._object("POST", "/projects", f"create the project {name!r}", body))

    async def project(self, project_id: str) -> Project:
        """One project, with its variables."""
        path = f"/projects/{quote(project_id)}"
        return replies.project(await self._object("GET", path, f"read the project {project_id}"))

    async def project_size(self, project_id: str) -> tuple[int, int]:
        """How many nodes and links a project has; cheap, and answered while it is being opened."""
        path = f"/projects/{quote(project_id)}/stats"
        answer = await self._object("GET", path, f"ask how large the project {project_id} is")
        return int(answer.get("nodes") or 0), int(answer.get("links") or 0)

    async def update_project(self, project_id: str, *, variables: Mapping[str, str] | None = None) -> Project:
        """Set the variables, all of them at once; and let the project stay open when nobody looks at it."""
        values: dict[str, Any] = {"auto_close": False}
        if variables is not None:
            values["variables"] = _as_list(variables)
        body = checked(messages.ProjectUpdate, values, f"project {project_id}")
        path = f"/projects/{quote(project_id)}"
        return replies.project(await self._object("PUT", path, f"update the project {project_id}", body))

    async def close_project(self, project_id: str) -> None:
        """Stop the project's nodes and close it."""
        path = f"/projects/{quote(project_id)}/close"
        await self._command("POST", path, f"close the project {project_id}", {}, timeout_s=self._node_s)

    async def delete_project(self, project_id: str) -> None:
        path = f"/projects/{quote(project_id)}"
        await self._command("DELETE", path, f"delete the project {project_id}", timeout_s=self._node_s)

    async def open_project(self, project_id: str) -> Project:
        """Open a project: its nodes are made on their computes, which may take long."""
        path = f"/projects/{quote(project_id)}/open"
        # The controller may first copy images to computes, and hash them.
        answer = await self._object(
            "POST", path, f"open the project {project_id}", {}, timeout_s=self._transport.limits.creation_s
        )
        return replies.project(answer)

    async def snapshots(self, project_id: str) -> list[Snapshot]:
        action = f"list the snapshots of project {project_id}"
        found = await self._list(f"/projects/{quote(project_id)}/snapshots", action)
        return [replies.snapshot(item, project_id) for item in found]

    async def export_project(
        self, project_id: str, *, with_images: bool = False, with_snapshots: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """A project as GNS3's portable archive: a zip file whose members are not compressed.

        Initial RAM disks are never in it.  ConflictError if a node runs.
        """
        # API v3's own default is zstd, which Python's zipfile cannot read.
        params = {"compression": "none"}
        params |= {"include_images": "yes"} if with_images else {}
        params |= {"include_snapshots": "yes"} if with_snapshots else {}
        path = f"{self._prefix}/projects/{quote(project_id)}/export"
        download = self._transport.download(path, f"export the project {project_id}", params=params)
        async with aclosing(download) as chunks:
            async for chunk in chunks:
                yield chunk

    async def export_images(
        self, filenames: Sequence[str], compute_id: str = LOCAL_COMPUTE
    ) -> AsyncGenerator[bytes, None]:
        """A portable archive that holds these image files, by way of a project that is made for it and deleted.

        Works on both APIs and for every compute.  ConflictError if one of them is not there.
        """
        async with self.scratch_project() as project:
            for number, filename in enumerate(filenames, 1):
                # As a kernel: GNS3 exports every property that ends in "image", and does not look into the file.
                body = {"node_type": "qemu", "name": f"image-{number}", "compute_id": compute_id,
                        "properties": {"kernel_image": filename, "platform": X86_64.qemu}}  # fmt: skip
                path = f"/projects/{quote(project.project_id)}/nodes"
                await self._command(
                    "POST", path, f"read the image {filename}", body, timeout_s=self._transport.limits.creation_s
                )
            async with aclosing(self.export_project(project.project_id, with_images=True)) as archive:
                async for chunk in archive:
                    yield chunk

    @asynccontextmanager
    async def scratch_project(self) -> AsyncIterator[Project]:
        """A project of our own for the time of the block.

        It is deleted however the block ends.  If the server does not delete it, ``doctor`` reports it;
        the result of the work in it matters more.
        """
        project = await self.create_project(f"{SCRATCH_PROJECT}{uuid.uuid4()}")
        try:
            yield project
        finally:
            with suppress(MiniVMError):
                # Also if the caller is cancelled a second time meanwhile.
                await asyncio.shield(self.delete_project(project.project_id))

    async def import_project(
        self, project_id: str, source: Path, size_bytes: int, progress: Progress = no_progress, *, name: str = ""
    ) -> Project:
        """Make a new project with this id from a portable archive; the server chooses another name if it is taken."""
        path = f"{self._prefix}/projects/{quote(project_id)}/import"
        params = {"name": name} if name else None
        answer = await self._transport.upload(path, "import the project", source, size_bytes, progress, params=params)
        return replies.project(self._transport.decoded(answer, "import the project"))


def _as_list(variables: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]
