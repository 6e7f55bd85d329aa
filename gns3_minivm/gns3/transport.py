"""HTTP to one GNS3 server: one aiohttp session, limits as values, a login that renews itself, careful repetition.

Only requests that may safely be sent twice are repeated after a broken connection.  The environment's HTTP proxies are
honoured, except for loopback; ``~/.netrc`` is not read (aiohttp refuses to combine it with our own header).  Nothing is
logged here, and redirects are not followed, so credentials go to no other host.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import ipaddress
import json
import os
import ssl
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter

from gns3_minivm.base.errors import ConfigError, HostError, MiniVMError, ServerFaultError
from gns3_minivm.base.events import Progress
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.foreign import from_exception, from_status, is_passing

Body = bytes | Callable[[], aiohttp.Payload]

LOGIN_ROUTE = "/access/users/authenticate"
_CHUNK_SIZE = 1 << 20
_LAST_WORDS_S = 0.1


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """How long to wait and how often to try, for one server."""

    connect_s: float = 10
    answer_s: float = 60
    """An ordinary request."""
    node_s: float = 240
    """Start, stop and delete: a shutdown signal alone may take 120 s; GNS3's own limit is 240 s."""
    creation_s: float = 1800
    """Making a node, or all of a project: images are copied to computes and hashed.  GNS3's own limit is 1200 s."""
    listing_s: float = 900
    """A list of images: the server hashes all that it has not hashed yet."""
    stall_s: float = 120
    """An upload or download that does not move at all."""
    digest_bytes_per_s: int = 10_000_000
    """How slowly a server may hash what has just arrived."""
    attempts: int = 3
    backoff_s: float = 0.3
    connections: int = 8


