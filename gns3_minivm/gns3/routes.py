"""The base of both APIs: requests below /v2 or /v3 of one server, and what is said when an image is not as meant."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from gns3_minivm.errors import ConflictError, ServerError, UploadError
from gns3_minivm.gns3.foreign import is_passing
from gns3_minivm.gns3.model import ServerImage
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import Transport, expect_list, expect_object


class Routes(Server):
    """A server with a transport."""

    def __init__(
        self, transport: Transport, version: str, warnings: tuple[str, ...] = (), *, runs_beside_gui: bool = False
    ) -> None:
        self._transport = transport
        self._prefix = f"/v{self.generation}"
        self._upload_locks: dict[tuple[str, str], asyncio.Lock] = {}
        self.version = version
        self.url = transport.address.url
        self.warnings = warnings
        self._runs_beside_gui = runs_beside_gui

    async def close(self) -> None:
        await self._transport.close()

    def _upload_lock(self, compute_id: str, filename: str) -> asyncio.Lock:
        # Two uploads of one name at once end in a checksum that belongs to neither, on both generations.
        return self._upload_locks.setdefault((compute_id, filename), asyncio.Lock())

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

    async def _command(self, method: str, path: str, action: str, body: Any = None, **options: Any) -> None:
        await self._transport.json(method, self._prefix + path, action, body=body, **options)

    @property
    def _node_s(self) -> float:
        return self._transport.limits.node_s
