"""A Docker engine (or Podman speaking its API), through the ``docker`` package.

This is the one place where that package's errors, and those of requests and urllib3 below it, become ours.  The package
takes a fifth of a second to import, so that happens only where it is needed: what a conversion asks of an engine on
this machine goes through ``images.engine.socket``.

Not supported: Windows named pipes.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from gns3_minivm.base.errors import EngineError, ImageNotFoundError, MiniVMError
from gns3_minivm.base.pump import pumped
from gns3_minivm.base.versions import version_numbers
from gns3_minivm.images.engine.endpoints import (
    PERMISSION_HINT,
    START_HINT,
    Endpoint,
    Refusal,
    find_endpoints,
    probe_socket,
    refusal_of,
)
from gns3_minivm.images.engine.socket import EngineSocket, UnexpectedError
from gns3_minivm.images.system_error import system_error
from gns3_minivm.images.unpack import CHUNK_SIZE, Piece, joined

if TYPE_CHECKING:
    from gns3_minivm.images.engine.container import Container

API_MINIMUM = "1.24"
"""The oldest API version that the ``docker`` package speaks (Docker 1.12)."""

_DOUBT_HINT = "Run `docker info` to see whether this is a Docker engine."
_CALL_TIMEOUT_S = 60
_QUEUE_DEPTH = 8


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How appliances are built from their Dockerfiles."""

    rebuild: bool = False
    """Build even if the engine has the result, and take no step from its cache."""
    network: str | None = None
    """The engine's network mode for RUN steps ("host", "none"); None is the engine's default."""
    pull: bool = False
    """Ask the registry for a newer base image."""


