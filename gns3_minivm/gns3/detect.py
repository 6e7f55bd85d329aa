"""Finds out what answers at an address, and logs in.

``GET /v3/version`` needs no login and is 404 on API v2; ``GET /v2/version`` is 401 where a login is wanted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from gns3_minivm.base.errors import (
    LoginError,
    NotFoundError,
    NotGNS3Error,
    ServerFaultError,
    UnsupportedServerError,
)
from gns3_minivm.base.versions import version_numbers
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import LOGIN_ROUTE, ConnectionLimits, Transport, basic_authorization, expect_object
from gns3_minivm.gns3.v2.server import ServerV2
from gns3_minivm.gns3.v3.server import ServerV3

_OLDEST = (2, 2)
_URL_HINT = "Check host and port of the server's URL (GNS3's port is 3080)."
_V3_DEFAULT = ("admin", "admin")


async def connect(address: Address, limits: ConnectionLimits | None = None) -> Server:
    """Connect to the GNS3 server at ``address``; close what it returns.

    Raises ConnectError (nothing there), NotGNS3Error (something else there), UnsupportedServerError (too old) or
    LoginError (wrong or no credentials).
    """
    transport = Transport(address, limits)
    try:
        version = await _version(transport, 3)
        if version is not None:
            return await _connect_v3(transport, version)
        return await _connect_v2(transport)
    except BaseException:
        await transport.close()
        raise


async def _connect_v3(transport: Transport, version: _Version) -> Server:
    address = transport.address
    username, password = address.username, address.password
    if username is None or password is None:
        raise LoginError(
            f"{address}: this GNS3 server (API v3) requires a user name and a password",
            hint="Give them in the URL, as in http://user:password@host:3080 (a fresh server has admin and admin).",
        )

    async def login() -> str:
        action = "log in"
        body = {"username": username, "password": password}
        try:
            # Nothing is changed by it, so it may be repeated.
            answer = await transport.json("POST", f"/v3{LOGIN_ROUTE}", action, body=body, repeat=True)
        except LoginError:
            raise _refused(address) from None
        token = expect_object(answer, address, action).get("access_token")
        if not isinstance(token, str):
            raise ServerFaultError(f"{address}: could not log in (the reply has no token)", hint=_URL_HINT)
        return f"Bearer {token}"

    await transport.log_in(login)
    warnings: tuple[str, ...] = ()
    if (username, password) == _V3_DEFAULT:
        warnings = (f"{address}: the user admin still has the default password; change it in the web interface",)
    return ServerV3(transport, version.text, warnings, runs_beside_gui=version.runs_beside_gui)


async def _connect_v2(transport: Transport) -> Server:
    address = transport.address
    if address.username is not None:
        transport.authorize(basic_authorization(address.username, address.password or ""))
    try:
        version = await _version(transport, 2)
    except LoginError:
        if address.username is not None:
            raise _refused(address) from None
        raise
    if version is None:
        if await _version(transport, 1) is not None:
            raise _too_old(address, "1.x")
        raise NotGNS3Error(f"{address}: something answers there, but it is not a GNS3 server", hint=_URL_HINT)
    if version_numbers(version.text) < _OLDEST:
        raise _too_old(address, version.text)
    return ServerV2(transport, version.text, runs_beside_gui=version.runs_beside_gui)


@dataclass(frozen=True)
class _Version:
    text: str
    runs_beside_gui: bool
    """The server's own "local": started by the GUI, on the user's desktop."""


async def _version(transport: Transport, generation: int) -> _Version | None:
    """The server's reply if it speaks this API, else None.  Raises NotGNS3Error if it cannot be a GNS3 server."""
    address = transport.address
    try:
        answer = await transport.send("GET", f"/v{generation}/version", "ask for its version")
    except NotFoundError:
        return None
    except ServerFaultError as error:
        if error.__cause__ is None:
            raise
        # An answer that is not HTTP.
        raise NotGNS3Error(
            f"{address}: something answers there, but it is not a GNS3 server", hint=_URL_HINT
        ) from error
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        said = None
    version = said.get("version") if isinstance(said, dict) else None
    if not isinstance(version, str) or not version_numbers(version):
        raise NotGNS3Error(f"{address}: something answers there, but it is not a GNS3 server", hint=_URL_HINT)
    return _Version(version, said.get("local") is True)


def _refused(address: Address) -> LoginError:
    return LoginError(
        f"{address}: the server refuses this user name and password",
        hint="Check them; in a URL, characters such as @ : / must be written as %40 %3A %2F.",
    )


def _too_old(address: Address, version: str) -> UnsupportedServerError:
    return UnsupportedServerError(
        f"{address}: the server is GNS3 {version}; gns3-minivm works with 2.2 and later", hint="Update the GNS3 server."
    )