def basic_authorization(username: str, password: str) -> str:
    """The header of HTTP basic authentication (RFC 7617, UTF-8)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


class Transport:
    """Requests to one server; ``path`` always starts with a slash and follows the address's URL."""

    def __init__(self, address: Address, limits: ConnectionLimits | None = None) -> None:
        self.address = address
        self.limits = limits or ConnectionLimits()
        self._session: aiohttp.ClientSession | None = None
        self._authorization: str | None = None
        self._login: Callable[[], Awaitable[str]] | None = None
        self._login_lock = asyncio.Lock()
        self._tls = _tls(address)
        self._proxy = proxy_of(address)

    def authorize(self, header: str) -> None:
        """Send this ``Authorization`` header from now on."""
        self._authorization = header

    async def log_in(self, login: Callable[[], Awaitable[str]]) -> None:
        """Take the header from ``login`` now, and once again whenever the server answers 401."""
        self._authorization = await login()
        self._login = login

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def json(
        self,
        method: str,
        path: str,
        action: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        timeout_s: float | None = 0,
        repeat: bool | None = None,
    ) -> Any:
        """Send ``body`` as JSON and return the decoded answer, None if it is empty.

        ``action`` completes "could not ...".  ``timeout_s``: 0 for the ordinary limit, None for none.  ``repeat`` says
        whether the request may be sent twice (default: GET and PUT).
        """
        data = None if body is None else json.dumps(body).encode()
        content_type = {} if body is None else {"Content-Type": "application/json"}
        answer = await self.send(
            method, path, action, data, headers=content_type, params=params, timeout_s=timeout_s, repeat=repeat
        )
        return self.decoded(answer, action) if answer.strip() else None

    def decoded(self, answer: bytes, action: str) -> Any:
        """An answer that has to be JSON.  Raises ServerFaultError."""
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise from_exception(self.address, action, error) from error

    async def send(
        self,
        method: str,
        path: str,
        action: str,
        body: Body | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        timeout_s: float | None = 0,
        repeat: bool | None = None,
    ) -> bytes:
        """Send a request and return the answer's bytes; anything but 2xx raises."""
        attempts = self.limits.attempts if (method in ("GET", "PUT") if repeat is None else repeat) else 1
        renewable = self._login is not None and not path.endswith(LOGIN_ROUTE)
        attempt = 0
        while True:
            attempt += 1
            used = self._authorization
            try:
                status, answer = await self._once(method, path, body, headers or {}, params, timeout_s)
            except Exception as error:
                if attempt < attempts and is_passing(error):
                    await asyncio.sleep(self.limits.backoff_s * 2 ** (attempt - 1))
                    continue
                raise from_exception(self.address, action, error) from error
            if 200 <= status < 300:
                return answer
            if status == 401 and renewable:
                # A token has run out.  What was refused with 401 has not been done, so any method may follow.
                renewable = False
                attempts += 1
                await self._renew(used)
                continue
            if status in (502, 503, 504) and attempt < attempts:
                await asyncio.sleep(self.limits.backoff_s * 2 ** (attempt - 1))
                continue
            raise from_status(self.address, action, status, answer)

    async def upload(
        self,
        path: str,
        action: str,
        source: Path,
        size_bytes: int,
        progress: Progress,
        *,
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send a file as the body of a POST: no time limit in all, but one for standing still."""
        failure: list[HostError] = []
        loop = asyncio.get_running_loop()
        sent = 0

        def advanced(amount: int) -> None:
            nonlocal sent
            sent += amount
            progress(amount)
            # After the last byte the server hashes all of them before it answers.
            rest = size_bytes / self.limits.digest_bytes_per_s if sent == size_bytes else 0
            timeout.reschedule(loop.time() + self.limits.stall_s + rest)

        async def write(writer: AbstractStreamWriter) -> None:
            nonlocal sent
            # After a renewed login all is sent again.
            if sent:
                progress(-sent)
            sent = 0
            try:
                await _send_file(writer, stream, source, size_bytes, advanced, in_kernel=self.address.scheme == "http")
            except HostError as error:
                failure.append(error)
                raise

        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        # Opened here and not in body(): nobody closes the generator of a request that was given up.
        with await _open_file(source) as stream:
            try:
                async with asyncio.timeout(self.limits.stall_s) as timeout:
                    body = partial(_FileBody, write)
                    return await self.send("POST", path, action, body, headers=headers, params=params, timeout_s=None)
            except TimeoutError as error:
                raise from_exception(self.address, action, error) from error
            except MiniVMError as error:
                if failure:
                    raise failure[0] from error
                raise

    async def download(
        self, path: str, action: str, *, params: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The answer's bytes as they are on the server, piece by piece; nothing is asked for twice."""
        renewable = self._login is not None
        while True:
            used = self._authorization
            try:
                async with self._get(path, params) as response:
                    if response.status == 200:
                        async for chunk in response.content.iter_chunked(_CHUNK_SIZE):
                            yield chunk
                        return
                    if response.status != 401 or not renewable:
                        raise from_status(self.address, action, response.status, await response.read())
            except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
                raise from_exception(self.address, action, error) from error
            renewable = False
            await self._renew(used)

    def _get(self, path: str, params: Mapping[str, str] | None) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        # API v2 sends names that end in .gz with a content encoding, though the file itself is meant.
        return self._open().request(
            "GET",
            self._url(path),
            headers=self._headers({}),
            params=params,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self.limits.connect_s, sock_read=self.limits.stall_s
            ),
            proxy=self._proxy,
            ssl=self._tls,
            allow_redirects=False,
        )

    async def _once(
        self,
        method: str,
        path: str,
        body: Body | None,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        timeout_s: float | None,
    ) -> tuple[int, bytes]:
        total = self.limits.answer_s if timeout_s == 0 else timeout_s
        async with self._open().request(
            method,
            self._url(path),
            # aiohttp warns of large bytes: sent as a stream they do not hold up the event loop.
            data=body() if callable(body) else io.BytesIO(body) if body is not None else None,
            headers=self._headers(headers),
            params=params,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=self.limits.connect_s),
            proxy=self._proxy,
            ssl=self._tls,
            allow_redirects=False,
        ) as response:
            return response.status, await response.read()

    async def _renew(self, used: str | None) -> None:
        async with self._login_lock:
            # Another request may have renewed it while this one waited.
            if self._login is not None and self._authorization == used:
                self._authorization = await self._login()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self.limits.connections,
                # uvicorn closes idle connections after 5 s; a POST sent at that moment would be lost.
                keepalive_timeout=3,
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        headers = {"Accept": "application/json, */*", "Accept-Encoding": "identity", **more}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        return headers

    def _url(self, path: str) -> str:
        return self.address.url + path


