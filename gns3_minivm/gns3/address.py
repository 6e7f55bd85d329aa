"""Where a GNS3 server is and how to log in: ``http://user:password@host:3080`` plus TLS options.

Credentials are taken out of the URL at once; no text from this module or an address ever shows them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from gns3_minivm.base.errors import UsageError

DEFAULT_PORT = 3080
_FORM = "Write it as http://user:password@host:3080, with characters such as @ : / in the password as %40 %3A %2F."


@dataclass(frozen=True, kw_only=True)
class Address:
    """One GNS3 server; ``url`` is its base URL without credentials, and what ``str`` shows."""

    url: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """Certificates to trust instead of this machine's own ones (PEM)."""
    verify: bool = True
    """Whether the server's certificate is checked; switch it off only for a trial."""

    def __str__(self) -> str:
        return self.url

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    def with_credentials(self, username: str | None, password: str | None) -> Address:
        """The same server with other credentials, such as those from the environment."""
        return replace(self, username=username, password=password)


def check_named(servers: Sequence[Address]) -> None:
    """Raise UsageError if the user has not named a server."""
    if not servers:
        raise UsageError(
            "no GNS3 server is named",
            hint="Add --server http://user:password@host:3080, or set GNS3_MINIVM_SERVER.",
        )


def parse_address(
    text: str,
    *,
    username: str | None = None,
    password: str | None = None,
    ca_file: Path | None = None,
    verify: bool = True,
) -> Address:
    """Read a server's URL; ``username`` and ``password`` take precedence over the ones inside it.

    The scheme may be left out (http), the port too (3080).  Raises UsageError.
    """
    # The shown form must not carry credentials, whatever else is wrong with the text.
    shown = re.sub(r"^([a-z+]*://)?.*@", r"\1", text.strip(), flags=re.IGNORECASE | re.DOTALL)
    parts, port = _split(text.strip(), shown)
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"server URL {shown!r}: the scheme is {parts.scheme!r}, not http or https", hint=_FORM)
    if not parts.hostname:
        raise UsageError(f"server URL {shown!r} has no host", hint=_FORM)
    if parts.query or parts.fragment:
        raise UsageError(f"server URL {shown!r} has a query or a fragment", hint=_FORM)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # Users copy URLs of the API; the generation is found out by asking.
    path = re.sub(r"/v[234]/?$", "", parts.path).rstrip("/")
    return Address(
        url=f"{parts.scheme}://{host}:{port}{path}",
        username=username if username is not None else _decoded(parts.username),
        password=password if password is not None else _decoded(parts.password),
        ca_file=ca_file,
        verify=verify,
    )


def _split(text: str, shown: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        return parts, parts.port or DEFAULT_PORT
    except ValueError:
        # Its text may quote what belongs to the password (a "/" or ":" that is not percent-encoded).
        raise UsageError(f"server URL {shown!r} is malformed", hint=_FORM) from None


def _decoded(value: str | None) -> str | None:
    return None if value is None else unquote(value)
