"""The one place where foreign errors become ours: aiohttp, TLS, JSON, HTTP statuses.

The server's own words are kept: API v2 sends ``{"message", "status"}``, v3 ``{"message"}``, and FastAPI itself
``{"detail"}`` (a text or pydantic's list).  Neither URLs with queries nor credentials get into a message.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import functools
import json
import os
import re
import socket
import ssl
from typing import Any
from urllib.parse import quote

import aiohttp

from gns3_minivm.base.errors import (
    ConfigError,
    ConflictError,
    ConnectError,
    ForbiddenError,
    LoginError,
    MiniVMError,
    NotFoundError,
    RejectedError,
    ServerError,
    ServerFaultError,
)
from gns3_minivm.gns3.address import Address

_WORDS_MAX = 600
_UNTRUSTED = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ServerFingerprintMismatch,
    ssl.SSLCertVerificationError,
)

_LOGIN_HINT = "Give the user name and password in the URL, as in http://user:password@host:3080."
_RIGHTS_HINT = (
    'Ask the server\'s administrator for the roles "Template manager" and "User" (API v3), or log in as another user.'
)


def from_status(address: Address, action: str, status: int, body: bytes) -> ServerError:
    """The error of an answer that is not 2xx; ``action`` says what was asked for, as in "list the images"."""
    # Before the words are cut to length: half a password is a secret too.
    words = server_words(_scrubbed(body.decode("utf-8", "replace"), address).encode())
    kind: type[ServerError]
    if 300 <= status < 400:
        kind, hint = RejectedError, "Use the URL that the server really has (http or https, host, port, path)."
    elif status == 401:
        kind, hint = LoginError, _LOGIN_HINT
    elif status == 403:
        kind, hint = ForbiddenError, _RIGHTS_HINT
    elif status == 404:
        kind, hint = NotFoundError, _not_found_hint(words)
    elif status == 407:
        kind, hint = (
            ConnectError,
            "The HTTP proxy requires a login: put it into https_proxy/http_proxy, or set no_proxy.",
        )
    elif status == 408:
        kind, hint = ServerFaultError, "The server timed out, perhaps waiting for a compute; look at its log."
    elif status == 409:
        kind, hint = ConflictError, _conflict_hint(words)
    elif status == 413:
        kind, hint = RejectedError, "Raise the upload limit of the HTTP proxy in front of the server."
    elif status >= 500:
        kind, hint = ServerFaultError, "Look at the GNS3 server's log, and at the free space on its disk."
    else:
        kind, hint = RejectedError, "This release of the server may want other values; look at its log."
    answer = f"HTTP {status}: {words}" if words else f"HTTP {status}, without a reason"
    return kind(f"{address}: could not {action} ({_scrubbed(answer, address)})", hint=hint)


def from_exception(address: Address, action: str, error: BaseException) -> MiniVMError:
    """The error of a request without a usable reply."""
    if isinstance(error, MiniVMError):
        return error
    what = f"{address}: could not {action}"
    reason = _scrubbed(_reason(error), address)
    if isinstance(error, _UNTRUSTED):
        return ConnectError(
            f"{what}: its TLS certificate is not trusted ({reason})",
            hint="Pass the signing authority's certificate with --ca-file, or check the host's name.",
        )
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return ConnectError(
            f"{what}: no TLS connection ({reason})", hint="Try http:// instead of https://, or the port that has TLS."
        )
    if isinstance(error, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        return ConnectError(
            f"{what}: the HTTP proxy sent an invalid reply ({reason})",
            hint="Check http_proxy and https_proxy, or add the server to no_proxy.",
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError) and _is_of_proxy(error.host, address):
        return ConnectError(
            f"{what}: the HTTP proxy's host name is unknown ({reason})",
            hint="Check http_proxy and https_proxy, or add the server to no_proxy.",
        )
    if isinstance(error, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        return ConnectError(f"{what}: its host name is unknown ({reason})", hint="Check the host in the URL.")
    # A timeout while connecting is both: what matters then is that nobody answers.
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return ConnectError(
            f"{what}: nothing answers there ({reason})",
            hint="Check that the GNS3 server is running, and check the URL's host and port (GNS3's port is 3080).",
        )
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return ConnectError(f"{what}: it did not answer in time", hint="Try again when the server is less busy.")
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.TooManyRedirects)):
        return ConfigError(f"{what}: the URL is unusable", hint="Write it as http://user:password@host:3080.")
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, RecursionError, aiohttp.ContentTypeError)):
        return ServerFaultError(
            f"{what}: the reply is not JSON", hint="Check that nothing else (a proxy, a portal) answers in its place."
        )
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)):
        return ServerFaultError(
            f"{what}: the reply is malformed ({reason})", hint="Try again; look at the server's log."
        )
    if isinstance(error, (aiohttp.ClientError, ConnectionError, OSError)):
        return ConnectError(f"{what}: the connection broke ({reason})", hint="Try again; look at the server's log.")
    return ServerFaultError(f"{what}: {reason}", hint="Try again; look at the server's log.")


def _is_of_proxy(host: str, address: Address) -> bool:
    # aiohttp writes names that are not ASCII in another way.
    return address.host.isascii() and host.lower() != address.host.lower()


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later (the connection broke, the server restarts)."""
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError, aiohttp.ClientConnectorDNSError)):
        return False
    return isinstance(
        error, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError)
    ) and not isinstance(error, TimeoutError)


