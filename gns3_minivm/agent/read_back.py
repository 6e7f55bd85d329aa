"""Checks image files themselves, and restores missing ones: the servers' lists do not show either.

API v2 hashes a file once and remembers that; API v3 remembers what arrived, whatever became of the file since, and
takes neither a name nor a content again that it has a record of.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from gns3_minivm.agent.desired import WantedFile
from gns3_minivm.agent.files import numbered_names
from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import ConflictError, DiskFullError, NotFoundError, UploadError
from gns3_minivm.base.events import Events, Progress
from gns3_minivm.base.streams import save_stream
from gns3_minivm.gns3.model import LOCAL_COMPUTE, ServerImage
from gns3_minivm.gns3.project_archive import image_md5, write_carrier
from gns3_minivm.gns3.server import Server


async def read_back(
    server: Server,
    compute_id: str,
    listed: Mapping[str, ServerImage],
    files: Iterable[WantedFile],
    events: Events,
) -> dict[str, ServerImage]:
    """The images of these files, as they really are: each is read back, which takes as long as a download of it.

    Raises ConflictError for a file that exists but cannot be read.
    """
    wanted = {name: file for file in files for name in numbered_names(listed, file)}
    # API v3's list is its database's.
    there = None if server.images_per_compute else {image.filename for image in await server.disk_images(compute_id)}
    found = {}
    for name, file in wanted.items():
        # What is no image in GNS3's eyes, such as an empty file, is there all the same.
        with events.step(f"Read {name} of {server.url}"):
            md5 = await read_md5(server, name, compute_id)
        if md5 is None and there is not None and name not in there:
            found[name] = replace(listed[name], state="gone")
            continue
        if md5 is None:
            raise ConflictError(
                f"{server.url}: image {name} of compute {compute_id} is listed but cannot be read",
                hint="Somebody may just have deleted it; run the command again, and look at the server's log.",
            )
        found[name] = _judged(listed[name], file, md5)
    return found


def _judged(image: ServerImage, file: WantedFile, md5: str) -> ServerImage:
    # Without a file of our own to compare with, there is what the server says of it.
    if md5 == file.md5:
        # API v3's record of the size may be wrong.
        return replace(image, md5=md5, size_bytes=file.size_bytes, state="whole")
    return replace(image, md5=md5, state="whole" if md5 == (file.md5 or image.md5 or md5) else "damaged")


async def read_md5(server: Server, filename: str, compute_id: str = LOCAL_COMPUTE) -> str | None:
    """The md5 of the bytes that lie on a compute's disk; None if there is no such file."""
    try:
        if server.can_read_images and compute_id == LOCAL_COMPUTE:
            return await server.image_md5(filename)
        with tempfile.TemporaryDirectory(prefix="gns3-minivm-") as folder:
            carrier = Path(folder, "carrier.zip")
            await save(server.export_images([filename], compute_id), carrier)
            return await run_blocking(image_md5, carrier, filename)
    except (NotFoundError, ConflictError):
        return None


async def put_back(server: Server, artifact: Artifact, filename: str, progress: Progress) -> None:
    """Write a file again of which API v3 has a record and that is gone; a file that is there is not replaced.

    The one way to such a name is a portable project: what it brings is written where nothing lies.
    Raises UploadError if it did not arrive.
    """
    with tempfile.TemporaryDirectory(prefix="gns3-minivm-") as folder:
        carrier = Path(folder, "carrier.gns3project")
        try:
            project_id = await run_blocking(write_carrier, carrier, filename, artifact.path)
        except OSError as error:
            raise _no_room(carrier, error) from error
        try:
            await server.import_project(project_id, carrier, carrier.stat().st_size, progress)
        finally:
            try:
                await server.delete_project(project_id)
            except NotFoundError:
                pass
    if await read_md5(server, filename) != artifact.md5:
        raise UploadError(
            f"{server.url}: image {filename}, whose file is missing, could not be restored",
            hint=f"Copy {artifact.path} to images/QEMU/{filename} on the server, and check whether its disk is full.",
        )


async def save(stream: AsyncGenerator[bytes, None], target: Path) -> None:
    """Write what a server sends to a new file.  Raises DiskFullError."""
    try:
        await save_stream(stream, target)
    except OSError as error:
        raise _no_room(target, error) from error


def _no_room(path: Path, error: OSError) -> DiskFullError:
    return DiskFullError(
        f"cannot write {path}: {error.strerror}", hint="Free some space there, or name another folder with TMPDIR."
    )
