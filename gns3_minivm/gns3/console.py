"""A node's telnet console as a stream of bytes, on servers of both generations.

RFC 854, as far as GNS3 goes: gns3server/utils/asyncio/telnet_server.py (2.2.61, 3.0.6) stands between its clients and
QEMU's own telnet.  It says at once what it will do, and goes on whatever the answer is, so this client only listens: an
answer to its ``WILL SGA`` is answered with ``WILL SGA`` again.  All clients see the same output from the moment that
they come; what was shown while nobody was connected is given to the first one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gns3_minivm.base.errors import ConnectError

CONNECT_LIMIT_S = 10.0
_IAC = 0xFF
_LAST_COMMANDS = range(240, 251)
_NEGOTIATION = range(251, 255)


class NodeConsole:
    """An open console: a reader and a writer in one, for ``guest.exec.GuestExec`` and for people."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._held = b""

    async def read(self, n: int = 65536, /) -> bytes:
        """The next bytes that the node has written; none at the end.  Raises ConnectionError."""
        while data := await self._reader.read(n):
            text, self._held = without_telnet(self._held + data)
            if text:
                return text
        return b""

    def write(self, data: bytes, /) -> None:
        """Type bytes; 0xff, which no text in UTF-8 has, is left out: QEMU would take it for a telnet command."""
        self._writer.write(data.replace(b"\xff", b""))

    async def drain(self) -> None:
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@asynccontextmanager
async def open_console(host: str, port: int, *, node: str = "") -> AsyncIterator[NodeConsole]:
    """Connect to a console, which is closed when the block has ended.  Raises ConnectError."""
    name = f"the console of node {node}" if node else "the console"
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            reader, writer = await asyncio.open_connection(host, port)
    except TimeoutError as error:
        raise ConnectError(
            f"{name} at {host}:{port} does not answer within {CONNECT_LIMIT_S:g} s",
            hint="Consoles have ports of their own beside the API's: a firewall must let them through.",
        ) from error
    except OSError as error:
        raise ConnectError(
            f"{name} at {host}:{port} cannot be reached: {error.strerror or error}",
            hint="A node has a console only while it runs.",
        ) from error
    console = NodeConsole(reader, writer)
    try:
        yield console
    finally:
        await console.close()


def without_telnet(data: bytes) -> tuple[bytes, bytes]:
    """Take telnet commands out: what is left, and the beginning of a command that has not come whole.

    What the guest writes is not escaped by QEMU, so 0xff before anything that is no command is the guest's.
    """
    text = bytearray()
    at = 0
    while (found := data.find(_IAC, at)) >= 0:
        text += data[at:found]
        command = data[found + 1] if found + 1 < len(data) else None
        if command is None or (command in _NEGOTIATION and found + 3 > len(data)):
            return bytes(text), data[found:]
        if command in _NEGOTIATION:
            at = found + 3
        elif command in _LAST_COMMANDS:
            at = found + 2
        else:
            text.append(_IAC)
            at = found + (2 if command == _IAC else 1)
    return bytes(text + data[at:]), b""
