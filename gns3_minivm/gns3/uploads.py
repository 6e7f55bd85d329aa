"""What uploads of images have in common on both APIs: turns, what lies in the folder, other agents, what is said.

A server writes all uploads of a name into one temporary file, ``NAME.tmp``, and nothing on it can be locked.  Agents of
one user on one machine take turns (``turns``).  Where agents on different machines bring the same file at once, each may
find the temporary file gone or too small; and the one that ends first gives it its name while others still write, so that
what the server then says of its size and checksum belongs to nobody (2.2.61, compute/base_manager.py; 3.0.6,
utils/images.py and db/tasks.py).  So an agent waits while it sees somebody else's temporary file grow; and where some have
begun within a moment, each waits, another time each, and looks again before it does anything.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from urllib.parse import quote

from gns3_minivm.base.errors import (
    ConflictError,
    ConnectError,
    ForbiddenError,
    NotFoundError,
    ServerError,
    UploadError,
)
from gns3_minivm.gns3 import locks as turns
from gns3_minivm.gns3 import replies
from gns3_minivm.gns3.foreign import is_passing
from gns3_minivm.gns3.model import LOCAL_COMPUTE, ServerImage
from gns3_minivm.gns3.routes import Routes

COLLISION_WAITS_S = (1.0, 2.0, 4.0)

_COLLISION = re.compile(r"empty or too small|No such file|same checksum already exists|Database error")
_VANISHED_WAITS_S = (0.2, 0.5, 1.0, 2.0)
_LOOK_S = 1.0
"""Between two looks at the temporary file of another agent."""
_LOOKS_AT_STILL = 3
"""After so many looks at a temporary file that does not grow, it has been left behind."""


def is_collision(error: ServerError) -> bool:
    """Whether an upload may have been refused because another agent brings the same file."""
    return _COLLISION.search(error.message) is not None


async def waited(waits: Iterator[float]) -> bool:
    """Wait before another look, each agent another time; False if there have been enough."""
    wait_s = next(waits, None)
    if wait_s is None:
        return False
    await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))
    return True


class UploadRoutes(Routes):
    def _upload_lock(self, compute_id: str, filename: str) -> AbstractAsyncContextManager[None]:
        return turns.alone(self.url, compute_id, filename)

    async def _pause(self, attempt: int, error: ServerError) -> None:
        """Wait before an upload is done again; raise ``error`` if the same may not well succeed, or not any more."""
        limits = self._transport.limits
        if attempt >= limits.attempts or error.__cause__ is None or not is_passing(error.__cause__):
            raise error
        # Not the same time for two agents that were cut off together.
        await asyncio.sleep(limits.backoff_s * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))

    async def _after_others(self, filename: str, compute_id: str = LOCAL_COMPUTE) -> tuple[ServerImage | None, bool]:
        """What lies under a name when no other agent sends such a file any more, and whether one did.

        That is waited for while its temporary file grows.
        """
        seen: set[int | None] = set()
        looks_at_still = 0
        while True:
            lying = await self._folder(compute_id)
            part = lying.get(f"{filename}.tmp")
            if part is None or looks_at_still == _LOOKS_AT_STILL:
                return lying.get(filename), bool(seen) and part is None
            looks_at_still = looks_at_still + 1 if part.size_bytes in seen else 0
            seen.add(part.size_bytes)
            await asyncio.sleep(_LOOK_S)

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
        """The images in a compute's folder, which it hashes if it has not yet; on request with those of running uploads."""
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
