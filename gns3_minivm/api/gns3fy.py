"""Hands a GNS3 server to a script that uses gns3fy: a ready connector of gns3fy-next, which continues gns3fy.

gns3fy 0.8 knows API v2 only and wants an older pydantic; gns3fy-next has the same classes for both APIs.  Its connector
passes over ``verify``, gives every request 10 s, takes any URL with "v2" in it for API v2, never logs in again, and
sends what ``~/.netrc`` has for the host in place of the login.  ``Connector`` puts that right; all else is gns3fy's
own, and so are the exceptions of its calls (those of ``requests``).  It needs the extra:
``pip install gns3-minivm[gns3fy]``.
"""

from __future__ import annotations

import ssl
import warnings
from typing import Any

import requests
from gns3fy_next import Gns3Connector, Project
from requests.adapters import HTTPAdapter

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.gns3.address import Address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.transport import LOGIN_ROUTE, ConnectionLimits, proxy_of

__all__ = ["Connector", "connector", "open_project"]

_UNAUTHORIZED = 401
_NO_V2 = "gns3:/v3"
"""Stands for the base URL of a v3 server whose own URL has "v2" in it; ``http_call`` knows what it means."""


class _SystemsAuthorities(HTTPAdapter):
    """Trusts the authorities that the system trusts; ``requests`` alone knows those of certifi only."""

    def __init__(self) -> None:
        self._context = ssl.create_default_context()
        # urllib3 compares the name itself, and tells Python none where it is an IP address.
        self._context.check_hostname = False
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*arguments, **options, ssl_context=self._context)


class Connector(Gns3Connector):  # type: ignore[misc]  # the package has no types
    """A ``Gns3Connector`` that checks certificates, waits as long as GNS3 needs, and logs in again when it must."""

    def __init__(self, address: Address, api_version: int, limits: ConnectionLimits | None = None) -> None:
        with warnings.catch_warnings():  # it switches off, for the whole program, warnings about certificates
            super().__init__(
                url=address.url, user=address.username, cred=address.password, verify=address.verify,
                api_version=api_version,
            )  # fmt: skip
        self.verify: bool | str = str(address.ca_file) if address.ca_file and address.verify else address.verify
        self._limits = limits or ConnectionLimits()
        session: requests.Session = self.session
        # Proxies and authorities as everywhere else here.
        session.trust_env = False
        if (proxy := proxy_of(address)) is not None:
            session.proxies = {address.scheme: proxy}
        if session.auth is not None:  # basic, in UTF-8
            login = (address.username or "").encode(), (address.password or "").encode()
            session.auth = login  # type: ignore[assignment]  # its types know only text, which it sends as latin-1
        if self.verify is True:
            session.mount("https://", _SystemsAuthorities())
        self._real_url = f"{address.url}/v{api_version}"
        misleading = api_version != 2 and "v2" in self._real_url.lower()
        self.base_url = _NO_V2 if misleading else self._real_url

    def http_call(
        self,
        method: str,
        url: str,
        data: Any = None,
        json_data: Any = None,
        headers: dict[str, str] | None = None,
        verify: bool = False,
        params: dict[str, Any] | None = None,
    ) -> requests.Response:
        """Send one request; raises ``requests.RequestException``, an HTTPError with the server's own words."""
        del verify  # its default is False; what the address says holds
        if url.startswith(_NO_V2):
            url = self._real_url + url.removeprefix(_NO_V2)
        if self.auth_type == "jwt" and not self.access_token:
            self._authenticate_v3()
        words = {"headers": headers, "params": params, "data": data, "json": json_data if data is None else None}
        response = self._send(method, url, **words)
        if response.status_code == _UNAUTHORIZED and self.auth_type == "jwt":
            self._authenticate_v3()  # the token has expired, or the server has started anew
            response = self._send(method, url, **words)
        _check(response)
        return response

    def _authenticate_v3(self) -> None:
        body = {"username": self.user, "password": self.cred}
        # Without the session's header: an expired token would be refused here too.
        response = self._send("POST", self._real_url + LOGIN_ROUTE, json=body, headers={"Authorization": None})
        _check(response)
        self.access_token = response.json()["access_token"]
        self.session.headers["Authorization"] = f"Bearer {self.access_token}"

    def _send(self, method: str, url: str, **words: Any) -> requests.Response:
        self.api_calls += 1
        timeout = (self._limits.connect_s, self._patience_s(method, url))
        session: requests.Session = self.session
        return session.request(method.upper(), url, verify=self.verify, timeout=timeout, **words)

    def _patience_s(self, method: str, url: str) -> float:
        """How long an answer may take: making a node hashes its images, a stop waits for the guest."""
        if method.lower() == "get":
            return self._limits.listing_s if url.endswith("/images") else self._limits.answer_s
        creates_node = method.lower() == "post" and (url.endswith("/nodes") or "/templates/" in url)
        return self._limits.listing_s if creates_node else self._limits.node_s


def _check(response: requests.Response) -> None:
    if response.ok:
        return
    try:
        said = response.json()
    except ValueError:
        said = None
    words = said.get("message") or said.get("detail") if isinstance(said, dict) else None
    raise requests.HTTPError(f"{response.status_code}: {words or response.reason}", response=response)


async def connector(address: Address, limits: ConnectionLimits | None = None) -> Connector:
    """Find out which API a server speaks and return a connector that is logged in there.

    Raises ServerError's subclasses, as every other way to this server does.
    """
    async with await connect(address, limits) as server:
        made = Connector(address, server.generation, limits)
    if server.generation != 2:
        await run_blocking(made._authenticate_v3)
    return made


def open_project(made: Connector, project_id: str) -> Project:
    """A project with its nodes and links, as gns3fy's own class (blocking).  Raises ``requests.RequestException``."""
    project = Project(project_id=project_id, connector=made)
    project.get()
    return project
