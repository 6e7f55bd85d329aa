"""A local HTTP server that misbehaves on purpose: answers are scripted per route.  Real servers are in gns3.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeGNS3:
    """``answers`` holds a list of handlers for "METHOD /path"; the last one answers all further requests."""

    url: str = ""
    answers: dict[str, list[Handler]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    """What was asked: "METHOD /path authorization"."""

    def on(self, route: str, *handlers: Handler) -> None:
        self.answers[route] = list(handlers)

    def count(self, route: str) -> int:
        """How often "METHOD /path" was asked for."""
        return sum(asked.startswith(f"{route} ") for asked in self.seen)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        route = f"{request.method} {request.path}"
        self.seen.append(f"{route} {request.headers.get('Authorization', '-')}")
        handlers = self.answers.get(route)
        if not handlers:
            return web.json_response({"detail": "Not Found"}, status=404)
        return await (handlers.pop(0) if len(handlers) > 1 else handlers[0])(request)


def reply(body: object = None, status: int = 200) -> Handler:
    """A JSON answer."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return handler


def text(body: str | bytes, status: int = 200) -> Handler:
    """An answer that is no JSON."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body if isinstance(body, bytes) else body.encode(), status=status)

    return handler


async def drop(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    raise web.HTTPInternalServerError


@asynccontextmanager
async def fake_gns3(generation: int = 3) -> AsyncIterator[FakeGNS3]:
    """A server that so far only tells its version, and takes any login on API v3."""
    fake = FakeGNS3()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    async with TestServer(app) as server:
        fake.url = f"http://127.0.0.1:{server.port}"
        if generation == 3:
            fake.on("GET /v3/version", reply({"version": "3.0.6"}))
            fake.on("POST /v3/access/users/authenticate", reply({"access_token": "t1", "token_type": "bearer"}))
        else:
            fake.on("GET /v2/version", reply({"version": "2.2.61"}))
        yield fake
