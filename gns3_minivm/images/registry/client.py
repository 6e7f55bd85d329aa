"""A registry, read over HTTP as the OCI distribution specification says (version 2 of Docker's API).

Redirects are followed here and not by ``requests``: credentials go to no other host than the one they are for, and
never from https to http.  Errors show hosts and paths, not queries (signed links) and not credentials.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md

Not supported: client certificates, the catalogue, pushing.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3
import urllib3.exceptions

from gns3_minivm.base.cancel import checkpoint
from gns3_minivm.base.errors import DamagedImageError, ImageNotFoundError, RegistryError
from gns3_minivm.images.oci import legible
from gns3_minivm.images.registry.authorization import basic, parse_challenges, token_request
from gns3_minivm.images.registry.credentials import Credentials
from gns3_minivm.images.registry.manifests import DOCUMENT_MAX, MANIFEST_TYPES, Blobs, Descriptor, digest_of
from gns3_minivm.images.system_error import system_error

CONNECT_LIMIT_S = 10.0
READ_LIMIT_S = 60.0
ATTEMPTS = 5
"""Failures in a row before we give up; a download that made progress starts a new count."""

_PIECE_SIZE = 1 << 19
_COME_FURTHER = 1 << 20
_PAUSE_S = 0.5
_PAUSE_MAX_S = 10.0
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_REDIRECTS_MAX = 8
_TRANSIENT = frozenset((408, 429, 500, 502, 503, 504))
_LASTING = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)
_NO_PROXY: Any = {"http": None, "https": None, "all": None}
_FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class DeniedError(RegistryError):
    """The registry refuses: wrong or missing credentials, or (as many registries put it) no such repository."""


class NoRegistryError(RegistryError):
    """What answers is a web site, not a registry."""


class _Interrupted(Exception):
    """A failure that may pass: worth another attempt."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class Repository(Blobs):
    """One repository of a registry.  Methods block; several threads may use them at once."""

    def __init__(
        self,
        host: str,
        path: str,
        find_credentials: Callable[[str], Credentials | None],
        insecure: Collection[str] = (),
    ) -> None:
        self.host = host
        self.path = path
        self._find_credentials = find_credentials
        self._insecure = frozenset(insecure)
        self._lock = threading.Lock()
        self._scheme = "" if self._is_insecure(host) else "https"
        self._authorization = ""
        self._manifests: dict[str, bytes] = {}

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"

    def manifest(self, target: str) -> Descriptor:
        """Look up a tag or digest.

        Raises ImageNotFoundError, RegistryError, DamagedImageError.
        """
        data, headers = self._document(f"manifests/{target}")
        stated = headers.get("Docker-Content-Digest", "")
        expected = target if ":" in target else stated if stated.startswith("sha256:") else ""
        digest = digest_of(data, expected or "sha256:")
        if expected and digest != expected:
            raise DamagedImageError(
                f"the manifest {target} of {self} has the digest {digest} ({len(data)} bytes), not {expected}",
                hint="Run the command again; if the error persists, push the image again.",
            )
        self._manifests[digest] = data
        return Descriptor(
            media_type=headers.get("Content-Type", "").partition(";")[0].strip(), digest=digest, size=len(data)
        )

    def document(self, descriptor: Descriptor) -> bytes:
        if descriptor.digest in self._manifests:
            return self._manifests[descriptor.digest]
        kind = "manifests" if descriptor.media_type in MANIFEST_TYPES else "blobs"
        return self._document(f"{kind}/{descriptor.digest}")[0]

    def pieces(self, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob; after a break it goes on where it stopped (RFC 9110, Range)."""
        offset = mark = failures = 0
        while True:
            pause_s = 0.0
            try:
                for piece in self._pieces_from(descriptor, offset):
                    offset += len(piece)
                    yield piece
                if offset >= descriptor.size:
                    return
                reason = "the connection ended"
            except _Interrupted as error:
                reason, pause_s = str(error), error.pause_s
            if offset - mark >= _COME_FURTHER:
                failures, mark = 0, offset
            failures += 1
            if failures >= ATTEMPTS:
                raise RegistryError(
                    f"downloading {descriptor.digest} from {self} stopped after {offset} of {descriptor.size} bytes, "
                    f"{ATTEMPTS} times in a row: {reason}",
                    hint="Run the command again when the network is better.",
                )
            _pause(failures, pause_s)

    def _pieces_from(self, descriptor: Descriptor, offset: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with _session() as session, closing(self._open(session, f"blobs/{descriptor.digest}", headers)) as response:
            skip = offset
            if response.status_code == 206:
                start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0].strip()
                if start != str(offset):
                    raise _Interrupted("the registry sent a different part than the one requested")
                skip = 0
            for piece in _raw_pieces(response):
                # A server that knows no ranges starts again.
                cut = min(skip, len(piece))
                skip -= cut
                if piece[cut:]:
                    yield piece[cut:]

    def _document(self, what: str) -> tuple[bytes, Mapping[str, str]]:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                headers = {"Accept": ", ".join((*MANIFEST_TYPES, "*/*"))}
                with _session() as session, closing(self._open(session, what, headers)) as response:
                    return self._read(response), response.headers
            except _Interrupted as error:
                if attempt == ATTEMPTS:
                    raise RegistryError(
                        f"the registry {self.host} failed {ATTEMPTS} times in a row: {error}",
                        hint="Run the command again later.",
                    ) from None
                _pause(attempt, error.pause_s)
        raise AssertionError

    def _read(self, response: requests.Response) -> bytes:
        data = b""
        for piece in _raw_pieces(response):
            data += piece
            if len(data) > DOCUMENT_MAX:
                raise DamagedImageError(f"a document of {self} has more than {DOCUMENT_MAX} bytes")
        return data

    def _open(self, session: requests.Session, what: str, headers: dict[str, str]) -> requests.Response:
        """Ask for something of the repository, logging in if the registry wants that; the answer is a success."""
        url = f"{self._base(session)}/v2/{self.path}/{what}"
        used = self._authorization
        response = self._follow(session, url, headers, used)
        # A host that we were redirected to must not make us log in where it likes.
        if response.status_code == 401 and _origin(response.url) == _origin(url):
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            with self._lock:
                if self._authorization == used:
                    self._authorization = self._log_in(session, challenge)
            response = self._follow(session, url, headers, self._authorization)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if response.status_code in (200, 206) and not is_page:
            return response
        with closing(response):
            if is_page and response.status_code in (200, 404):
                raise NoRegistryError(
                    f"{self.host} is a web site, not a registry", hint="Check the host in the image's name."
                )
            raise self._failure(response, what)

    def _base(self, session: requests.Session) -> str:
        """The registry's URL; an insecure one may speak https with any certificate, or http."""
        with self._lock:
            if not self._scheme:
                failure: RegistryError | None = None
                for scheme in ("http", "https") if is_loopback(self.host) else ("https", "http"):
                    try:
                        with closing(self._get(session, f"{scheme}://{self.host}/v2/", {}, "")) as response:
                            # What a TLS server says to plain http.
                            if response.status_code != 400:
                                self._scheme = scheme
                                break
                    except (RegistryError, _Interrupted) as error:
                        found = error if isinstance(error, RegistryError) else RegistryError(str(error))
                        failure = failure or found
                else:
                    raise failure or RegistryError(f"{self.host} answers, but it is not a registry")
            return f"{self._scheme}://{self.host}"

    def _log_in(self, session: requests.Session, header: str) -> str:
        """Answer a challenge with a value for the Authorization header."""
        credentials = self._find_credentials(str(self))
        for challenge in parse_challenges(header):
            if challenge.scheme == "basic":
                if credentials is None or not credentials.username:
                    raise self._denied(
                        "asks for a name and password, but neither Docker's nor Podman's files have them"
                    )
                return basic(credentials)
            return f"Bearer {self._token(session, challenge, credentials)}"
        raise self._denied("asks for a kind of login that is not supported")

    def _token(self, session: requests.Session, challenge: Any, credentials: Credentials | None) -> str:
        realm = urlsplit(self._address("", challenge.realm))
        plain = realm.scheme == "http" and (self._scheme == "http" or self._is_insecure(realm.netloc))
        if (realm.scheme != "https" and not plain) or "@" in realm.netloc or not realm.netloc:
            raise self._denied(f"names {_shown(challenge.realm)!r} as its token server, which is not safe to use")
        request = token_request(challenge, self.path, credentials)
        url = challenge.realm
        if request.query:
            url += f"{'&' if realm.query else '?'}{urlencode(request.query)}"
        with closing(self._follow(session, url, {}, request.authorization, request.form)) as response:
            if response.status_code != 200:
                raise self._failure(response, "token")
            try:
                answer = json.loads(self._read(response))
                token = str(answer.get("token") or answer.get("access_token") or "")
            except (ValueError, AttributeError):
                token = ""
        if not token or not token.isascii() or not token.isprintable():
            raise RegistryError(f"the token server {_shown(challenge.realm)} of {self.host} gave no token")
        return token

    def _follow(
        self,
        session: requests.Session,
        url: str,
        headers: dict[str, str],
        authorization: str,
        form: dict[str, str] | None = None,
    ) -> requests.Response:
        origin = _origin(url)
        for _ in range(_REDIRECTS_MAX):
            own = _origin(url) == origin
            response = self._get(session, url, headers, authorization if own else "", form)
            if response.status_code not in _REDIRECTS:
                return response
            response.close()
            target = self._address(url, response.headers.get("Location", ""))
            there = urlsplit(target)
            if there.scheme not in ("http", "https") or (there.scheme == "http" and url.startswith("https:")):
                raise RegistryError(f"{_shown(url)} redirects to {_shown(target)}, which is not safe to follow")
            if form is not None:
                raise RegistryError(f"the token server {_shown(url)} redirects a login to {_shown(target)}")
            url = target
        raise RegistryError(f"{_shown(url)} redirects more than {_REDIRECTS_MAX} times")

    def _address(self, base: str, found: str) -> str:
        """The address that a registry has named, relative to ``base``.  Raises RegistryError for a malformed one."""
        try:
            address = urljoin(base, found)
            _ = urlsplit(address).port
        except ValueError:
            # Not shown as a URL, which could be stripped of what is secret.
            raise RegistryError(f"the registry {self.host} redirects to a malformed address") from None
        return address

    def _get(
        self,
        session: requests.Session,
        url: str,
        headers: dict[str, str],
        authorization: str,
        form: dict[str, str] | None = None,
    ) -> requests.Response:
        """One request (a POST if there is a form).  Foreign errors of asking become ours here."""
        # A redirect may name a user and a password; they are neither sent nor shown.
        host = urlsplit(url).netloc.rpartition("@")[2]
        insecure = self._is_insecure(host)
        if insecure:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        try:
            return session.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers={"Accept-Encoding": "identity", **headers},
                auth=_Authorization(authorization),
                verify=not insecure,
                proxies=_NO_PROXY if is_loopback(host) else None,
                timeout=(CONNECT_LIMIT_S, READ_LIMIT_S),
                allow_redirects=False,
                stream=True,
            )
        except (*_FOREIGN, ValueError) as error:
            # Not chained: these errors carry the whole URL, which may be a signed one.
            raise _translated(error, host) from None

    def _failure(self, response: requests.Response, what: str) -> Exception:
        """The error for an answer that is not what was asked for, with the registry's own words."""
        status = response.status_code
        words = self._words(response)
        if status in _TRANSIENT:
            after = response.headers.get("Retry-After", "")
            return _Interrupted(f"it answers {status}{words}", float(after) if after.isdecimal() else 0.0)
        if status in (401, 403):
            return self._denied(f"refuses {'a login' if what == 'token' else 'access'} ({status}{words})")
        if status == 404 and what.startswith("manifests/"):
            return ImageNotFoundError(
                f"the registry {self.host} has no image {self.path} with {what.partition('/')[2]!r}",
                hint="Check name and tag; without a tag, latest is meant.",
            )
        if status == 404:
            return DamagedImageError(
                f"the registry {self.host} does not have {what} of {self.path}", hint="Push it again."
            )
        return RegistryError(f"the registry {self.host} answers {status} to a request for {what}{words}")

    def _words(self, response: requests.Response) -> str:
        try:
            first = json.loads(self._read(response))["errors"][0]
            words = legible(" ".join(str(first.get("message") or first.get("code") or "").split()))
        except (ValueError, LookupError, TypeError, AttributeError, DamagedImageError, _Interrupted):
            return ""
        secret = self._authorization.partition(" ")[2]
        return f": {words.replace(secret, '...') if secret else words}" if words else ""

    def _denied(self, what: str) -> DeniedError:
        hint = f"Log in with `docker login {self.host}` or `podman login {self.host}`, and check the image's name."
        return DeniedError(f"the registry {self.host} {what}, for {self.path}", hint=hint)

    def _is_insecure(self, host: str) -> bool:
        return host in self._insecure or is_loopback(host)


