"""What uploads of images have in common on both APIs: taking turns, files in the folder, other agents, messages.

A server writes all uploads of a name into one temporary file, ``NAME.tmp``, and nothing on it can be locked.  Agents of
one user on one machine take turns (``gns3.locks``).  Where agents on different machines bring the same file at once,
each may find the temporary file gone or too small; and the one that ends first gives it its name while others still
write, so that what the server then says of its size and checksum belongs to nobody (2.2.61, compute/base_manager.py;
3.0.6, utils/images.py and db/tasks.py).  So an agent waits while it sees somebody else's temporary file grow; and where
some have begun within a moment, each waits, another time each, and looks again before it does anything.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

from gns3_minivm.base.errors import (
    ConflictError,
    ServerError,
    UploadError,
)
from gns3_minivm.gns3 import locks
from gns3_minivm.gns3.foreign import is_passing
from gns3_minivm.gns3.images import ImageRoutes
from gns3_minivm.gns3.model import LOCAL_COMPUTE, ServerImage

COLLISION_WAITS_S = (1.0, 2.0, 4.0)

_COLLISION = re.compile(r"empty or too small|No such file|same checksum already exists|Database error")
_POLL_S = 1.0
"""Between two looks at the temporary file of another agent."""
_POLLS_WITHOUT_GROWTH = 3
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


class UploadRoutes(ImageRoutes):
    """What ``upload_image`` of both APIs is made of."""

    def _upload_lock(self, compute_id: str, filename: str) -> AbstractAsyncContextManager[None]:
        return locks.exclusive(self.url, compute_id, filename)

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
        without_growth = 0
        while True:
            lying = await self._folder(compute_id)
            part = lying.get(f"{filename}.tmp")
            if part is None or without_growth == _POLLS_WITHOUT_GROWTH:
                return lying.get(filename), bool(seen) and part is None
            without_growth = without_growth + 1 if part.size_bytes in seen else 0
            seen.add(part.size_bytes)
            await asyncio.sleep(_POLL_S)

    def _other_content(self, existing: ServerImage, size_bytes: int, md5: str) -> ConflictError:
        return ConflictError(
            f"{self.url}: a different image {existing.filename} exists already"
            f" ({existing.size_bytes} bytes, md5 {existing.md5}; ours: {size_bytes} bytes, md5 {md5})",
            hint="Overwriting it would damage nodes that use it: remove it on the server if none does.",
        )

    def _not_as_sent(self, filename: str, size_bytes: int, md5: str, arrived: ServerImage | None) -> UploadError:
        there = f"{arrived.size_bytes} bytes, md5 {arrived.md5}" if arrived else "no such image"
        return UploadError(
            f"{self.url}: image {filename} did not arrive intact ({size_bytes} bytes, md5 {md5}; the server has"
            f" {there})",
            hint="Remove it on the server, check whether its disk is full or failing, and run the command again.",
        )
