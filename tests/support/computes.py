"""A second GNS3 server that is a compute of the first one."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from tests.support.gns3 import Generation, GNS3Process, running_gns3
from tests.support.ubridge import EXECUTABLE as UBRIDGE

USERNAME, PASSWORD = "gns3", "compute-password"


@dataclass(frozen=True)
class Pair:
    """``main`` is asked, ``far`` runs nodes as the compute ``compute_id``."""

    main: GNS3Process
    far: GNS3Process
    compute_id: str

    def far_images(self) -> list[dict[str, Any]]:
        """What the compute's own endpoint lists, asked with the compute's credentials."""
        found: list[dict[str, Any]] = json.loads(self._ask("GET", "/qemu/images"))
        return found

    def put_on_far(self, filename: str, content: bytes) -> None:
        """Upload a file through the compute's own endpoint, past the controller."""
        self._ask("POST", f"/qemu/images/{filename}", content)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        url = f"{self.far.bare_url}/v{self.far.generation}/compute{path}"
        login = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(url, body, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def running_pair(generation: Generation, folder: Path) -> Iterator[Pair]:
    """Two servers; ``register_compute`` makes the second one a compute of the first."""
    settings = {"Server": {"compute_username": USERNAME, "compute_password": PASSWORD}}
    if generation == 2:
        settings = {"Server": {"user": USERNAME, "password": PASSWORD, "auth": "True"}}
    with (
        running_gns3(generation, folder / "far", ubridge=UBRIDGE, settings=settings) as far,
        running_gns3(generation, folder / "main", ubridge=UBRIDGE) as main,
    ):
        yield Pair(main, far, "00000000-0000-4000-8000-00000000cafe")


async def register_compute(pair: Pair) -> None:
    """Tell the main server of its compute."""
    body = {
        "compute_id": pair.compute_id, "name": "far", "protocol": "http", "host": "127.0.0.1", "port": pair.far.port,
        "user": USERNAME, "password": PASSWORD,
    }  # fmt: skip
    async with await connect(parse_address(pair.main.url)) as server:
        await server._object("POST", "/computes", "register a compute", body)
        if pair.main.generation == 3:
            await server._command("POST", f"/computes/{pair.compute_id}/connect", "connect a compute", {})