class _Authorization(requests.auth.AuthBase):
    """Sets the header that it is given; with none set, ``requests`` would look into ~/.netrc."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def is_loopback(host: str) -> bool:
    """Whether a host (with or without a port) is this machine, where Docker takes http."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _session() -> requests.Session:
    return requests.Session()


def _raw_pieces(response: requests.Response) -> Iterator[bytes]:
    """The body as it is sent: never unpacked, since the digest is that of the packed bytes."""
    try:
        yield from response.raw.stream(_PIECE_SIZE, decode_content=False)
    except _FOREIGN as error:
        cause = system_error(error)
        words = (cause.strerror if cause is not None else None) or type(error).__name__
        raise _Interrupted(f"the connection broke ({words})") from None


def _translated(error: Exception, host: str) -> Exception:
    cause = system_error(error)
    words = (cause.strerror or str(cause)) if cause is not None else type(error).__name__
    if isinstance(error, requests.exceptions.SSLError):
        return RegistryError(
            f"the registry {host} cannot be trusted: {words}",
            hint="Set REQUESTS_CA_BUNDLE to a file with further authorities; `--insecure-registry` skips the check.",
        )
    lasting = isinstance(cause, socket.gaierror) or (cause is not None and cause.errno in _LASTING)
    timeout = isinstance(error, requests.exceptions.ConnectTimeout)
    if lasting or timeout or not isinstance(error, (requests.ConnectionError, requests.Timeout)):
        said = f"no answer within {CONNECT_LIMIT_S:.0f} s" if timeout else words
        return RegistryError(
            f"the registry {host} cannot be reached: {said}", hint="Check the name, the network and the proxy."
        )
    return _Interrupted(f"{host}: {words}")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _shown(url: str) -> str:
    """A URL without anything that may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]


def _pause(failures: int, wanted_s: float) -> None:
    deadline = time.monotonic() + min(max(_PAUSE_S * 2 ** (failures - 1), wanted_s), _PAUSE_MAX_S)
    while time.monotonic() < deadline:
        checkpoint()
        time.sleep(0.05)
