"""Hands out blocks from the front of the disk to its end; none is ever returned."""

from __future__ import annotations

from gns3_minivm.formats.ext4 import structs as s
from gns3_minivm.formats.ext4.geometry import Geometry, Run


class Allocator:
    """``take`` gives the next free blocks; ``used`` lists all that is used, fixed structures included."""

    def __init__(self, geometry: Geometry) -> None:
        self._free = list(geometry.free_runs())[::-1]
        self._fixed = geometry.used
        self._taken: list[Run] = []

    def reserve(self, count: int) -> int | None:
        """Take ``count`` blocks in one piece from the first run that has them; None if no run does."""
        for place in range(len(self._free) - 1, -1, -1):
            start, end = self._free[place]
            if end - start >= count:
                self._free[place] = (start + count, end)
                if end - start == count:
                    del self._free[place]
                self._taken.append((start, start + count))
                return start
        return None

    def take(self, count: int) -> list[Run] | None:
        """The next ``count`` free blocks, as few runs as there are; None if the disk is full."""
        runs = []
        while count:
            if not self._free:
                return None
            start, end = self._free[-1]
            cut = min(end, start + count)
            if cut == end:
                self._free.pop()
            else:
                self._free[-1] = (cut, end)
            runs.append((start, cut))
            count -= cut - start
            if self._taken and self._taken[-1][1] == start:
                self._taken[-1] = (self._taken[-1][0], cut)
            else:
                self._taken.append((start, cut))
        return runs

    def used(self) -> list[Run]:
        """Everything used, ascending and joined."""
        runs: list[Run] = []
        for start, end in sorted(self._fixed + self._taken):
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], end)
            else:
                runs.append((start, end))
        return runs


def default_journal_blocks(blocks: int) -> int:
    """The size of the journal that mke2fs would choose for a file system of ``blocks`` blocks; 0 below 8 MiB."""
    for limit, size in (
        (2048, 0),
        (32768, s.JOURNAL_BLOCKS_MIN),
        (256 * 1024, 4096),
        (512 * 1024, 8192),
        (4096 * 1024, 16384),
        (8192 * 1024, 32768),
        (16384 * 1024, 65536),
        (32768 * 1024, 131072),
    ):
        if blocks < limit:
            return size
    return 262144
