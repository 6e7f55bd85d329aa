"""Converts images that are damaged or hostile, and watches what they do to this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import ImageError, ImageNotFoundError
from gns3_minivm.base.events import Events
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.images.resolve import FILE_SCHEMES

OPTIONS = DiskOptions(size_bytes=64 << 20, compression="none")


def files_below(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in a folder, with what would change if somebody wrote to it."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(folder))] = status.st_mode, status.st_size, status.st_mtime_ns
    return found


@contextmanager
def nothing_left_in(folder: Path) -> Iterator[None]:
    """Assert that the block changes nothing in a folder."""
    before = files_below(folder)
    yield
    assert files_below(folder) == before


def convert_or_refuse(
    name: str, cache: Path, options: DiskOptions = OPTIONS
) -> Artifact | ImageError | ImageNotFoundError:
    """The disk of an image in a file, or why there is none; any other error is a defect.

    After an error there must be nothing in the cache but its own empty folders and locks.
    """
    scheme, _, place = name.partition(":")
    try:
        return convert(FILE_SCHEMES[scheme](place), options, Cache(cache), Events())
    except (ImageError, ImageNotFoundError) as error:
        assert error.message and "Errno" not in error.message
        left = [path for path in cache.rglob("*") if path.parent != cache and path.parent.name != "locks"]
        assert left == []
        return error
