"""A small HTTP proxy that knows one host name and sends everything to a server on loopback.

It forwards requests with absolute URLs (RFC 9112, 3.2.2) and opens tunnels (CONNECT, RFC 9110, 9.3.6), one request on
a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HOST = "gns3.test"


@dataclass
class Proxy:
    """``seen`` are the request lines that came, without the version."""

    url: str = ""
    seen: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, _, fields = head.partition("\r\n")
            method, target, _ = line.split(" ")
            self.seen.append(f"{method} {target}")
            place = urlsplit(f"//{target}" if method == "CONNECT" else target)
            assert place.hostname == HOST, target
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", place.port)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = target[target.index("/", len("http://")) :]
                kept = [one for one in fields.split("\r\n") if one and not one.lower().startswith("connection:")]
                lines = [f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
                other_writer.write("\r\n".join(lines).encode("latin-1"))
            await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    """A proxy on loopback until the block ends."""
    proxy = Proxy()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await proxy.serve(reader, writer)
        tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