def server_words(body: bytes) -> str:
    """What the server says in an error's body, on one line; empty if it says nothing legible."""
    text = body.decode("utf-8", "replace").strip()
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        # Proxies and portals send pages; their title says it best.
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title.group(1) if title else re.sub(r"<[^>]*>", " ", text)
        return _one_line(text)
    if isinstance(answer, dict):
        for key in ("message", "detail"):
            if answer.get(key):
                return _one_line(_detail(answer[key]))
    return _one_line(answer if isinstance(answer, str) else json.dumps(answer))


def _detail(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    parts = []
    for item in value:
        if isinstance(item, dict):
            place = ".".join(str(part) for part in item.get("loc", ()) if part != "body")
            parts.append(f"{place}: {item.get('msg', item)}" if place else str(item.get("msg", item)))
        else:
            parts.append(str(item))
    return "; ".join(parts)


def _one_line(text: str) -> str:
    # API v2 sends a whole traceback for a defect of its own; the last line is what it says.
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1]
    line = " ".join(text.split())
    return line if len(line) <= _WORDS_MAX else line[: _WORDS_MAX - 1] + "…"


def _not_found_hint(words: str) -> str:
    if "could not be found on disk" in words:
        return "The file was deleted behind the server's back: `--verify` (of sync and register) restores it."
    return "It may just have been removed; run the command again."


def _conflict_hint(words: str) -> str:
    if "could not detect image type" in words:
        return (
            "This server refuses kernels and initial RAM disks as images: its administrator must set"
            " allow_raw_images = True in the section [Server] of gns3_server.conf and restart it."
        )
    if "No space left" in words:
        return "The GNS3 server's disk is full: free some space there."
    return "Check what the server already has, and look at its log."


def _reason(error: BaseException) -> str:
    """A short text for an exception, without the URL that aiohttp likes to add."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _one_line(str(error.certificate_error))
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not None:
        inner = error.os_error
        if isinstance(inner, ssl.SSLError):  # its number is not one of the system's
            return _one_line((getattr(inner, "reason", None) or str(inner)).replace("_", " ").lower())
        # asyncio puts a sentence of its own ("Connect call failed ...") where the system's words belong.
        known = inner.errno in errno.errorcode and not isinstance(inner, socket.gaierror)
        return os.strerror(inner.errno) if known and inner.errno else _one_line(inner.strerror or str(inner))
    if isinstance(error, aiohttp.ClientResponseError):
        return _one_line(f"HTTP {error.status} {error.message}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed it without a reply"
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return "the server closed it in the middle of the request"
    return _one_line(str(error)) or type(error).__name__


def _scrubbed(text: str, address: Address) -> str:
    """``text`` free of credentials, whoever put them in: tokens, and passwords in every form in which they travel."""
    text = re.sub(r"([a-z]+://)[^/\s@]*:[^/\s@]*@", r"\1", text, flags=re.IGNORECASE)
    text = re.sub(r"(token=)[^&\s]+", r"\1…", text)
    text = re.sub(r"\b(Basic|Bearer) [A-Za-z0-9+/=._~-]{8,}", r"\1 …", text)
    # JSON web tokens, wherever they stand.
    text = re.sub(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*", "…", text)
    for form in _forms(address):
        text = re.sub(form, "…", text)
    return text


@functools.lru_cache(maxsize=64)
def _forms(address: Address) -> tuple[str, ...]:
    """Patterns for an address's password as it is, percent-encoded, in JSON and in basic authentication."""
    password = address.password or ""
    # A password such as "admin" is an ordinary word: blanking it out would only make messages illegible.
    if len(password) < 4 or password == address.username:
        return ()
    whole = f"{address.username}:{password}".encode()
    plain = {password, quote(password), quote(password, safe=""), json.dumps(password)[1:-1]}
    patterns = [re.escape(form) for form in sorted(plain, key=len, reverse=True)]
    if len(password) < 8:
        patterns = [rf"(?<!\w){pattern}(?!\w)" for pattern in patterns]
    return (re.escape(base64.b64encode(whole).decode("ascii")), *patterns)
