"""The base of all routes: requests below /v2 or /v3 of one server."""

from __future__ import annotations

from abc import ABC
from types import TracebackType
from typing import Any, Self

from gns3_minivm.gns3.transport import Transport, expect_list, expect_object


class Routes(ABC):
    """A server with a transport.

    What it can do is told by attributes of the routes, such as ``can_delete_images``, and never by its version.
    """

    generation: int
    """2 or 3: part of every route, and for people to read."""
    version: str
    url: str
    warnings: tuple[str, ...]
    """Things the user should know about this server, such as a default password."""

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

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
