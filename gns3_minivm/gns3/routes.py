"""The base of both APIs: requests below /v2 or /v3 of one server, and what is said when an image is not as meant."""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

from gns3_minivm.errors import ConflictError, ServerError, UploadError
from gns3_minivm.gns3 import replies, turns
from gns3_minivm.gns3.foreign import is_passing
from gns3_minivm.gns3.model import ServerImage
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import Transport, expect_list, expect_object

_VANISHED_WAITS_S = (0.2, 0.5, 1.0, 2.0)


class Routes(Server):
    """A server with a transport."""

    def __init__(
        self, transport: Transport, version: str, warnings: tuple[str, ...] = (), *, runs_beside_gui: bool = False
    ) -> None:
        self._transport = transport
        self._prefix = f"/v{self.generation}"
        self.version = version
        self.url = transport.address.url
        self.warnings = warnings
        self._runs_beside_gui = runs_beside_gui

    async def close(self) -> None:
        await self._transport.close()

    def _upload_lock(self, compute_id: str, filename: str) -> AbstractAsyncContextManager[None]:
        return turns.alone(self.url, compute_id, filename)

    async def _pause(self, attempt: int, error: ServerError) -> None:
        """Wait before an upload is done again; raise ``error`` if the same may not well succeed, or not any more."""
        limits = self._transport.limits
        if attempt >= limits.attempts or error.__cause__ is None or not is_passing(error.__cause__):
            raise error
        # Not the same time for two agents that were cut off together.
        await asyncio.sleep(limits.backoff_s * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))

    def _other_content(self, existing: ServerImage, size_bytes: int, md5: str) -> ConflictError:
        return ConflictError(
            f"{self.url}: an image {existing.filename} with other content is there already"
            f" ({existing.size_bytes} bytes, md5 {existing.md5}; ours: {size_bytes} bytes, md5 {md5})",
            hint="Overwriting it would damage nodes that use it: remove it on the server if none does.",
        )

    def _not_as_sent(self, filename: str, size_bytes: int, md5: str, arrived: ServerImage | None) -> UploadError:
        there = f"{arrived.size_bytes} bytes, md5 {arrived.md5}" if arrived else "no such image"
        return UploadError(
            f"{self.url}: image {filename} did not arrive as sent ({size_bytes} bytes, md5 {md5}; the server has"
            f" {there})",
            hint="Remove it on the server, see whether its disk is full or failing, and run the command again.",
        )

    # Requests

    async def _object(self, method: str, path: str, action: str, body: Any = None, **options: Any) -> dict[str, Any]:
        answer = await self._transport.json(method, self._prefix + path, action, body=body, **options)
        return expect_object(answer, self._transport.address, action)

    async def _list(self, path: str, action: str, **options: Any) -> list[dict[str, Any]]:
        answer = await self._transport.json("GET", self._prefix + path, action, **options)
        return expect_list(answer, self._transport.address, action)

    async def _listed_by_compute(self, compute_id: str, action: str) -> list[ServerImage]:
        """The images in a compute's folder, which it hashes if it has not yet."""
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
            return [image for image in images if not image.filename.endswith(".tmp")]
        raise AssertionError  # the last turn returns or raises

    async def _command(self, method: str, path: str, action: str, body: Any = None, **options: Any) -> None:
        await self._transport.json(method, self._prefix + path, action, body=body, **options)

    @property
    def _node_s(self) -> float:
        return self._transport.limits.node_s
