"""Links and drawings of a project, by the same routes below /v2 and /v3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gns3_minivm.gns3 import messages, replies
from gns3_minivm.gns3.messages import checked
from gns3_minivm.gns3.model import Drawing, Link, LinkEnd
from gns3_minivm.gns3.routes import Routes


class LinkRoutes(Routes):
    """The links and drawings of a server's projects."""

    one_link_at_a_time: bool
    """Whether two links that are made at once may get the same UDP port, so that their nodes do not start."""

    async def links(self, project_id: str) -> list[Link]:
        answer = await self._list(f"/projects/{quote(project_id)}/links", f"list the links of project {project_id}")
        return [replies.link(item, project_id) for item in answer]

    async def create_link(
        self,
        project_id: str,
        ends: Sequence[LinkEnd],
        *,
        filters: Mapping[str, Any] | None = None,
        style: Mapping[str, Any] | None = None,
        suspended: bool = False,
    ) -> Link:
        """Connect two ports."""
        values = _given(filters, style, suspended or None) | {"nodes": [_end(end) for end in ends]}
        body = checked(messages.LinkCreate, values, "link")
        path = f"/projects/{quote(project_id)}/links"
        return replies.link(await self._object("POST", path, "create a link", body, timeout_s=self._node_s), project_id)

    async def update_link(
        self,
        project_id: str,
        link_id: str,
        *,
        filters: Mapping[str, Any] | None = None,
        style: Mapping[str, Any] | None = None,
        suspended: bool | None = None,
    ) -> Link:
        """Change what is given of a link."""
        body = checked(messages.LinkUpdate, _given(filters, style, suspended), f"link {link_id}")
        path = f"/projects/{quote(project_id)}/links/{quote(link_id)}"
        action = f"update the link {link_id}"
        return replies.link(await self._object("PUT", path, action, body, timeout_s=self._node_s), project_id)

    async def delete_link(self, project_id: str, link_id: str) -> None:
        path = f"/projects/{quote(project_id)}/links/{quote(link_id)}"
        await self._command("DELETE", path, f"delete the link {link_id}", timeout_s=self._node_s)

    async def drawings(self, project_id: str) -> list[Drawing]:
        path = f"/projects/{quote(project_id)}/drawings"
        return [replies.drawing(item) for item in await self._list(path, f"list the drawings of project {project_id}")]

    async def create_drawing(
        self, project_id: str, svg: str, *, x: int, y: int, z: int = 0, rotation: int = 0
    ) -> Drawing:
        """Put a picture on the canvas."""
        values = {"svg": svg, "x": x, "y": y, "z": z, "rotation": rotation}
        body = checked(messages.DrawingCreate, values, "drawing")
        path = f"/projects/{quote(project_id)}/drawings"
        return replies.drawing(await self._object("POST", path, "create a drawing", body))

    async def delete_drawing(self, project_id: str, drawing_id: str) -> None:
        path = f"/projects/{quote(project_id)}/drawings/{quote(drawing_id)}"
        await self._command("DELETE", path, f"delete the drawing {drawing_id}")


def _end(end: LinkEnd) -> dict[str, Any]:
    place = {"node_id": end.node_id, "adapter_number": end.adapter, "port_number": end.port}
    return place | ({"label": {"text": end.label}} if end.label else {})


def _given(
    filters: Mapping[str, Any] | None, style: Mapping[str, Any] | None, suspended: bool | None
) -> dict[str, Any]:
    values = {"filters": filters, "link_style": style, "suspend": suspended}
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()
            if value is not None}  # fmt: skip
