"""The same work on several servers at once; an error on one never stops the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from gns3_minivm.base.errors import BugError, MiniVMError
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import ConnectionLimits

T = TypeVar("T")


@dataclass(frozen=True)
class ServerOutcome(Generic[T]):
    """The outcome of the work on one server: a value or an error."""

    address: Address
    value: T | None
    error: MiniVMError | None


class Connection:
    """A server that is connected to when work is done there first, and stays connected."""

    def __init__(self, address: Address, limits: ConnectionLimits | None = None) -> None:
        self.address = address
        self._limits = limits
        self._server: Server | None = None

    async def run(self, work: Callable[[Server], Awaitable[T]]) -> ServerOutcome[T]:
        """Run ``work`` on the server; an error is in the outcome."""
        try:
            if self._server is None:
                self._server = await connect(self.address, self._limits)
            return ServerOutcome(self.address, await work(self._server), None)
        except MiniVMError as error:
            return ServerOutcome(self.address, None, error)
        except Exception as error:  # noqa: BLE001 - a defect met on one server must not stop the others either
            bug = BugError(f"{self.address}: {type(error).__name__}: {error}")
            bug.__cause__ = error
            return ServerOutcome(self.address, None, bug)

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()


@asynccontextmanager
async def connections(
    addresses: Sequence[Address], limits: ConnectionLimits | None = None
) -> AsyncIterator[list[Connection]]:
    """Connections to servers for several rounds of work, closed at the end."""
    opened = [Connection(address, limits) for address in addresses]
    try:
        yield opened
    finally:
        for connection in opened:
            await connection.close()


async def on_each(
    addresses: Sequence[Address], work: Callable[[Server], Awaitable[T]], *, limits: ConnectionLimits | None = None
) -> list[ServerOutcome[T]]:
    """Connect to every server and run ``work`` on it; outcomes come in the order of ``addresses``."""
    async with connections(addresses, limits) as opened:
        return list(await asyncio.gather(*(connection.run(work) for connection in opened)))
