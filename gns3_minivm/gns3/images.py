"""Images: what a server lists, what lies on its computes' disks, and who names them.

The two APIs keep images in different ways; what each does is in ``v2`` and ``v3``.
"""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.errors import ConflictError, ConnectError, ForbiddenError, NotFoundError
from gns3_minivm.base.events import Progress, no_progress
from gns3_minivm.gns3 import replies
from gns3_minivm.gns3.model import LOCAL_COMPUTE, ImageUse, ServerImage, Uploaded
from gns3_minivm.gns3.routes import Routes

_VANISHED_WAITS_S = (0.2, 0.5, 1.0, 2.0)


class ImageRoutes(Routes):
    """The QEMU images of a server."""

    one_name_per_content: bool
    """Whether the server refuses the same bytes under a second name."""
    can_read_images: bool
    """Whether ``image_bytes`` works."""
    images_per_compute: bool
    """Whether ``images`` lists a compute's own files, and not those of the whole server."""
    can_delete_images: bool
    """Whether ``delete_image`` works."""

    @abstractmethod
    async def images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
        """All QEMU images, without the leftovers of interrupted uploads."""

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

        Nothing is sent if it is there already; an image of this name with other bytes is a ConflictError and is left
        alone, unless ``replace`` says that it is damaged, whatever the server says of it, and that nothing uses it.
        The same content under another name is taken where the server wants it so (``Uploaded.filename``), but for names
        that are ``distrusted``: those have other bytes than the server says.  Raises UploadError if what arrived is not
        what was sent.
        """

    @abstractmethod
    async def image_md5(self, filename: str, compute_id: str = LOCAL_COMPUTE) -> str | None:
        """The md5 of what really lies on the server's disk, or None if that cannot be found out.

        Slow: the server hashes or sends the whole file.
        """

    @abstractmethod
    def image_bytes(self, filename: str) -> AsyncIterator[bytes]:
        """An image's content; UnsupportedServerError if the API does not offer it."""

    @abstractmethod
    async def delete_image(self, filename: str) -> None:
        """Delete an image file from the server; UnsupportedServerError if the API cannot delete.

        The server itself only looks whether a template uses it as a disk or kernel: prove first that nothing does.
        """

    @abstractmethod
    async def raw_images_allowed(self) -> bool | None:
        """Whether kernels and initial RAM disks can be uploaded; None if unknown.  Changes nothing."""

    async def disk_images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
        """What lies in a compute's folder of QEMU images, whatever the server's database says.

        Slow at the first time: the compute hashes every file once, and remembers that.
        """
        return await self._listed_by_compute(compute_id, f"list the images of compute {compute_id}")

    async def image_uses(self, filenames: Collection[str]) -> list[ImageUse]:
        """Which templates, and which nodes of any project, open or closed, name one of these image files.

        Snapshots are not read.  Complete only if ``rights().administrator``.
        """
        uses = []
        for item in await self._list("/templates", "list the templates"):
            who = f"template {item.get('name')}"
            uses += [ImageUse(name, who, str(item.get("template_id"))) for name in _named(item, filenames)]
        for item in await self._list("/projects", "list the projects"):
            project = replies.project(item)
            path = f"/projects/{quote(project.project_id)}/nodes"
            try:
                nodes = await self._list(path, f"list the nodes of project {project.name}")
            except NotFoundError:
                continue  # deleted at this moment
            for node in nodes:
                who = f"node {node.get('name')} of project {project.name}"
                uses += [ImageUse(name, who) for name in _named(node, filenames)]
        return uses

    async def _on_disk(self, filename: str, compute_id: str = LOCAL_COMPUTE) -> ServerImage | None:
        return next((image for image in await self.disk_images(compute_id) if image.filename == filename), None)

    async def _folder(self, compute_id: str = LOCAL_COMPUTE) -> dict[str, ServerImage]:
        """What lies in a compute's folder, unfinished files too; empty where that cannot be looked at in time."""
        action = f"list the images of compute {compute_id}"
        try:
            # It may have to hash all that lies there: not worth a long wait, and there the next time.
            async with asyncio.timeout(self._transport.limits.answer_s):
                listed = await self._listed_by_compute(compute_id, action, unfinished=True)
        except (TimeoutError, ConnectError, ForbiddenError, NotFoundError):
            return {}  # also where GNS3 does not have this route any more, which 3.0.6 calls deprecated
        return {image.filename: image for image in listed}

    async def _listed_by_compute(self, compute_id: str, action: str, *, unfinished: bool = False) -> list[ServerImage]:
        """The images in a compute's folder, which may hash them first; on request with those of running uploads."""
        limit = self._transport.limits.listing_s
        path = f"/computes/{quote(compute_id)}/qemu/images"
        for wait_s in (*_VANISHED_WAITS_S, None):
            try:
                answer = await self._list(path, action, timeout_s=limit)
            except ConflictError as error:
                # The temporary file of another agent's upload went away while it was looked at.
                if wait_s is None or "No such file" not in error.message:
                    raise
                await asyncio.sleep(wait_s)
                continue
            images = [replies.image_v2(item) for item in answer]
            return [image for image in images if unfinished or not image.filename.endswith(".tmp")]
        raise AssertionError  # the last turn returns or raises


def _named(item: Mapping[str, Any], filenames: Collection[str]) -> Iterable[str]:
    # Wherever in it: also in a field that we do not know, a path, or the options for QEMU.
    text = json.dumps(item)
    return [filename for filename in filenames if filename in text]