class Engine:
    """A connected engine.  All methods block; they may be called from any thread, by one thread at a time."""

    def __init__(self, endpoint: Endpoint, version: str, direct: EngineSocket | None, client: Any = None) -> None:
        self._endpoint = endpoint
        self._version = version
        self._direct = direct
        self._made: list[Any] = []
        if client is not None:
            self._client = client
            self._made.append(client)

    def __str__(self) -> str:
        return str(self._endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connections."""
        for client in self._made:
            client.close()

    @functools.cached_property
    def _client(self) -> Any:
        return self._make_client(_CALL_TIMEOUT_S)

    @functools.cached_property
    def _streaming(self) -> Any:
        # The engine may take minutes before the first byte of an image or between two lines of a build.
        return self._make_client(None)

    def _make_client(self, timeout_s: int | None) -> Any:
        try:
            client = _client(self._endpoint, self._version, timeout_s)
        except _Refused as error:
            raise _no_answer(self._endpoint, error.refusal) from error
        self._made.append(client)
        return client

    @property
    def url(self) -> str:
        """Where the engine is."""
        return self._endpoint.url

    @property
    def is_local(self) -> bool:
        """Whether it is asked over a socket of this machine."""
        return self._direct is not None

    def version(self) -> dict[str, Any]:
        """The engine's name and versions (``GET /version``)."""
        with self._translated("asking for the version"):
            found: dict[str, Any] = self._client.version()
        return found

    def default_registry(self) -> str:
        """The host where the engine looks for names without a host, empty if it states none (``GET /info``)."""
        with self._translated("asking for its registry"):
            found = self._client.info().get("IndexServerAddress") or ""
        return urlsplit(found).netloc if "//" in found else str(found).partition("/")[0]

    def inspect(self, reference: str) -> dict[str, Any]:
        """What the engine knows of an image (``GET /images/{name}/json``).

        Raises ImageNotFoundError, EngineError.
        """
        found: dict[str, Any] | None = self._ask_directly(f"/images/{reference}/json") if reference else None
        if found is not None:
            return found
        import docker.errors

        with self._translated(f"inspecting {reference}"):
            try:
                found = self._client.inspect_image(reference)
            except (docker.errors.NotFound, docker.errors.NullResource) as error:
                raise ImageNotFoundError(
                    f"the Docker engine at {self} has no image {reference!r}",
                    hint=f"`docker pull {reference}` gets it from a registry; `docker images` lists what is there.",
                ) from error
            except docker.errors.APIError as error:
                if error.status_code != 400:
                    raise
                raise ImageNotFoundError(
                    f"{reference!r} is not a valid image name: {error.explanation}",
                    hint="A name looks like debian:bookworm-slim or example.org/team/app:1.2.",
                ) from error
            assert found is not None
            return found

    def _ask_directly(self, target: str) -> dict[str, Any] | None:
        """The document of a route, if the docker package is not needed for it."""
        if self._direct is None:
            return None
        try:
            found = self._direct.document(target, _CALL_TIMEOUT_S)
        except UnexpectedError:
            return None
        return found if isinstance(found, dict) else None

    def image_names(self) -> list[str]:
        """The names and tags of all images that have one (``GET /images/json``)."""
        with self._translated("listing the images"):
            images = self._client.images()
        return sorted({tag for image in images for tag in image.get("RepoTags") or () if tag != "<none>:<none>"})

    def save(self, image_id: str) -> Generator[Piece, None, None]:
        """The image as ``docker save`` writes it, in pieces; close it (``GET /images/{name}/get``)."""

        def pieces() -> Iterator[Piece]:
            if self._direct is not None:
                try:
                    yield from self._direct.stream(f"/images/{image_id}/get")
                    return
                except UnexpectedError:
                    pass  # nothing has come yet
            # They come as the engine cuts them, 32 KiB: too many to be handed from thread to thread one by one.
            yield from joined(self._streaming.get_image(image_id, chunk_size=CHUNK_SIZE))

        return self._pumped(pieces, f"reading {image_id}")

    def build(self, context: IO[bytes], tag: str, options: BuildOptions) -> Generator[dict[str, Any], None, None]:
        """Build a context, a tar stream; the engine's progress messages; close it (``POST /build``)."""

        def messages() -> Iterator[Any]:
            yield from self._streaming.build(
                fileobj=context,
                custom_context=True,
                tag=tag,
                nocache=options.rebuild,
                pull=options.pull,
                network_mode=options.network,
                rm=True,
                forcerm=True,
                decode=True,
                platform=None,
            )

        return self._pumped(messages, f"building {tag}")

    def pull(self, reference: str) -> Generator[dict[str, Any], None, None]:
        """Get an image from its registry; the engine's progress messages; close it (``POST /images/create``)."""

        def messages() -> Iterator[Any]:
            repository, _, tag = (
                reference.rpartition(":") if ":" in reference.rpartition("/")[2] else (reference, "", "")
            )
            yield from self._streaming.pull(repository, tag=tag or "latest", stream=True, decode=True)

        return self._pumped(messages, f"getting {reference}")

    @contextmanager
    def container(self, image: str, *, network: str, environment: Mapping[str, str]) -> Iterator[Container]:
        """A container of an image, which is gone when the block ends (``POST /containers/create``)."""
        from gns3_minivm.images.engine.container import Container, close_socket

        with self._translated(f"making a container of {image}"):
            limits = self._client.create_host_config(network_mode=network, auto_remove=True)
            made: str = self._client.create_container(
                image, ["cat"], entrypoint=[], stdin_open=True, host_config=limits, environment=dict(environment)
            )["Id"]
        try:
            with self._translated(f"starting a container of {image}"):
                # While this is open, its program waits.
                held = self._client.attach_socket(made, {"stdin": 1, "stream": 1})
                self._client.start(made)
            try:
                yield Container(self._client, self._streaming, made, self._pumped, self._translated)
            finally:
                close_socket(held)
        finally:
            self._discard(made)

    def _discard(self, container: str) -> None:
        import docker.errors

        with self._translated("removing a container"):
            try:
                self._client.remove_container(container, force=True, v=True)
            except docker.errors.APIError as error:
                # It may be on its way out already, its only program having ended.
                if error.status_code not in (404, 409):
                    raise

    def _pumped(self, source: Callable[[], Iterator[Any]], doing: str) -> Generator[Any, None, None]:
        """Read a stream of the engine's in a thread, so that whoever waits for it can give up at any moment.

        A read that waits for the engine cannot be ended from outside on every kind of connection; a thread that is
        given up closes its connection with the engine's next word, or ends with the process.
        """
        with self._translated(doing), closing(pumped(source, doing, depth=_QUEUE_DEPTH)) as items:
            yield from items

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Turn every foreign error of the block into ours."""
        try:
            yield
        except MiniVMError:
            raise
        except Exception as error:
            raise self._translate(error, doing) from error

    def _translate(self, error: Exception, doing: str) -> Exception:
        import docker.errors
        import requests
        import urllib3.exceptions

        if isinstance(error, docker.errors.APIError):
            words = error.explanation or str(error)
            hint = "The engine's log may say more: `sudo journalctl -u docker -n 50`."
            if "no space left" in str(words).lower():
                hint = "`docker system prune` frees space on the engine's disk."
            return EngineError(f"the Docker engine at {self} refused {doing}: {words}", hint=hint)
        foreign = (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError)
        if isinstance(error, (*foreign, OSError, json.JSONDecodeError)):
            cause = system_error(error)
            words = (cause.strerror or str(cause)) if cause is not None else str(error)
            happened = "failed" if type(error).__module__.startswith("docker.") else "stopped answering"
            return EngineError(
                f"the Docker engine at {self} {happened} while {doing}: {words}",
                hint="Check that it is still running (`docker info`), then run the command again.",
            )
        return error


def connect(environ: Mapping[str, str] | None = None) -> Engine:
    """Connect to the first engine that answers (blocking).

    Raises EngineError that says what was tried, and why each failed.
    """
    endpoints = find_endpoints(os.environ if environ is None else environ)
    refusals: list[tuple[Endpoint, Refusal]] = []
    for endpoint in endpoints:
        refusal = probe_socket(endpoint)
        if refusal is None:
            try:
                return _open(endpoint)
            except _Refused as error:
                refusal = error.refusal
        refusals.append((endpoint, refusal))
    if len(refusals) == 1:
        raise _no_answer(*refusals[0])
    tried = "; ".join(f"{endpoint}: {refusal.reason}" for endpoint, refusal in refusals)
    # An engine that is there but closed to this user says more than the sockets that are not there.
    telling = [refusal.hint for _, refusal in refusals if refusal.hint != START_HINT]
    raise EngineError(f"no Docker engine answers; tried {tried}", hint=telling[0] if telling else START_HINT)


def _no_answer(endpoint: Endpoint, refusal: Refusal) -> EngineError:
    return EngineError(f"no Docker engine answers at {endpoint}: {refusal.reason}", hint=refusal.hint)


def _open(endpoint: Endpoint) -> Engine:
    """The engine at an endpoint, once it has told its version."""
    scheme, _, path = endpoint.url.partition("://")
    if scheme == "unix" and path.startswith("/") and endpoint.tls is None:
        try:
            found = EngineSocket(path).document("/version", _CALL_TIMEOUT_S)
        except UnexpectedError:
            found = None  # the docker package finds out what is wrong
        version = found.get("ApiVersion") if isinstance(found, dict) else None
        if isinstance(version, str) and _is_new_enough(version):
            return Engine(endpoint, version, EngineSocket(path, version))
    client = _client(endpoint, "auto", _CALL_TIMEOUT_S)
    return Engine(endpoint, client.api_version, None, client)


def _is_new_enough(version: str) -> bool:
    return bool(re.fullmatch(r"[0-9]+\.[0-9]+", version)) and version_numbers(version) >= version_numbers(API_MINIMUM)


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def _client(endpoint: Endpoint, version: str, timeout_s: int | None) -> Any:
    import docker
    import docker.errors
    import requests

    # Its type stubs are incomplete: no inspect_image, and a timeout could not be None (no limit).
    make: Any = docker.APIClient
    try:
        return make(
            base_url=endpoint.url,
            version=version,
            timeout=timeout_s,
            tls=endpoint.tls or False,
            use_ssh_client=True,
        )
    except docker.errors.InvalidVersion as error:
        reason = f"too old: {error}"
        hint = f"Docker with API {API_MINIMUM} or newer is needed; `docker version` shows the API version."
        raise _Refused(Refusal(reason, hint)) from error
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError, TypeError) as error:
        raise _Refused(_refusal_of_foreign(error)) from error


def _refusal_of_foreign(error: BaseException) -> Refusal:
    from docker.errors import APIError

    inner = error.__cause__ or error.__context__
    for one in (error, inner):
        if isinstance(one, APIError):
            words = one.explanation or str(one)
            hint = PERMISSION_HINT if one.status_code in (401, 403) else _DOUBT_HINT
            return Refusal(f"it answers {one.status_code}: {words}", hint)
    if "paramiko" in str(error):
        return Refusal(str(error), 'ssh:// engines need another package: `pip install "docker[ssh]"`.')
    if system_error(error) is not None:
        return refusal_of(error)
    return Refusal(str(error), _DOUBT_HINT)
