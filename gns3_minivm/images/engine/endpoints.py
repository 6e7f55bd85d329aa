"""Where a Docker engine may be: found as the ``docker`` command finds it, and a little further.

The order is that of the command: ``DOCKER_HOST``, then the context named by ``DOCKER_CONTEXT``, then the context in
``config.json``.  What is named there is used or fails.  Where nothing is named, the usual sockets are tried in turn:
Docker's, rootless Docker's, Podman's (which speaks the same API).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gns3_minivm.base.errors import EngineError
from gns3_minivm.images.system_error import system_error

DOCKER_SOCKET = "/var/run/docker.sock"
_PROBE_TIMEOUT_S = 5.0

START_HINT = (
    "Start the engine (`sudo systemctl start docker`), or install one (`sudo apt install docker.io`); "
    "for an engine elsewhere, set DOCKER_HOST or run `docker context use`."
)
PERMISSION_HINT = (
    "Let your user use the engine: `sudo usermod -aG docker $USER`, then log in again; or use rootless Docker "
    "(`dockerd-rootless-setuptool.sh install`)."
)


@dataclass(frozen=True)
class Endpoint:
    """One place to look for an engine; ``origin`` says why we look there."""

    url: str
    origin: str
    tls: Any = field(default=None, compare=False)
    """A ``docker.tls.TLSConfig``, or None."""

    def __str__(self) -> str:
        return f"{self.url} ({self.origin})"


def find_endpoints(environ: Mapping[str, str]) -> list[Endpoint]:
    """The places to try, in order; exactly one where the user names it.

    Raises EngineError for a context that does not exist or cannot be read.
    """
    if environ.get("DOCKER_HOST"):
        return [_from_environment(environ)]
    named = environ.get("DOCKER_CONTEXT", "")
    if named != "default" and _has_docker_config(environ):
        endpoint = _from_context(named)
        if endpoint is not None:
            return [endpoint]
    elif named not in ("", "default"):
        return [_from_context_file(named, environ)]
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return [
        Endpoint(f"unix://{DOCKER_SOCKET}", "Docker"),
        Endpoint(f"unix://{runtime}/docker.sock", "rootless Docker"),
        Endpoint(f"unix://{runtime}/podman/podman.sock", "Podman of this user"),
        Endpoint("unix:///run/podman/podman.sock", "Podman"),
    ]


def _from_environment(environ: Mapping[str, str]) -> Endpoint:
    if environ["DOCKER_HOST"].startswith("unix://"):
        # What the other settings name are certificates, and the docker package takes its time to load.
        return Endpoint(environ["DOCKER_HOST"], "DOCKER_HOST")
    import docker.errors
    import docker.utils

    try:
        arguments = docker.utils.kwargs_from_env(environment=dict(environ))
    except docker.errors.TLSParameterError as error:
        raise EngineError(
            f"the certificates that DOCKER_TLS_VERIFY and DOCKER_CERT_PATH name are not usable: {error}",
            hint="DOCKER_CERT_PATH must be a folder with ca.pem, cert.pem and key.pem.",
        ) from error
    return Endpoint(environ["DOCKER_HOST"], "DOCKER_HOST", arguments.get("tls"))


def _docker_folder(environ: Mapping[str, str]) -> str:
    return environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")


def _has_docker_config(environ: Mapping[str, str]) -> bool:
    # Spares the import of the docker package where there is nothing to read.
    return os.path.exists(os.path.join(_docker_folder(environ), "config.json"))


def _no_context(name: str) -> EngineError:
    return EngineError(
        f"the Docker context {name!r} does not exist",
        hint="See `docker context ls`; `docker context use default` switches back to this machine's engine.",
    )


def _from_context_file(name: str, environ: Mapping[str, str]) -> Endpoint:
    """The endpoint of a context where there is no config.json: the docker package then looks in the wrong folder.

    Contexts lie in ``contexts/meta/<sha256 of the name>/meta.json``, their certificates in ``contexts/tls``.
    """
    import docker.errors
    import docker.tls

    contexts = os.path.join(_docker_folder(environ), "contexts")
    number = hashlib.sha256(name.encode()).hexdigest()
    try:
        with open(os.path.join(contexts, "meta", number, "meta.json"), encoding="utf-8") as file:
            host = str(json.load(file)["Endpoints"]["docker"]["Host"])
        found = {
            key: path
            for key in ("ca", "cert", "key")
            if os.path.exists(path := os.path.join(contexts, "tls", number, "docker", f"{key}.pem"))
        }
        client = (found["cert"], found["key"]) if {"cert", "key"} <= set(found) else None
        tls = docker.tls.TLSConfig(client_cert=client, ca_cert=found.get("ca"), verify=True) if found else None
    except FileNotFoundError:
        raise _no_context(name) from None
    except (OSError, ValueError, LookupError, TypeError, docker.errors.TLSParameterError) as error:
        raise EngineError(
            f"the Docker context {name!r} cannot be read: {error}", hint="See `docker context inspect`."
        ) from error
    return Endpoint(host, f"Docker context {name}", tls)


def _from_context(name: str) -> Endpoint | None:
    """The endpoint of the named (or current) context; None for the default context."""
    from docker.context import ContextAPI
    from docker.context.config import get_current_context_name

    try:
        name = name or get_current_context_name()
        if name == "default":
            return None
        context = ContextAPI.get_context(name)
        if context is None:
            raise _no_context(name)
        return Endpoint(context.Host or f"unix://{DOCKER_SOCKET}", f"Docker context {name}", context.TLSConfig)
    except EngineError:
        raise
    except Exception as error:  # the docker package raises bare Exception for a damaged context
        raise EngineError(
            f"the Docker context {name!r} cannot be read: {error}", hint="See `docker context inspect`."
        ) from error


@dataclass(frozen=True)
class Refusal:
    """Why an endpoint cannot be used, and what to do about it."""

    reason: str
    hint: str


def probe_socket(endpoint: Endpoint) -> Refusal | None:
    """Try a Unix socket; None if something listens there (or the endpoint is of another kind)."""
    scheme, _, path = endpoint.url.partition("://")
    if scheme not in ("unix", "http+unix"):
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_TIMEOUT_S)
            probe.connect(path)
    except OSError as error:
        return refusal_of(error)
    return None


def refusal_of(error: BaseException) -> Refusal:
    """Say in plain words why a connection failed, from the system's error somewhere below ``error``."""
    cause = system_error(error)
    number = cause.errno if cause is not None else None
    if number in (errno.EACCES, errno.EPERM):
        return Refusal("permission denied", PERMISSION_HINT)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return Refusal("no such socket", START_HINT)
    if number == errno.ECONNREFUSED:
        return Refusal("nothing listens there", START_HINT)
    if cause is not None:
        reason = cause.strerror or str(cause) or type(cause).__name__
        if "certificate" in str(cause).lower() or type(cause).__module__ == "ssl":
            return Refusal(f"TLS failed: {reason}", "Check DOCKER_TLS_VERIFY, DOCKER_CERT_PATH and the certificates.")
        return Refusal(reason, START_HINT)
    return Refusal(str(error) or type(error).__name__, START_HINT)
