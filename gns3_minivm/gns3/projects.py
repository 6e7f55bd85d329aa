"""Projects: list, make, open, close, and GNS3's portable archives (.gns3project)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.errors import ServerError
from gns3_minivm.gns3 import messages, replies
from gns3_minivm.gns3.messages import checked
from gns3_minivm.gns3.model import LOCAL_COMPUTE, SCRATCH_PROJECT, Project, Snapshot
from gns3_minivm.gns3.routes import Routes
from gns3_minivm.gns3.server import Progress, no_progress


class ProjectRoutes(Routes):
    """Routes that both APIs have alike."""

    async def projects(self) -> list[Project]:
        return [replies.project(item) for item in await self._list("/projects", "list the projects")]

    async def create_project(self, name: str, *, variables: Mapping[str, str] | None = None) -> Project:
        values: dict[str, Any] = {"name": name, "auto_close": False}
        if variables is not None:
            values |= {"variables": _as_list(variables), "show_interface_labels": True}
        body = checked(messages.ProjectCreate, values, f"project {name!r}")
        return replies.project(await self._object("POST", "/projects", f"create the project {name!r}", body))

    async def project(self, project_id: str) -> Project:
        path = f"/projects/{quote(project_id)}"
        return replies.project(await self._object("GET", path, f"read the project {project_id}"))

    async def project_size(self, project_id: str) -> tuple[int, int]:
        path = f"/projects/{quote(project_id)}/stats"
        answer = await self._object("GET", path, f"ask how large the project {project_id} is")
        return int(answer.get("nodes") or 0), int(answer.get("links") or 0)

    async def update_project(self, project_id: str, *, variables: Mapping[str, str] | None = None) -> Project:
        values: dict[str, Any] = {"auto_close": False}
        if variables is not None:
            values["variables"] = _as_list(variables)
        body = checked(messages.ProjectUpdate, values, f"project {project_id}")
        path = f"/projects/{quote(project_id)}"
        return replies.project(await self._object("PUT", path, f"update the project {project_id}", body))

    async def close_project(self, project_id: str) -> None:
        path = f"/projects/{quote(project_id)}/close"
        await self._command("POST", path, f"close the project {project_id}", {}, timeout_s=self._node_s)

    async def delete_project(self, project_id: str) -> None:
        path = f"/projects/{quote(project_id)}"
        await self._command("DELETE", path, f"delete the project {project_id}", timeout_s=self._node_s)

    async def open_project(self, project_id: str) -> Project:
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
        project = await self.create_project(f"{SCRATCH_PROJECT}{uuid.uuid4()}")
        try:
            for number, filename in enumerate(filenames, 1):
                # As a kernel: GNS3 exports every property that ends in "image", and does not look into the file.
                body = {"node_type": "qemu", "name": f"image-{number}", "compute_id": compute_id,
                        "properties": {"kernel_image": filename, "platform": "x86_64"}}  # fmt: skip
                path = f"/projects/{quote(project.project_id)}/nodes"
                await self._command(
                    "POST", path, f"read the image {filename}", body, timeout_s=self._transport.limits.creation_s
                )
            async with aclosing(self.export_project(project.project_id, with_images=True)) as archive:
                async for chunk in archive:
                    yield chunk
        except BaseException:
            await self._discard(project.project_id)
            raise
        await self.delete_project(project.project_id)

    async def _discard(self, project_id: str) -> None:
        """Delete a project after a failure, which is what shall be told."""
        try:
            await self.delete_project(project_id)
        except ServerError:
            pass

    async def import_project(
        self, project_id: str, source: Path, size_bytes: int, progress: Progress = no_progress, *, name: str = ""
    ) -> Project:
        path = f"{self._prefix}/projects/{quote(project_id)}/import"
        params = {"name": name} if name else None
        answer = await self._transport.upload(path, "import the project", source, size_bytes, progress, params=params)
        return replies.project(self._transport.decoded(answer, "import the project"))


def _as_list(variables: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]
