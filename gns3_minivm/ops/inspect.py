"""``inspect``: tells what a disk image is, what is on it, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base.artifacts import Artifact, Kind, measure
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.cancel import checkpoint, run_blocking
from gns3_minivm.convert.cached import CachedDisk, find_cached_disk
from gns3_minivm.convert.inspect import file_chunks, inspect_disk, list_files
from gns3_minivm.convert.report import DiskReport, FoundFile
from gns3_minivm.ops.context import RunContext

# Where images that were not converted on this machine say what they are (OCI image specification, annotations.md).
_TITLES = ("org.opencontainers.image.ref.name", "org.opencontainers.image.title")


@dataclass(frozen=True, kw_only=True)
class InspectResult:
    """``cached`` is the entry of this machine's cache with the same recipe; ``measured`` only if it was asked for."""

    report: DiskReport
    cached: CachedDisk | None
    measured: Artifact | None

    @property
    def image(self) -> str:
        """The image's name: as this machine knows it, else as its labels say it, else empty."""
        if self.cached:
            return self.cached.reference
        labels = self.report.config.labels if self.report.config else {}
        return next((labels[key] for key in _TITLES if labels.get(key)), "")

    @property
    def is_as_converted(self) -> bool | None:
        """Whether the file has the bytes that the conversion wrote; None if unknown."""
        if self.cached is None or self.report.files[0].format != "qcow2":
            return None
        if self.measured:
            return self.measured.sha256 == self.cached.sha256
        return None if self.report.files[0].size_bytes == self.cached.size_bytes else False

    def as_dict(self) -> dict[str, Any]:
        measured = self.measured
        return {
            **self.report.as_dict(),
            "image": self.image or None,
            "as_converted": self.is_as_converted,
            "md5": measured.md5 if measured else None,
            "sha256": measured.sha256 if measured else None,
        }


async def inspect(path: Path, context: RunContext, *, digest: bool = False) -> InspectResult:
    """Look at the disk image in a file; with ``digest``, read all of the file for its md5 and sha256.

    Raises UsageError if it is not a file, DamagedImageError if it is damaged or not a disk, HostError.
    """

    def inspected() -> InspectResult:
        report = inspect_disk(path)
        cached = find_cached_disk(Cache(context.settings.cache_root), report) if report.kind == "root disk" else None
        if not digest:
            return InspectResult(report=report, cached=cached, measured=None)
        with context.events.step(f"Read {path}", total=report.files[0].size_bytes, unit="bytes"):
            return InspectResult(report=report, cached=cached, measured=measure(Kind.DISK, path, path.name))

    return await run_blocking(inspected)


async def list_disk_files(path: Path, top: bytes, show: Callable[[FoundFile], None]) -> int:
    """Call ``show`` for the files below a folder of a disk; returns their count.  Raises as ``inspect`` does."""
    return await run_blocking(_for_each, list_files(path, top), show)


async def read_disk_file(path: Path, name: bytes, write: Callable[[bytes], object]) -> None:
    """Call ``write`` for the pieces of a file on a disk.  Raises as ``inspect`` does."""
    await run_blocking(_for_each, file_chunks(path, name), write)


def _for_each(items: Iterable[Any], call: Callable[[Any], object]) -> int:
    count = 0
    for item in items:
        checkpoint()
        call(item)
        count += 1
    return count
