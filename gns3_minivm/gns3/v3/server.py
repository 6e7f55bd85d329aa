"""A GNS3 server of API v3 (3.0.x).

Images belong to the controller's database, which copies them to computes when a node is made.  They always go to
``QEMU/NAME``: a bare name replaces the file of an existing one and leaves the database stale.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gns3_minivm.errors import (
    ConflictError,
    ConnectError,
    ForbiddenError,
    NotFoundError,
    RejectedError,
    ServerError,
    ServerFaultError,
    UnsupportedServerError,
)
from gns3_minivm.gns3 import replies, turns
from gns3_minivm.gns3.model import LOCAL_COMPUTE, VM_COMPUTE, Compute, Node, Rights, ServerImage, ServerTemplate
from gns3_minivm.gns3.rest import RestServer
from gns3_minivm.gns3.server import Progress, Uploaded, no_progress
from gns3_minivm.gns3.v3 import messages

_FOLDER = "QEMU"
# Two uploads of one name share a temporary file: one of them, or both, find it empty or gone.
_COLLISION = re.compile(r"empty or too small|No such file")
_COLLISION_WAITS_S = (1.0, 2.0, 4.0)
# A raw image outside the images folder: refused in any case, and the reason tells what is allowed.
_RAW_QUESTION = ("POST", "/images/qemu/..%2Fgns3-minivm-asks", {"format": "raw", "size": 1})
# What has no effect whatever the answer is: bodies that are not valid, an id that nothing has.
_QUESTIONS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/images", None),
    _RAW_QUESTION,
    ("POST", "/templates", {}),
    ("PUT", "/templates/{id}", {}),
    ("POST", "/projects", {}),
)


class ServerV3(RestServer):
    generation = 3
    one_name_per_content = True
    can_read_images = False
    images_per_compute = False
    can_delete_images = True
    have_template_versions = True
    # Ports are looked for in several threads (3.0.6, api/routes/compute/compute.py: allocate_udp_port).
    one_link_at_a_time = True
    newest_project_revision = None
    template_model = messages.TemplateCreate

    async def images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
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
            waits = iter(_COLLISION_WAITS_S)
            broken: ConnectError | None = None
            for attempt in itertools.count(1):
                try:
                    present = await self._present(filename, size_bytes, md5, distrusted)
                except ConnectError as error:
                    # What went wrong first says more.
                    raise broken or error from None
                if present is not None:
                    return Uploaded(present, sent=False)
                if attempt == 1 and not replace:
                    await self._check_disk(filename, size_bytes, md5)
                try:
                    return await self._send(source, filename, size_bytes, md5, progress, distrusted)
                except (ConflictError, ServerFaultError) as error:
                    wait_s = next(waits, None) if _COLLISION.search(error.message) else None
                    if wait_s is None:
                        raise
                    # Not the same time for both.
                    await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))
                except ConnectError as error:
                    broken = error
                    await self._pause(attempt, error)
            raise AssertionError  # the count has no end

    async def update_template(self, template_id: str, changes: Mapping[str, Any]) -> ServerTemplate:
        for wait_s in (*_COLLISION_WAITS_S, None):
            try:
                async with turns.alone(self.url, "template", template_id):
                    return await super().update_template(template_id, changes)
            except ServerFaultError as error:
                # Of two changes of a template's images at once, one finds in the database what the other has replaced.
                if wait_s is None or "Database error" not in error.message:
                    raise
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))
        raise AssertionError  # the last turn returns or raises

    async def create_node(
        self,
        project_id: str,
        template_id: str,
        *,
        name: str | None = None,
        x: int = 0,
        y: int = 0,
        compute_id: str | None = None,
    ) -> Node:
        node = await super().create_node(project_id, template_id, name=name, x=x, y=y, compute_id=compute_id)
        if node.compute_id == LOCAL_COMPUTE or not node.image_md5s:
            return node
        listed = {image.filename: image.md5 for image in await self.images()}
        named = {str(node.properties[field]).rpartition("/")[2]: md5 for field, md5 in node.image_md5s.items()}
        if wrong := [name for name, md5 in named.items() if listed.get(name) not in (None, md5)]:
            await self.delete_node(project_id, node.node_id)
            raise self._other_copy(await self._compute_name(node.compute_id), wrong[0], named[wrong[0]])
        return node

    async def _check_copies(self, compute_id: str, meant: Mapping[str, str]) -> None:
        """Raise ConflictError if a compute has another file under one of these names: GNS3 copies missing ones only."""
        for image in await self.disk_images(compute_id):
            if image.md5 is not None and meant.get(image.filename, image.md5) != image.md5:
                raise self._other_copy(await self._compute_name(compute_id), image.filename, image.md5)

    async def _compute_name(self, compute_id: str) -> str:
        return next((c.name for c in await self.computes() if c.compute_id == compute_id), compute_id)

    def _other_copy(self, compute: str, filename: str, md5: str) -> ConflictError:
        return ConflictError(
            f"{self.url}: compute {compute} has another file under the name {filename} (md5 {md5}), and GNS3 would use it",
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
        waits = iter(_COLLISION_WAITS_S)
        while image.size_bytes != size_bytes:
            if (wait_s := next(waits, None)) is None:
                return False
            # The server remembers the checksum of a file, also of one that is being written.
            await asyncio.sleep(wait_s)
            image = await self._on_disk(image.filename) or image
            if image.md5 != md5:
                return False
        return True

    async def _check_disk(self, filename: str, size_bytes: int, md5: str) -> None:
        """Raise ConflictError if another file of this name lies on the disk without a record: it would be replaced.

        Such files come with imported projects, whose nodes use them, or were copied there by hand.
        """
        for attempt in (1, 2):
            try:
                # It may have to hash all that lies there: not worth a long wait, and there the next time.
                there = await asyncio.wait_for(self._on_disk(filename), self._transport.limits.answer_s)
            except (TimeoutError, ConnectError, ForbiddenError, NotFoundError):
                return  # also where GNS3 does not have this route any more, which it calls deprecated
            if there is None or (there.size_bytes, there.md5) == (size_bytes, md5):
                return
            if attempt == 2:
                raise self._other_content(there, size_bytes, md5)
            # Uploads of other agents that are in each other's way put it right themselves.
            await asyncio.sleep(_COLLISION_WAITS_S[0])

    async def _make_free(self, filename: str) -> None:
        try:
            await self.delete_image(filename)
        except NotFoundError:
            pass

    async def _path_of_upload(self, filename: str, size_bytes: int, md5: str, distrusted: frozenset[str]) -> str | None:
        """The route for a file; None if another agent has brought it meanwhile.

        Under ``QEMU/`` the server refuses a content that it has a record of there, also if that file is damaged.  A bare
        name leads to the same folder past this check, and would replace what lies there.
        """
        path = f"/v3/images/upload/{_FOLDER}/{quote(filename)}"
        if not distrusted or _same_content(await self.images(), size_bytes, md5) is None:
            return path
        there = await self._on_disk(filename)
        if there is not None and (there.size_bytes, there.md5) != (size_bytes, md5):
            raise self._other_content(there, size_bytes, md5)
        # The file is there a moment before its record.
        for wait_s in _COLLISION_WAITS_S if there is not None else ():
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

    async def disk_images(self, compute_id: str = LOCAL_COMPUTE) -> list[ServerImage]:
        # A compute looks at its disk, the database does not.
        return await self._listed_by_compute(compute_id, f"list the images of compute {compute_id}")

    async def image_md5(self, filename: str, compute_id: str = LOCAL_COMPUTE) -> str | None:
        there = await self._on_disk(filename, compute_id)
        return there.md5 if there else None

    async def _on_disk(self, filename: str, compute_id: str = LOCAL_COMPUTE) -> ServerImage | None:
        return next((image for image in await self.disk_images(compute_id) if image.filename == filename), None)

    async def delete_image(self, filename: str) -> None:
        await self._command("DELETE", f"/images/{_FOLDER}/{quote(filename)}", f"delete the image {filename}")

    async def rights(self) -> Rights:
        username, administrator = replies.user(await self._object("GET", "/access/users/me", "read the user"))
        if administrator:
            return Rights(username, True)
        needed = await asyncio.gather(*(self._lacks(*question) for question in _QUESTIONS))
        return Rights(username, False, tuple(dict.fromkeys(name for name in needed if name)))

    async def _lacks(self, method: str, path: str, body: Any) -> str:
        """The privilege whose lack is the reason of a refusal; "" if the server has another reason."""
        try:
            await self._command(method, path.format(id=uuid.uuid4()), "ask for rights", body)
        except ForbiddenError as error:
            lacking = re.search(r"privilege (\S+) is required", error.message)
            return lacking[1] if lacking else ""
        except (NotFoundError, RejectedError, ConflictError):
            pass
        return ""

    async def raw_images_allowed(self) -> bool | None:
        method, path, body = _RAW_QUESTION
        try:
            await self._command(method, path, "ask whether raw images are allowed", body)
        except RejectedError as error:
            return False if "Raw images are not allowed" in error.message else None
        except ForbiddenError as error:
            # The question about the path comes after the one about raw images.
            return True if "Cannot write disk image" in error.message else None
        except ServerError:
            pass
        return None

    async def image_bytes(self, filename: str) -> AsyncIterator[bytes]:
        raise UnsupportedServerError(
            f"{self.url}: image {filename} cannot be read: API v3 gives images to its own computes only",
            hint="Copy it from the folder images/QEMU on the server.",
        )
        yield b""  # makes this an asynchronous generator, as in API v2

    async def computes(self) -> list[Compute]:
        # The server's own compute and the GNS3 VM are missing in the list, and asking for them by name is an error 500.
        listed, vm, platform = await asyncio.gather(
            self._list("/computes", "list the computes"), self._gns3_vm(), self._local_platform()
        )
        own = [Compute(LOCAL_COMPUTE, "local", True, self.version, platform), *vm]
        return [*own, *(replies.compute(item) for item in listed)]

    async def _gns3_vm(self) -> list[Compute]:
        """The GNS3 VM, if the server has one."""
        try:
            settings = await self._object("GET", "/gns3vm", "ask for the GNS3 VM")
        except (ForbiddenError, NotFoundError):
            return []
        if settings.get("enable") is not True:
            return []
        try:
            said = await self._capabilities(VM_COMPUTE)
        except NotFoundError:
            return []
        except ServerError:
            said = {}
        version, platform = (str(said[key]) if said.get(key) else None for key in ("version", "platform"))
        return [Compute(VM_COMPUTE, "GNS3 VM", bool(version), version, platform)]

    async def _local_platform(self) -> str | None:
        """Where the server's own compute runs, if that may matter: only the GUI starts servers where QEMU is missing."""
        if not self._runs_beside_gui:
            return None
        try:
            return str((await self._capabilities(LOCAL_COMPUTE)).get("platform") or "") or None
        except ServerError:
            return None

    async def _capabilities(self, compute_id: str) -> dict[str, Any]:
        # Without the slash at its end the controller would not pass it on.
        path = f"/computes/{quote(compute_id)}/capabilities/"
        return await self._object("GET", path, f"ask compute {compute_id} what it can do", timeout_s=self._node_s)

    async def _find(self, filename: str) -> ServerImage | None:
        path = f"/images/{_FOLDER}/{quote(filename)}"
        try:
            return replies.image_v3(await self._object("GET", path, f"look for the image {filename}"))
        except NotFoundError:
            return None


def _same_content(
    listed: Iterable[ServerImage], size_bytes: int, md5: str, distrusted: Collection[str] = ()
) -> str | None:
    found = (image for image in listed if (image.size_bytes, image.md5) == (size_bytes, md5))
    return next((image.filename for image in found if image.filename not in distrusted), None)
