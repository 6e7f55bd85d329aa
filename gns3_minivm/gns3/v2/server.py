"""A GNS3 server of API v2 (2.2.x).

Images go through the controller's ``/v2/computes/{id}/qemu/images``, which reaches local and remote computes with one
set of credentials.  API v2 has no route that deletes an image, overwrites without asking, and leaves ``NAME.tmp``
behind after an interrupted upload.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from urllib.parse import quote

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ConflictError, ConnectError, ServerError, UnsupportedServerError
from gns3_minivm.base.events import Progress, no_progress
from gns3_minivm.gns3 import replies, uploads
from gns3_minivm.gns3.model import LOCAL_COMPUTE, Compute, Rights, ServerImage, Uploaded
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.uploads import is_collision, waited
from gns3_minivm.gns3.v2 import messages


class ServerV2(Server):
    """The routes that API v2 has in its own way."""

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
        return await self.disk_images(compute_id)

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
        del distrusted  # a file of the same content under another name is not looked for
        async with self._upload_lock(compute_id, filename):
            last = None
            while not replace and (existing := await self._on_disk(filename, compute_id)) is not None:
                if await self._is(existing, size_bytes, md5, compute_id):
                    return Uploaded(filename, sent=False)
                if existing == last:
                    raise self._other_content(existing, size_bytes, md5)
                # Another agent may still be writing it.
                last = existing
                await asyncio.sleep(uploads.COLLISION_WAITS_S[0])
            there, sent_by_others = await self._after_others(filename, compute_id)
            if sent_by_others and there is not None and await self._is(there, size_bytes, md5, compute_id):
                return Uploaded(filename, sent=False)
            # The name was free, or what had it is not wanted, so another try replaces only what the first one left.
            waits = iter(uploads.COLLISION_WAITS_S)
            breaks = itertools.count(1)
            while True:
                broken = await self._send(source, filename, size_bytes, compute_id, progress)
                if await self._has(filename, size_bytes, md5, compute_id, broken):
                    return Uploaded(filename, sent=True)
                if isinstance(broken, ConnectError):
                    await self._pause(next(breaks), broken)
                elif not await waited(waits):
                    raise broken or self._not_as_sent(
                        filename, size_bytes, md5, await self._on_disk(filename, compute_id)
                    )
                elif await self._has(filename, size_bytes, md5, compute_id, broken):
                    return Uploaded(filename, sent=True)  # another agent was still writing it

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

    async def delete_image(self, filename: str) -> None:
        raise UnsupportedServerError(
            f"{self.url}: image {filename} cannot be deleted: API v2 has no route for it",
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
        ours = [
            item for item in found if str(item.get("path", "")).endswith((X86_64.qemu_program, f"{X86_64.qemu}w.exe"))
        ]
        return tuple(dict.fromkeys(str(item.get("version", "")) for item in ours))

    async def computes(self) -> list[Compute]:
        computes = [replies.compute(item) for item in await self._list("/computes", "list the computes")]
        return sorted(computes, key=lambda compute: compute.compute_id != LOCAL_COMPUTE)

    async def _is(self, image: ServerImage, size_bytes: int, md5: str, compute_id: str) -> bool:
        if image.size_bytes not in (None, size_bytes):
            return False
        if image.md5 == md5:
            return True
        # The listed checksum goes stale whenever a file changes behind the server's back.
        return await self.image_md5(image.filename, compute_id) == md5

    async def _has(
        self, filename: str, size_bytes: int, md5: str, compute_id: str, broken: ServerError | None = None
    ) -> bool:
        try:
            found = await self._on_disk(filename, compute_id)
        except ServerError as error:
            # What went wrong first says more.
            raise broken or error from None
        return found is not None and await self._is(found, size_bytes, md5, compute_id)

    async def _send(
        self, source: Path, filename: str, size_bytes: int, compute_id: str, progress: Progress
    ) -> ConnectError | ConflictError | None:
        """Send a file; returns what went wrong, perhaps after all had arrived, from here or from another agent."""
        path = f"/v2/computes/{quote(compute_id)}/qemu/images/{quote(filename)}"
        try:
            await self._transport.upload(path, f"upload {filename}", source, size_bytes, progress)
        except ConnectError as error:
            return error
        except ConflictError as error:
            if not is_collision(error):
                raise
            return error
        return None
