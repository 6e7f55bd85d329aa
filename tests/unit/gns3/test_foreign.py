"""Foreign errors: each becomes one of ours, with the server's own words and a hint, and without credentials."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from gns3_minivm.base import errors
from gns3_minivm.base.errors import MiniVMError, ServerError
from gns3_minivm.gns3.address import Address, parse_address
from gns3_minivm.gns3.foreign import from_exception, from_status, is_passing, server_words

ADDRESS = parse_address("http://user:long-secret@host:3080")


def subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


FOREIGN = sorted(
    {
        kind
        for base in (aiohttp.ClientError, ssl.SSLError, ConnectionError, json.JSONDecodeError, UnicodeDecodeError)
        for kind in subclasses(base)
        if kind.__module__.split(".")[0] in ("aiohttp", "ssl", "builtins", "json")
    }
    | {asyncio.TimeoutError, socket.gaierror, OSError, ValueError, RuntimeError},
    key=lambda kind: kind.__qualname__,
)


def make(kind: type[BaseException]) -> BaseException:
    """An exception of this class as its library raises it."""
    request: Any = aiohttp.RequestInfo(URL("http://host/?token=abc"), "GET", {}, URL("http://host/"))  # type: ignore[arg-type]
    key: Any = type("Key", (), {"host": "host", "port": 3080, "ssl": True, "is_ssl": True})()
    inner = OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 3080)")
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        return kind(key, ssl.SSLCertVerificationError("self-signed certificate"))
    if kind.__name__ == "UnixClientConnectorError":
        return kind("/socket", key, inner)
    if issubclass(kind, aiohttp.ClientConnectorError):
        return kind(key, inner)
    if issubclass(kind, aiohttp.ClientResponseError):
        return kind(request, (), status=400, message="Bad status line")
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        return kind(b"a", b"b", "host", 3080)
    if issubclass(kind, aiohttp.InvalidURL):
        return kind("http://user:long-secret@host")
    if issubclass(kind, json.JSONDecodeError):
        return kind("Expecting value", "<html>", 0)
    if issubclass(kind, UnicodeDecodeError):
        return kind("utf-8", b"\xff", 0, 1, "invalid start byte")
    return kind("something with http://user:long-secret@host/?token=abc in it")


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__qualname__)
def test_every_foreign_exception_becomes_ours(kind: type[BaseException]) -> None:
    error = from_exception(ADDRESS, "list the images", make(kind))
    assert isinstance(error, (ServerError, errors.ConfigError))
    assert type(error) is not ServerError
    assert error.message.startswith("http://host:3080: could not list the images")
    assert error.hint
    assert "long-secret" not in error.message and "token=abc" not in error.message


def test_the_list_of_foreign_exceptions_is_the_whole_of_aiohttps() -> None:
    exported = {getattr(aiohttp, name) for name in aiohttp.__all__ if name.endswith(("Error", "Mismatch", "URL"))}
    client_side = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, aiohttp.ClientError)}
    assert client_side <= set(FOREIGN)
    assert len(client_side) > 20


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        (aiohttp.ClientConnectorCertificateError, errors.ConnectError),
        (aiohttp.ClientConnectorDNSError, errors.ConnectError),
        (aiohttp.ServerDisconnectedError, errors.ConnectError),
        (aiohttp.SocketTimeoutError, errors.ConnectError),
        (aiohttp.ClientPayloadError, errors.ServerFaultError),
        (aiohttp.InvalidURL, errors.ConfigError),
        (json.JSONDecodeError, errors.ServerFaultError),
        (TimeoutError, errors.ConnectError),
    ],
)
def test_an_exception_becomes_the_class_of_whose_turn_it_is(kind: type[BaseException], ours: type[MiniVMError]) -> None:
    assert type(from_exception(ADDRESS, "x", make(kind))) is ours


def test_the_number_of_a_tls_error_is_not_taken_for_one_of_the_system() -> None:
    key = aiohttp.client_reqrep.ConnectionKey("host", 3080, True, True, None, None, None)
    inner = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    error = from_exception(ADDRESS, "x", aiohttp.ClientConnectorSSLError(key, inner))
    assert "no TLS connection" in error.message and "wrong version number" in error.message


def test_our_own_errors_pass_unchanged() -> None:
    error = errors.UploadError("x")
    assert from_exception(ADDRESS, "y", error) is error


STATUSES = {
    301: errors.RejectedError,
    400: errors.RejectedError,
    401: errors.LoginError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    407: errors.ConnectError,
    408: errors.ServerFaultError,
    409: errors.ConflictError,
    413: errors.RejectedError,
    422: errors.RejectedError,
    500: errors.ServerFaultError,
    502: errors.ServerFaultError,
    503: errors.ServerFaultError,
}


@pytest.mark.parametrize("status", [*range(100, 200), *range(300, 600)])
def test_every_status_becomes_an_error_with_a_hint(status: int) -> None:
    error = from_status(ADDRESS, "x", status, b"")
    assert isinstance(error, ServerError) and type(error) is not ServerError
    assert type(error) is STATUSES.get(status, type(error))
    assert f"HTTP {status}" in error.message and error.hint


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "Template ID \'x\' already exists", "status": 409}', "Template ID 'x' already exists"),
        (b'{"message": "Authentication was unsuccessful."}', "Authentication was unsuccessful."),
        (b'{"detail": "Not Found"}', "Not Found"),
        (
            b'{"detail": [{"loc": ["body", "nodes", 0, "node_id"], "msg": "Field required"}, {"msg": "odd"}, "x"]}',
            "nodes.0.node_id: Field required; odd; x",
        ),
        (b'"just text"', "just text"),
        (b'{"other": 1}', '{"other": 1}'),
        (b"[1, 2]", "[1, 2]"),
        (b"404: Not Found", "404: Not Found"),
        (b"<html><head><title>413 Request Entity\n Too Large</title></head></html>", "413 Request Entity Too Large"),
        (b"<p>no title</p>", "no title"),
        (b'{"message": "two\\n  lines"}', "two lines"),
        (
            b'{"message": "Traceback (most recent call last):\\n  File x\\nKeyError: \'compute\'\\n", "status": 500}',
            "KeyError: 'compute'",
        ),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_the_servers_own_words_are_kept(body: bytes, words: str) -> None:
    assert server_words(body) == words
    if words:
        assert words in from_status(ADDRESS, "x", 409, body).message


def test_long_words_are_cut() -> None:
    assert len(server_words(b"x" * 10_000)) == 600


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("Image '/x/images/QEMU/y' could not be found on disk", "`--verify`"),
        ("Could not save image: could not detect image type, please make sure", "allow_raw_images = True"),
        ("Could not write image: x because [Errno 28] No space left on device", "disk is full"),
    ],
)
def test_known_words_get_a_hint_of_their_own(words: str, hint: str) -> None:
    status = 404 if "not be found" in words else 409
    assert hint in from_status(ADDRESS, "x", status, json.dumps({"message": words}).encode()).hint


def test_a_short_password_is_not_blanked_out_of_ordinary_words() -> None:
    error = from_status(
        Address(url="http://h:1", username="admin", password="admin"), "x", 409, b'{"message": "administrator"}'
    )
    assert "administrator" in error.message


@pytest.mark.parametrize(
    ("kind", "passing"),
    [
        (aiohttp.ServerDisconnectedError, True),
        (aiohttp.ClientConnectorError, True),
        (ConnectionResetError, True),
        (aiohttp.ClientPayloadError, True),
        (aiohttp.ClientConnectorCertificateError, False),
        (aiohttp.ClientConnectorDNSError, False),
        (aiohttp.SocketTimeoutError, False),
        (TimeoutError, False),
        (ValueError, False),
    ],
)
def test_only_broken_connections_are_worth_another_try(kind: type[BaseException], passing: bool) -> None:
    assert is_passing(make(kind)) is passing


@pytest.mark.parametrize(
    "form",
    [
        "long:Secret@7/ß",
        "long%3ASecret%407%2F%C3%9F",
        "long%3ASecret%407/%C3%9F",
        "long:Secret@7/\\u00df",
        "Basic dXNlcjpsb25nOlNlY3JldEA3L8Of",
        "dXNlcjpsb25nOlNlY3JldEA3L8Of",
        "Bearer abcdefgh.ijklmnop",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl",
        "http://user:long:Secret@7/ß@host",
    ],
)
def test_a_secret_in_the_servers_words_is_blanked_out_in_every_form(form: str) -> None:
    address = parse_address("http://host:3080", username="user", password="long:Secret@7/ß")
    for body in (f"before {form} after", json.dumps({"message": f"before {form} after"}), "x" * 560 + f" {form} after"):
        message = from_status(address, "x", 409, body.encode()).message
        assert form not in message and "Secret" not in message and "c2lnbmF0dXJl" not in message
        assert "before" in message or "xxx" in message


def test_a_short_password_is_blanked_out_as_a_word_only() -> None:
    address = parse_address("http://host:3080", username="user", password="star")
    message = from_status(address, "x", 409, b"star is wrong, cannot start").message
    assert "cannot start" in message and "star is" not in message
    default = parse_address("http://host:3080", username="admin", password="admin")
    assert "user admin" in from_status(default, "x", 409, b"user admin exists").message
