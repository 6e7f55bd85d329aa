"""A registry that misbehaves on request; what it was asked is kept."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.oci import BlobImage


class FakeRegistry:
    """What it serves and how; ``seen`` are (method, path, query, headers) of all requests."""

    def __init__(self, image: BlobImage, host: str) -> None:
        self.host = host
        self.image = image
        self.blobs = image.blobs
        self.tags = {"1": image.top["digest"]}
        self.seen: list[tuple[str, str, dict[str, list[str]], dict[str, str]]] = []
        self.auth = ""
        """ "bearer", "basic" or nothing."""
        self.realm = ""
        self.login = "me:secret"
        self.identity_token = ""
        self.redirect_blobs_to = self.redirect_manifests_to = ""
        self.break_after = 0
        """Bytes of a blob's answer after which the connection ends."""
        self.ranges = True
        self.busy = 0
        """Number of requests to answer with 503."""
        self.damage: dict[str, bytes] = {}
        """Other bytes for a digest."""
        self.status: dict[str, int] = {}
        """Answers for a digest; ``words`` is what they say."""
        self.words = ""
        self.digest_header = ""
        self.page = ""
        """A web page that is all it has to say."""
        self.together: threading.Barrier | None = None
        """Blobs are answered for only when as many have been asked for at once."""
        self.stall: set[str] = set()
        """Digests that are not answered for until ``released``; ``stalled`` says that one has been asked for."""
        self.stalled, self.released = threading.Event(), threading.Event()

    def asked(self, part: str) -> list[dict[str, str]]:
        """The headers of the requests for paths with this part."""
        return [headers for _, path, _, headers in self.seen if part in path]


@contextmanager
def fake_registry(image: BlobImage) -> Iterator[FakeRegistry]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.body = b""
            _answer(self, registry)

        def do_POST(self) -> None:
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
            _answer(self, registry)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is none."""

    server = Server(("127.0.0.1", 0), Handler)
    registry = FakeRegistry(image, f"127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(handler: Any, registry: FakeRegistry) -> None:
    parts = urlsplit(handler.path)
    query = parse_qs(parts.query or handler.body.decode())
    registry.seen.append((handler.command, parts.path, query, dict(handler.headers)))
    if parts.path == "/token":
        return _token(handler, registry, query)
    if parts.path == "/v2/":
        return _send(handler, 200, b"{}")
    if registry.page:
        return _send(handler, 404, registry.page.encode(), {"Content-Type": "text/html; charset=utf-8"})
    if registry.busy:
        registry.busy -= 1
        return _send(handler, 503, b"")
    if registry.auth and handler.headers["Authorization"] != _expected(registry):
        realm = registry.realm or f"http://{registry.host}/token"
        asked = {"bearer": f'Bearer realm="{realm}",service="reg",scope="other"', "basic": 'Basic realm="x"'}
        return _send(handler, 401, b"{}", {"WWW-Authenticate": asked[registry.auth]})
    match = re.fullmatch(r"/v2/(?:team/app|app)/(manifests|blobs)/(.+)", parts.path)
    digest = registry.tags.get(match[2], match[2]) if match else ""
    if match is None or digest not in registry.blobs:
        return _send(handler, 404, b'{"errors": [{"code": "UNKNOWN"}]}')
    if digest in registry.stall:
        registry.stalled.set()
        registry.released.wait(20)
    if digest in registry.status:
        said = json.dumps({"errors": [{"message": registry.words}]}).encode() if registry.words else b""
        return _send(handler, registry.status[digest], said)
    data = registry.damage.get(digest, registry.blobs[digest])
    if match[1] == "manifests" and registry.redirect_manifests_to:
        return _send(handler, 302, b"", {"Location": registry.redirect_manifests_to + handler.path})
    if match[1] == "manifests":
        kind = json.loads(registry.blobs[digest]).get("mediaType", "")
        stated = {"Docker-Content-Digest": registry.digest_header} if registry.digest_header else {}
        return _send(handler, 200, data, {"Content-Type": kind, **stated})
    if registry.redirect_blobs_to:
        return _send(handler, 307, b"", {"Location": registry.redirect_blobs_to + handler.path})
    if registry.together and digest != registry.image.manifest["config"]["digest"]:
        registry.together.wait(10)
    _blob(handler, registry, data)


def _expected(registry: FakeRegistry) -> str:
    basic = "Basic " + base64.b64encode(registry.login.encode()).decode()
    return basic if registry.auth == "basic" else "Bearer the-token"


def _token(handler: Any, registry: FakeRegistry, query: dict[str, list[str]]) -> None:
    basic = "Basic " + base64.b64encode(registry.login.encode()).decode()
    good = handler.headers["Authorization"] == basic
    if registry.identity_token:
        good = query.get("refresh_token") == [registry.identity_token] and handler.command == "POST"
    if not good:
        return _send(handler, 401, b'{"errors": [{"message": "bad credentials"}]}')
    _send(handler, 200, b'{"token": "the-token"}')


def _blob(handler: Any, registry: FakeRegistry, data: bytes) -> None:
    start = 0
    wanted = re.match(r"bytes=(\d+)-", handler.headers["Range"] or "")
    headers = {}
    if wanted and registry.ranges:
        start = int(wanted[1])
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    if registry.break_after and len(data) - start > registry.break_after:
        handler.send_response(206 if headers else 200)
        for name, value in {**headers, "Content-Length": str(len(data) - start)}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data[start : start + registry.break_after])
        handler.close_connection = True
        return
    _send(handler, 206 if headers else 200, data[start:], headers)


def _send(handler: Any, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)
