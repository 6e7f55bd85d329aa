"""What a conversion asks of an engine on this machine, over its Unix socket and without the ``docker`` package.

That package takes longer to load than everything else that precedes the first request, and it passes an image on in
pieces of 32 KiB, each through a dozen calls.  This module has only the requests that everything else waits for (GET;
Docker Engine API), and knows only the expected answers: any other is left to the package, which asks again and reports
it.

HTTP/1.1 (RFC 9112), one connection for each request.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

_PIECE_SIZE = 1 << 20
_HEAD_MAX = 64 << 10
_DOCUMENT_MAX = 16 << 20
_CHUNK_LINE_MAX = 256
_CHUNK_LINE = re.compile(rb"(?:\r\n)?([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r\n", re.DOTALL)


class UnexpectedError(Exception):
    """An answer that this module does not handle."""


@dataclass(frozen=True)
class EngineSocket:
    """The socket ``path``, on which an engine speaks the API's version ``version`` (empty: its own)."""

    path: str
    version: str = ""

    def document(self, target: str, timeout_s: float) -> Any:
        """The JSON document of a route (blocking).  Raises UnexpectedError, also for a late answer."""
        data = bytearray()
        try:
            for piece in self._get(target, timeout_s):
                data += piece
                if len(data) > _DOCUMENT_MAX:
                    raise UnexpectedError(f"a document of more than {_DOCUMENT_MAX} bytes")
            return json.loads(data)
        except (OSError, ValueError, RecursionError) as error:
            raise UnexpectedError(str(error)) from error

    def stream(self, target: str) -> Iterator[memoryview]:
        """The bytes of a route, in large pieces and however long the engine takes (blocking).

        Raises UnexpectedError before the first piece, OSError where the engine stops in the middle.
        """
        return self._get(target, None)

    def _get(self, target: str, timeout_s: float | None) -> Iterator[memoryview]:
        prefix = f"/v{self.version}" if self.version else ""
        with self._connected(timeout_s) as connection:
            request = f"GET {quote(prefix + target, safe='/:')} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode("ascii"))
            body = _Body(connection)
            piece = bytearray()
            for part in body.parts():
                piece += part
                if len(piece) >= _PIECE_SIZE:
                    yield memoryview(piece)
                    piece = bytearray()
            yield memoryview(piece)

    @contextmanager
    def _connected(self, timeout_s: float | None) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            try:
                connection.connect(self.path)
            except OSError as error:
                raise UnexpectedError(str(error)) from error
            yield connection


class _Body:
    """The body of an answer; its head is read at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        status, *lines = self._head().split("\r\n")
        if status.split(" ")[1:2] != ["200"]:
            raise UnexpectedError(status)
        fields = [line.partition(":") for line in lines]
        headers = {name.strip().lower(): value.strip().lower() for name, _, value in fields}
        length = headers.get("content-length")
        self._chunked = headers.get("transfer-encoding") == "chunked"
        if "content-encoding" in headers or ("transfer-encoding" in headers and not self._chunked):
            raise UnexpectedError("a body that is encoded")
        if length is not None and not (length.isascii() and length.isdecimal()):
            raise UnexpectedError(f"a length of {length!r}")
        self._length = None if length is None else int(length)

    def _head(self) -> str:
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                part = self._connection.recv(4096)
                data += part
                if not part or len(data) > _HEAD_MAX:
                    raise UnexpectedError("no answer")
        except OSError as error:
            raise UnexpectedError(str(error)) from error
        head, _, self._first = data.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def parts(self) -> Iterator[memoryview]:
        """The bytes as they come; each part is good until the next one is asked for."""
        return self._chunks() if self._chunked else self._plain()

    def _received(self) -> Iterator[memoryview]:
        yield memoryview(self._first)
        buffer = memoryview(bytearray(_PIECE_SIZE))
        while size := self._connection.recv_into(buffer):
            yield buffer[:size]

    def _plain(self) -> Iterator[memoryview]:
        left = self._length
        for part in self._received():
            yield part if left is None else part[:left]
            if left is not None:
                left -= len(part)
                if left <= 0:
                    return
        if left is not None:
            raise _broken(errno.ECONNRESET)

    def _chunks(self) -> Iterator[memoryview]:
        left = 0
        line = b""  # a chunk's size, as far as it has come; the end of the data before it stands there first
        for part in self._received():
            while part:
                if left:
                    data, part = part[:left], part[left:]
                    left -= len(data)
                    yield data
                    continue
                before = len(line)
                line += bytes(part[:_CHUNK_LINE_MAX])
                end = line.find(b"\n", 2) + 1
                part = part[(end or len(line)) - before :]
                if end:
                    left, line = _chunk_size(line[:end]), b""
                    if not left:
                        return
                elif len(line) > _CHUNK_LINE_MAX:
                    raise _broken(errno.EPROTO)
        raise _broken(errno.ECONNRESET)


def _chunk_size(line: bytes) -> int:
    match = _CHUNK_LINE.fullmatch(line)
    if match is None:
        raise _broken(errno.EPROTO)
    return int(match[1], 16)


def _broken(number: int) -> OSError:
    return OSError(number, os.strerror(number))