async def _open_file(source: Path) -> BinaryIO:
    try:
        return await asyncio.to_thread(source.open, "rb")
    except OSError as error:
        raise _unreadable(source, error) from error


class _FileBody(aiohttp.Payload):
    """A request's body that ``write`` sends."""

    def __init__(self, write: Callable[[AbstractStreamWriter], Awaitable[None]]) -> None:
        super().__init__(None, content_type="application/octet-stream")
        self._write = write

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self._write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, _content_length: int | None) -> None:
        await self._write(writer)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        del encoding, errors
        raise TypeError("the body of an upload is not text")


async def _send_file(
    writer: AbstractStreamWriter,
    stream: BinaryIO,
    source: Path,
    size_bytes: int,
    advanced: Progress,
    *,
    in_kernel: bool,
) -> None:
    """Send exactly ``size_bytes`` from the start of a file, by the kernel where nothing encrypts them.

    Raises HostError for the file, OSError for the connection.
    """
    done = 0
    in_kernel = in_kernel and isinstance(writer, StreamWriter)
    if in_kernel:
        # The kernel writes behind aiohttp's back.
        writer.send_headers()
    while done < size_bytes:
        wanted = min(size_bytes - done, _CHUNK_SIZE)
        if in_kernel:
            sent = await _send_part(writer, stream, source, done, wanted)
        else:
            chunk = await asyncio.to_thread(_read, stream, source, done, wanted)
            await writer.write(chunk)
            sent = len(chunk)
        if not sent:
            raise HostError(f"{source}: is {size_bytes - done} bytes shorter than it was", hint="Build it again.")
        done += sent
        advanced(sent)


def _read(stream: BinaryIO, source: Path, start: int, amount: int) -> bytes:
    try:
        stream.seek(start)
        return stream.read(amount)
    except OSError as error:
        raise _unreadable(source, error) from error


async def _send_part(writer: AbstractStreamWriter, stream: BinaryIO, source: Path, start: int, amount: int) -> int:
    transport = writer.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    try:
        return await asyncio.get_running_loop().sendfile(transport, stream, start, amount)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ESTALE):  # what a disk says, and no network
            raise _unreadable(source, error) from error
        raise
    finally:
        # Nothing is read meanwhile, and a server that refuses an upload says why before it hangs up.
        await asyncio.sleep(0)
        await asyncio.sleep(_LAST_WORDS_S if transport.is_closing() else 0)


def _unreadable(source: Path, error: OSError) -> HostError:
    return HostError(f"{source}: cannot be read ({error.strerror or error})", hint="Build it again.")


def _tls(address: Address) -> ssl.SSLContext | bool:
    if address.scheme != "https":
        return True
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{address.ca_file}: is not a file of certificates ({error})", hint="Give a PEM file with --ca-file."
        ) from error
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def proxy_of(address: Address) -> str | None:
    """The URL of the proxy that the environment names for an address.  Raises ConfigError."""
    host = address.host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost" or host.endswith(".localhost")
    if loopback or urllib.request.proxy_bypass(host) or urllib.request.proxy_bypass(urlsplit(address.url).netloc):
        return None
    proxy = urllib.request.getproxies().get(address.scheme)
    if not proxy:
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        # It may hold a password, so it is not shown.
        raise ConfigError(
            f"{address}: the variable {address.scheme}_proxy does not name an HTTP proxy",
            hint="Write it as http://host:port, or put the server's host into no_proxy.",
        )
    return url


def expect_object(value: Any, address: Address, action: str) -> dict[str, Any]:
    """An answer that has to be a JSON object.  Raises ServerFaultError."""
    if isinstance(value, dict):
        return value
    raise _wrong_shape(value, "an object", address, action)


def expect_list(value: Any, address: Address, action: str) -> list[dict[str, Any]]:
    """An answer that has to be a JSON list of objects.  Raises ServerFaultError."""
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise _wrong_shape(value, "a list of objects", address, action)


def _wrong_shape(value: Any, wanted: str, address: Address, action: str) -> ServerFaultError:
    return ServerFaultError(
        f"{address}: could not {action} (the reply is {type(value).__name__}, not {wanted})",
        hint="Check that nothing else (a proxy, a portal) answers in the server's place.",
    )
