"""The base of both APIs: requests below /v2 or /v3 of one server."""

from __future__ import annotations

from typing import Any

from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import Transport, expect_list, expect_object


class Routes(Server):
    """A server with a transport."""

    def __init__(
        self, transport: Transport, version: str, warnings: tuple[str, ...] = (), *, runs_beside_gui: bool = False
    ) -> None:
        self._transport = transport
        self._prefix = f"/v{self.generation}"
        self.version = version
        self.url = transport.address.url
        self.warnings = warnings
        self._runs_beside_gui = runs_beside_gui

    async def close(self) -> None:
        await self._transport.close()

    # Requests

    async def _object(self, method: str, path: str, action: str, body: Any = None, **options: Any) -> dict[str, Any]:
        answer = await self._transport.json(method, self._prefix + path, action, body=body, **options)
        return expect_object(answer, self._transport.address, action)

    async def _list(self, path: str, action: str, **options: Any) -> list[dict[str, Any]]:
        answer = await self._transport.json("GET", self._prefix + path, action, **options)
        return expect_list(answer, self._transport.address, action)

    async def _command(self, method: str, path: str, action: str, body: Any = None, **options: Any) -> None:
        await self._transport.json(method, self._prefix + path, action, body=body, **options)

    @property
    def _node_s(self) -> float:
        return self._transport.limits.node_s
