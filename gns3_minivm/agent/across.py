"""The same work on several servers at once; what fails on one never stops the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gns3_minivm.errors import BugError, MiniVMError
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import Limits

T = TypeVar("T")


@dataclass(frozen=True)
class ServerOutcome(Generic[T]):
    """What came of the work on one server: a value or an error."""

    address: Address
    value: T | None
    error: MiniVMError | None


async def on_each(
    addresses: Sequence[Address], work: Callable[[Server], Awaitable[T]], *, limits: Limits | None = None
) -> list[ServerOutcome[T]]:
    """Connect to every server and run ``work`` on it; outcomes come in the order of ``addresses``."""

    async def one(address: Address) -> ServerOutcome[T]:
        try:
            async with await connect(address, limits) as server:
                return ServerOutcome(address, await work(server), None)
        except MiniVMError as error:
            return ServerOutcome(address, None, error)
        except Exception as error:  # noqa: BLE001 - a defect met on one server must not stop the others either
            bug = BugError(f"{address}: {type(error).__name__}: {error}")
            bug.__cause__ = error
            return ServerOutcome(address, None, bug)

    return list(await asyncio.gather(*(one(address) for address in addresses)))
