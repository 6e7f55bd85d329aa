"""The images of a server of API v3 (3.0.x).

They belong to the controller's database, which copies them to computes when a node is made.  They always go to
``QEMU/NAME``: a bare name replaces the file of an existing one and leaves the database stale.  Where agents collide
(see ``gns3.uploads``), the server's look-out for new files may record a file that is half written, and does
so only once.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from gns3_minivm.base.errors import (
    ConflictError,
    ConnectError,
    NotFoundError,
    ServerError,
    ServerFaultError,
    UnsupportedServerError,
    UploadError,
)
from gns3_minivm.base.events import Progress, no_progress
from gns3_minivm.gns3 import replies, uploads
from gns3_minivm.gns3.computes import ComputeRoutes
from gns3_minivm.gns3.model import LOCAL_COMPUTE, ServerImage, Uploaded
from gns3_minivm.gns3.uploads import UploadRoutes, is_collision, waited

_FOLDER = "QEMU"
_YOUNG = datetime.timedelta(minutes=2)


class ImageRoutesV3(UploadRoutes, ComputeRoutes):
    """The images of API v3's database."""

    async def images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
        del compute_id  # the database is one for all computes
        answer = await self._list("/images", "list the images", params={"image_type": "qemu"})
        return [replies.image_v3(item) for item in answer]

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
        done = await self._upload(
            source, filename, size_bytes, md5, progress, replace=replace, distrusted=frozenset(distrusted)
        )
        if compute_id != LOCAL_COMPUTE:
            await self._check_copies(compute_id, {done.filename: md5})
        return done

    async def _upload(
        self,
        source: Path,
        filename: str,
        size_bytes: int,
        md5: str,
        progress: Progress,
        *,
        replace: bool,
        distrusted: frozenset[str],
    ) -> Uploaded:
        async with self._upload_lock(LOCAL_COMPUTE, filename):
            if replace:
                await self._make_free(filename)
            waits = iter(uploads.COLLISION_WAITS_S)
            broken: ConnectError | UploadError | None = None
            breaks = itertools.count(1)
            was_free = replace
            while True:
                try:
                    present = await self._present(filename, size_bytes, md5, distrusted)
                except ConnectError as error:
                    # What went wrong first says more.
                    raise broken or error from None
                except ConflictError as error:
                    if not (was_free or await self._is_young(filename)) or not await waited(waits):
                        raise broken or error from None
                    if was_free:
                        await self._forget_wrong_record(filename, size_bytes, md5)
                    continue
                if present is not None:
                    return Uploaded(present, sent=False)
                if not await self._is_clear(filename, size_bytes, md5, was_free=was_free):
                    continue
                was_free = True
                try:
                    return await self._send(source, filename, size_bytes, md5, progress, distrusted)
                except UploadError as error:
                    broken = error
                    if not await waited(waits):
                        raise
                except (ConflictError, ServerFaultError) as error:
                    if not is_collision(error) or not await waited(waits):
                        raise
                except ConnectError as error:
                    broken = error
                    await self._pause(next(breaks), error)

    async def _check_copies(self, compute_id: str, meant: Mapping[str, str]) -> None:
        """Raise ConflictError if a compute has another file under one of these names: GNS3 copies missing ones only."""
        for image in await self.disk_images(compute_id):
            if image.md5 is not None and meant.get(image.filename, image.md5) != image.md5:
                raise self._other_copy(await self._compute_name(compute_id), image.filename, image.md5)

    async def _compute_name(self, compute_id: str) -> str:
        return next((c.name for c in await self.computes() if c.compute_id == compute_id), compute_id)

    def _other_copy(self, compute: str, filename: str, md5: str) -> ConflictError:
        return ConflictError(
            f"{self.url}: compute {compute} has a different file named {filename} (md5 {md5}), and GNS3 would use that",
            hint="Delete it in the folder images/QEMU of that compute if nothing uses it; GNS3 copies the right one.",
        )

    async def _present(self, filename: str, size_bytes: int, md5: str, distrusted: frozenset[str]) -> str | None:
        """The name under which the server has this content; ConflictError if that name has another content."""
        existing = await self._find(filename)
        if existing is None:
            listed = await self.images()
            if (twin := _same_content(listed, size_bytes, md5, distrusted)) is not None:
                return twin
            # In another folder: with two of one name the server finds neither.
            existing = next((image for image in listed if image.filename == filename), None)
        if existing is None:
            return None
        if await self._is(existing, size_bytes, md5):
            return filename
        raise self._other_content(existing, size_bytes, md5)

    async def _is(self, image: ServerImage, size_bytes: int, md5: str) -> bool:
        """Whether a record is that of a content, or is so but for its size and the file is right.

        The server looks up the size after the last byte, when another agent may have begun the same file anew.
        """
        if image.md5 != md5:
            return False
        waits = iter(uploads.COLLISION_WAITS_S)
        while image.size_bytes != size_bytes:
            if (wait_s := next(waits, None)) is None:
                return False
            # The server remembers the checksum of a file, also of one that is being written.
            await asyncio.sleep(wait_s)
            image = await self._on_disk(image.filename) or image
            if image.md5 != md5:
                return False
        return True

    async def _is_clear(self, filename: str, size_bytes: int, md5: str, *, was_free: bool) -> bool:
        """Whether a file without a record may be sent; if not, another agent has sent it, which was waited for.

        Raises ConflictError if another file of this name lies on the disk without a record, unless it ``was_free``:
        that would be replaced.  Such files come with imported projects, whose nodes use them, or were copied
        there by hand.
        """
        there, sent_by_others = await self._after_others(filename)
        if sent_by_others:
            return False
        if not was_free and there is not None and not _has_content(there, size_bytes, md5):
            # Uploads of other agents that are in each other's way put it right themselves.
            await asyncio.sleep(uploads.COLLISION_WAITS_S[0])
            if await self._find(filename) is not None:
                return False
            there = (await self._folder()).get(filename)
            if there is not None and not _has_content(there, size_bytes, md5):
                raise self._other_content(there, size_bytes, md5)
        return True

    async def _is_young(self, filename: str) -> bool:
        """Whether a record was made so shortly ago that agents may be about to put it right."""
        try:
            found = await self._find(filename)
        except ServerError:
            return False
        if found is None:
            return True
        now = datetime.datetime.now(datetime.UTC)
        return found.recorded_at is not None and abs(now - found.recorded_at) < _YOUNG

    async def _forget_wrong_record(self, filename: str, size_bytes: int, md5: str) -> None:
        """Delete a file that is right byte by byte, with its record that says something else, to send it anew.

        The server does not delete it if a template uses it; and what comes in its place is the same.
        """
        there = (await self._folder()).get(filename)
        if there is None or not _has_content(there, size_bytes, md5):
            return
        found = await self._find(filename)
        if found is not None and found.md5 != md5:
            await self._make_free(filename)

    async def _make_free(self, filename: str) -> None:
        try:
            await self.delete_image(filename)
        except NotFoundError:
            pass

    async def _path_of_upload(self, filename: str, size_bytes: int, md5: str, distrusted: frozenset[str]) -> str | None:
        """The route for a file; None if another agent has brought it meanwhile.

        Under ``QEMU/`` the server refuses a content that it has a record of there, also if that file is damaged.  A
        bare name leads to the same folder past this check, and would replace what lies there.
        """
        path = f"/v3/images/upload/{_FOLDER}/{quote(filename)}"
        if not distrusted or _same_content(await self.images(), size_bytes, md5) is None:
            return path
        there = await self._on_disk(filename)
        if there is not None and not _has_content(there, size_bytes, md5):
            raise self._other_content(there, size_bytes, md5)
        # The file is there a moment before its record.
        for wait_s in uploads.COLLISION_WAITS_S if there is not None else ():
            if await self._find(filename) is not None:
                return None
            await asyncio.sleep(wait_s)
        return f"/v3/images/upload/{quote(filename)}"

    async def _send(
        self, source: Path, filename: str, size_bytes: int, md5: str, progress: Progress, distrusted: frozenset[str]
    ) -> Uploaded:
        path = await self._path_of_upload(filename, size_bytes, md5, distrusted)
        if path is None:
            return Uploaded(filename, sent=False)
        try:
            await self._transport.upload(path, f"upload {filename}", source, size_bytes, progress)
        except (ConflictError, ServerFaultError, ConnectError) as error:
            # Another agent may have sent the same content at the same time, under this name or another one; or all had
            # arrived when the connection broke.
            try:
                twin = _same_content(await self.images(), size_bytes, md5, distrusted)
                # Two at once under one name: the database's checksum need not be that of the file.
                damaged = twin == filename and await self.image_md5(filename) != md5
            except ServerError:
                raise error from error.__cause__
            if twin is None or damaged:
                raise
            if twin != filename:
                return Uploaded(twin, sent=False)
        # The upload's own answer may be the record of an older file.
        arrived = await self._find(filename)
        if arrived is None or not await self._is(arrived, size_bytes, md5):
            raise self._not_as_sent(filename, size_bytes, md5, arrived)
        return Uploaded(filename, sent=True)

    async def image_md5(self, filename: str, compute_id: str = LOCAL_COMPUTE) -> str | None:
        there = await self._on_disk(filename, compute_id)
        return there.md5 if there else None

    async def delete_image(self, filename: str) -> None:
        await self._command("DELETE", f"/images/{_FOLDER}/{quote(filename)}", f"delete the image {filename}")

    async def image_bytes(self, filename: str) -> AsyncIterator[bytes]:
        raise UnsupportedServerError(
            f"{self.url}: image {filename} cannot be read: API v3 hands images out to its own computes only",
            hint="Copy it from the folder images/QEMU on the server.",
        )
        yield b""  # makes this an asynchronous generator, as in API v2

    async def _find(self, filename: str) -> ServerImage | None:
        path = f"/images/{_FOLDER}/{quote(filename)}"
        try:
            return replies.image_v3(await self._object("GET", path, f"look for the image {filename}"))
        except NotFoundError:
            return None


def _same_content(
    listed: Iterable[ServerImage], size_bytes: int, md5: str, distrusted: Collection[str] = ()
) -> str | None:
    found = (image for image in listed if _has_content(image, size_bytes, md5))
    return next((image.filename for image in found if image.filename not in distrusted), None)


def _has_content(image: ServerImage, size_bytes: int, md5: str) -> bool:
    return (image.size_bytes, image.md5) == (size_bytes, md5)
