"""A GNS3 server of API v3 (3.0.x)."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RejectedError,
    ServerError,
    ServerFaultError,
)
from gns3_minivm.gns3 import locks, replies, uploads
from gns3_minivm.gns3.model import LOCAL_COMPUTE, VM_COMPUTE, Compute, Node, Rights, ServerTemplate
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.v3 import messages
from gns3_minivm.gns3.v3.images import ImageRoutesV3

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


class ServerV3(ImageRoutesV3, Server):
    """The routes that API v3 has in its own way."""

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

    async def update_template(self, template_id: str, changes: Mapping[str, Any]) -> ServerTemplate:
        waits = iter(uploads.COLLISION_WAITS_S)
        while True:
            try:
                async with locks.exclusive(self.url, "template", template_id):
                    return await super().update_template(template_id, changes)
            except ServerFaultError as error:
                # Of two changes of a template's images at once, one finds in the database what the other has replaced.
                if "Database error" not in error.message or not await uploads.waited(waits):
                    raise

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

    async def qemu_versions(self, compute_id: str = LOCAL_COMPUTE) -> tuple[str, ...] | None:
        del compute_id  # API v3 tells of none
        return None

    async def rights(self) -> Rights:
        username, administrator = replies.user(await self._object("GET", "/access/users/me", "read the user"))
        if administrator:
            return Rights(username, True)
        needed = await asyncio.gather(*(self._lacks(*question) for question in _QUESTIONS))
        return Rights(username, False, tuple(dict.fromkeys(name for name in needed if name)))

    async def _lacks(self, method: str, path: str, body: Any) -> str:
        """The missing privilege that caused a refusal; "" if the server has another reason."""
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

    async def computes(self) -> list[Compute]:
        # The server's own compute and the GNS3 VM are missing in the list, and asking for them by name is an error 500.
        listed, vm, platform = await asyncio.gather(
            self._list("/computes", "list the computes"), self._gns3_vm(), self._local_platform()
        )
        own = [
            Compute(compute_id=LOCAL_COMPUTE, name="local", connected=True, version=self.version, platform=platform),
            *vm,
        ]
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
        return [
            Compute(compute_id=VM_COMPUTE, name="GNS3 VM", connected=bool(version), version=version, platform=platform)
        ]

    async def _local_platform(self) -> str | None:
        """Where the server's own compute runs, if that matters: only the GUI starts servers where QEMU is missing."""
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
