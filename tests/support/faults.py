"""A reverse proxy in front of a real GNS3 server that does harm where a test asks for it."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from tests.support.gns3 import PASSWORD, USERNAME, GNS3Process

Harm = Callable[["FaultyServer", web.Request], Awaitable[web.StreamResponse]]

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


@dataclass
class Rule:
    """Do ``harm`` to the next ``times`` requests whose "METHOD /path" matches; None for all of them."""

    pattern: str
    harm: Harm
    times: int | None = None
    met: int = 0

    def takes(self, route: str) -> bool:
        if re.search(self.pattern, route) is None or (self.times is not None and self.met >= self.times):
            return False
        self.met += 1
        return True


@dataclass
class FaultyServer:
    """A real server as it is seen through a bad network; ``seen`` are the routes that were asked for."""

    process: GNS3Process
    session: aiohttp.ClientSession
    port: int = 0
    rules: list[Rule] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        login = f"{USERNAME}:{PASSWORD}@" if self.process.auth else ""
        return f"http://{login}127.0.0.1:{self.port}"

    def on(self, pattern: str, harm: Harm, *, times: int | None = None) -> Rule:
        rule = Rule(pattern, harm, times)
        self.rules.append(rule)
        return rule

    def heal(self) -> None:
        self.rules.clear()
        self.over.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        route = f"{request.method} {request.path}"
        self.seen.append(route)
        for rule in self.rules:
            if rule.takes(route):
                return await rule.harm(self, request)
        return await self.forward(request)

    async def forward(self, request: web.Request, *, stop_after: int | None = None) -> web.StreamResponse:
        """Pass a request on and its answer back, bodies piece by piece.

        Once ``stop_after`` bytes of the answer's body have passed, no more come until the test is over.
        """
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        body = request.content.iter_any() if request.body_exists else None
        url = f"{self.process.bare_url}{request.raw_path}"
        async with self.session.request(
            request.method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            passed = 0
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
                passed += len(chunk)
                if stop_after is not None and passed >= stop_after:
                    await self.over.wait()
            await response.write_eof()
            return response


def status(code: int, body: str = '{"message": "the server says no"}') -> Harm:
    """Answer with this status, whatever was asked."""

    async def harm(_server: FaultyServer, request: web.Request) -> web.StreamResponse:
        async for _ in request.content.iter_any():
            pass
        return web.Response(status=code, text=body, content_type="application/json")

    return harm


def nonsense(body: bytes) -> Harm:
    """Answer 200 with something else than what was asked for."""

    async def harm(_server: FaultyServer, request: web.Request) -> web.StreamResponse:
        async for _ in request.content.iter_any():
            pass
        return web.Response(body=body)

    return harm


async def drop(_server: FaultyServer, request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    raise web.HTTPInternalServerError


async def drop_after_it_was_done(server: FaultyServer, request: web.Request) -> web.StreamResponse:
    """Let the real server do what was asked, and lose its answer."""
    data = await request.read()
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    async with server.session.request(
        request.method, server.process.bare_url + request.path_qs, headers=headers, data=io.BytesIO(data)
    ) as answer:
        await answer.read()
    return await drop(server, request)


async def drop_in_the_middle(server: FaultyServer, request: web.Request) -> web.StreamResponse:
    """Pass half of the body on, then close both connections."""
    half = (request.content_length or 0) // 2
    _, writer = await asyncio.open_connection("127.0.0.1", server.process.port)
    lines = [f"{request.method} {request.raw_path} HTTP/1.1", f"Host: 127.0.0.1:{server.process.port}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() != "host"]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    writer.write(await request.content.readexactly(half))
    await writer.drain()
    # The real server shall have begun to write.
    await asyncio.sleep(0.2)
    writer.transport.abort()
    return await drop(server, request)


async def stand_still(server: FaultyServer, _request: web.Request) -> web.StreamResponse:
    """Take the request and answer only when the test is over."""
    await server.over.wait()
    return web.Response(status=500)


def stand_still_after(size_bytes: int) -> Harm:
    """Pass a part of the answer on; the rest comes only when the test is over."""

    async def harm(server: FaultyServer, request: web.Request) -> web.StreamResponse:
        return await server.forward(request, stop_after=size_bytes)

    return harm


@asynccontextmanager
async def faulty(process: GNS3Process) -> AsyncIterator[FaultyServer]:
    """A proxy in front of ``process`` that does no harm so far."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        server = FaultyServer(process, session)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", server.handle)
        async with TestServer(app) as front:
            assert front.port is not None
            server.port = front.port
            try:
                yield server
            finally:
                server.over.set()
