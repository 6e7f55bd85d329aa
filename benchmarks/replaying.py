"""Answers of real GNS3 servers, recorded on their way and given again by servers that cost nothing.

A recording holds, for each request (method, path and query), the answers in the order in which they came; a replayed
server gives them in that order, and the last one from then on.  Upload bodies are taken in and thrown away.

    python benchmarks/replaying.py RECORDING PORT...       serves until SIGTERM, then prints {port: number of requests}
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

# What aiohttp and the servers set by themselves, for this connection.
_OWN_HEADERS = frozenset(("connection", "content-encoding", "content-length", "date", "server", "transfer-encoding"))
_LARGEST_BODY = 1 << 40
Recording = dict[str, list[dict[str, Any]]]


def _key(request: web.Request) -> str:
    return f"{request.method} {request.raw_path}"


@asynccontextmanager
async def _serving(handler: Any, port: int) -> AsyncIterator[int]:
    """An HTTP server on loopback; gives its port (of its own choice for 0)."""
    application = web.Application(client_max_size=_LARGEST_BODY)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def recording_proxy(upstream: str) -> AsyncIterator[tuple[str, Recording]]:
    """A server that passes requests on to ``upstream`` and keeps the answers; gives its URL and what it has kept."""
    kept: Recording = defaultdict(list)
    async with ClientSession(timeout=ClientTimeout(total=None)) as session:

        async def handle(request: web.Request) -> web.Response:
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            body = request.content if request.body_exists else None
            async with session.request(
                request.method, upstream + request.raw_path, headers=headers, data=body, allow_redirects=False
            ) as answer:
                said = await answer.text()
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN_HEADERS}
            kept[_key(request)].append({"status": answer.status, "headers": passed, "body": said})
            return web.Response(status=answer.status, headers=passed, body=said.encode())

        async with _serving(handle, 0) as port:
            yield f"http://127.0.0.1:{port}", kept


class Replay:
    """One replayed server."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._given: Counter[str] = Counter()
        self.requests = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        while await request.content.readany():
            pass
        key = _key(request)
        answers = self._recording.get(key)
        if not answers:
            return web.Response(status=500, text=f"{key} was not recorded")
        answer = answers[min(self._given[key], len(answers) - 1)]
        self._given[key] += 1
        return web.Response(status=answer["status"], headers=answer["headers"], body=answer["body"].encode())


async def replay(recordings: Path, ports: list[int]) -> dict[int, int]:
    """Serve on all ports, in turn with the recordings of the file, until SIGTERM; the number of requests of each."""
    known: list[Recording] = json.loads(recordings.read_text())
    servers = {port: Replay(known[i % len(known)]) for i, port in enumerate(ports)}
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with asyncio.TaskGroup() as group:

        async def serve(port: int) -> None:
            async with _serving(servers[port].handle, port):
                await ended.wait()

        for port in ports:
            group.create_task(serve(port))
    return {port: server.requests for port, server in servers.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(replay(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]]))))
