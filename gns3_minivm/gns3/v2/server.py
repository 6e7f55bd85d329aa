"""A GNS3 server of API v2 (2.2.x).

Images go through the controller's ``/v2/computes/{id}/qemu/images``, which reaches local and remote computes with one
set of credentials.  API v2 has no route that deletes an image, overwrites without asking, and leaves ``NAME.tmp`` behind
after an interrupted upload.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from urllib.parse import quote

from gns3_minivm.errors import ConflictError, ConnectError, ServerError, UnsupportedServerError
from gns3_minivm.gns3 import replies
from gns3_minivm.gns3.model import LOCAL_COMPUTE, Compute, Rights, ServerImage
from gns3_minivm.gns3.rest import RestServer
from gns3_minivm.gns3.server import Progress, Uploaded, no_progress
from gns3_minivm.gns3.v2 import messages


class ServerV2(RestServer):
    generation = 2
    one_name_per_content = False
    can_read_images = True
    images_per_compute = True
    can_delete_images = False
    have_template_versions = False
    one_link_at_a_time = False
    newest_project_revision = 9
    template_model = messages.TemplateCreate

    async def images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
        return await self._listed_by_compute(compute_id, "list the images")

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
        async with self._upload_lock(compute_id, filename):
            existing = await self._find(filename, compute_id)
            if existing is not None and not replace:
                if await self._is(existing, size_bytes, md5, compute_id):
                    return Uploaded(filename, sent=False)
                raise self._other_content(existing, size_bytes, md5)
            # The name was free, or what had it is not wanted, so another try replaces only what the first one left.
            for attempt in itertools.count(1):
                broken = await self._send(source, filename, size_bytes, compute_id, progress)
                arrived = await self._arrived(filename, compute_id, broken)
                if arrived is not None and await self._is(arrived, size_bytes, md5, compute_id):
                    return Uploaded(filename, sent=True)
                if broken is not None:
                    await self._pause(attempt, broken)
                elif attempt > 1:
                    raise self._not_as_sent(filename, size_bytes, md5, arrived)
            raise AssertionError  # the count has no end

    async def image_md5(self, filename: str, compute_id: str = LOCAL_COMPUTE) -> str | None:
        if compute_id != LOCAL_COMPUTE:
            return None
        digest = hashlib.md5(usedforsecurity=False)
        async for chunk in self.image_bytes(filename):
            digest.update(chunk)
        return digest.hexdigest()

    async def image_bytes(self, filename: str) -> AsyncIterator[bytes]:
        # The controller has no such route; this one is the compute inside the same server.
        path = f"/v2/compute/qemu/images/{quote(filename)}"
        async for chunk in self._transport.download(path, f"read the image {filename}"):
            yield chunk

    async def disk_images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
        return await self.images(compute_id)

    async def delete_image(self, filename: str) -> None:
        raise UnsupportedServerError(
            f"{self.url}: image {filename} cannot be deleted: API v2 has no way to",
            hint="Delete it in the folder images/QEMU on the server (and on its computes).",
        )

    async def rights(self) -> Rights:
        # Whoever is let in may do everything.
        return Rights(self._transport.address.username or "", administrator=True)

    async def raw_images_allowed(self) -> bool | None:
        return True

    async def qemu_versions(self, compute_id: str = LOCAL_COMPUTE) -> tuple[str, ...] | None:
        path = f"/computes/{quote(compute_id)}/qemu/binaries"
        found = await self._list(path, "list the QEMU programs", timeout_s=self._node_s)
        ours = [item for item in found if str(item.get("path", "")).endswith(("qemu-system-x86_64", "x86_64w.exe"))]
        return tuple(dict.fromkeys(str(item.get("version", "")) for item in ours))

    async def computes(self) -> list[Compute]:
        computes = [replies.compute(item) for item in await self._list("/computes", "list the computes")]
        return sorted(computes, key=lambda compute: compute.compute_id != LOCAL_COMPUTE)

    async def _find(self, filename: str, compute_id: str) -> ServerImage | None:
        return next((image for image in await self.images(compute_id) if image.filename == filename), None)

    async def _is(self, image: ServerImage, size_bytes: int, md5: str, compute_id: str) -> bool:
        if image.size_bytes not in (None, size_bytes):
            return False
        if image.md5 == md5:
            return True
        # The listed checksum goes stale whenever a file changes behind the server's back.
        return await self.image_md5(image.filename, compute_id) == md5

    async def _arrived(self, filename: str, compute_id: str, broken: ServerError | None) -> ServerImage | None:
        try:
            return await self._find(filename, compute_id)
        except ServerError as error:
            # What went wrong first says more.
            raise broken or error from None

    async def _send(
        self, source: Path, filename: str, size_bytes: int, compute_id: str, progress: Progress
    ) -> ConnectError | None:
        """Send a file; returned is the error of a connection that broke, perhaps after all had arrived."""
        path = f"/v2/computes/{quote(compute_id)}/qemu/images/{quote(filename)}"
        try:
            await self._transport.upload(path, f"upload {filename}", source, size_bytes, progress)
        except ConnectError as error:
            return error
        except ConflictError as error:
            # Another agent may be sending the same file: one of the two gets this answer, and the file is there.
            arrived = await self._arrived(filename, compute_id, error)
            if arrived is None or arrived.size_bytes != size_bytes:
                raise
        return None
