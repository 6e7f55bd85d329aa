"""A real registry (Debian's docker-registry) on the loopback interface."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.tools import require_tool

_START_LIMIT_S = 30


@contextmanager
def running_registry(
    folder: Path, users: Mapping[str, str] | None = None, certificate: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """Yield ``HOST:PORT``; with ``users`` (bcrypt hashes by name) it asks for a login.

    With a certificate and its key it speaks https.
    """
    program = require_tool("docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = ["version: 0.1", "log: {level: error}", f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}"]
    tls = f", tls: {{certificate: {certificate[0]}, key: {certificate[1]}}}" if certificate else ""
    lines += [f"http: {{addr: 127.0.0.1:{port}{tls}}}"]
    if users:
        (folder / "users").write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
        lines += [f"auth: {{htpasswd: {{realm: test, path: {folder}/users}}}}"]
    (folder / "config.yml").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + _START_LIMIT_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the registry did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/")
        # 400: it speaks https.
        return connection.getresponse().status in (200, 400, 401)
    except OSError:
        return False
    finally:
        connection.close()
