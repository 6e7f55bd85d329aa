"""How a registry is told who asks: bearer tokens and basic authentication.

A registry answers 401 with a challenge.  For "Bearer", a token server (the challenge's realm) gives a token for pulling
one repository, to anybody or for credentials; for "Basic", the credentials go to the registry itself.

https://distribution.github.io/distribution/spec/auth/token/
https://distribution.github.io/distribution/spec/auth/oauth/
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

from gns3_minivm.images.registry.credentials import Credentials

_CHALLENGE = re.compile(
    r'(?:^|,)\s*(?P<scheme>Bearer|Basic)\s+(?P<values>(?:\w+\s*=\s*(?:"[^"]*"|[^\s,"]+)(?:\s*,\s*(?=\w+\s*=))?)*)',
    re.IGNORECASE,
)
_VALUE = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')
CLIENT_ID = "gns3-minivm"


@dataclass(frozen=True)
class Challenge:
    """What a WWW-Authenticate header asks for; ``scheme`` is "bearer" or "basic"."""

    scheme: str
    realm: str
    service: str


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """A request to a token server: with ``form`` it is a POST."""

    query: dict[str, str]
    form: dict[str, str] | None = field(repr=False)
    authorization: str = field(repr=False)


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a header that we can answer, bearer before basic."""
    found = []
    for match in _CHALLENGE.finditer(header):
        values = {name.lower(): quoted or plain for name, quoted, plain in _VALUE.findall(match["values"])}
        found.append(Challenge(match["scheme"].lower(), values.get("realm", ""), values.get("service", "")))
    return sorted(found, key=lambda challenge: challenge.scheme != "bearer")


def basic(credentials: Credentials) -> str:
    """The Authorization header for a name and password (RFC 7617)."""
    data = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(data).decode()}"


def token_request(challenge: Challenge, path: str, credentials: Credentials | None) -> TokenRequest:
    """Ask for a token that may pull ``path`` and nothing more, whatever the challenge would have us ask for."""
    query = {"scope": f"repository:{path}:pull"}
    if challenge.service:
        query["service"] = challenge.service
    if credentials is not None and credentials.identity_token:
        form = {**query, "grant_type": "refresh_token", "refresh_token": credentials.identity_token}
        return TokenRequest(query={}, form={**form, "client_id": CLIENT_ID}, authorization="")
    return TokenRequest(query=query, form=None, authorization=basic(credentials) if credentials is not None else "")
