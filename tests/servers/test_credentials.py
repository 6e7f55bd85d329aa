"""Passwords and tokens never appear: not in output, errors, the process list or the cache, however a command ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from gns3_minivm.bundle.model import Bundle
from tests.support import faults
from tests.support.faults import FaultyServer, faulty
from tests.support.gns3 import Generation, running_gns3
from tests.support.minivm import minivm_cache

pytestmark = pytest.mark.either_generation

USERNAME = "admin"
PASSWORD = "kept:Secret@7/ß"
ECHO = r"^(?!.*/version)"


@dataclass
class Watched:
    """A server with a distinctive password, and all that commands have shown of it."""

    front: FaultyServer
    generation: Generation
    cache: Path
    tokens: set[str] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{USERNAME}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.front.port}"

    async def run(self, *words: str, wrong: bool = False) -> tuple[int, str]:
        """Run a command whose server is in its environment; what it shows and its process list entry are kept."""
        url = self.url.replace(quote(PASSWORD, safe=""), quote(PASSWORD + "x", safe="")) if wrong else self.url
        variables = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        variables |= {"GNS3_MINIVM_CACHE": str(self.cache), "GNS3_MINIVM_SERVER": url, "PYTHONFAULTHANDLER": "1"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gns3_minivm", *words, "--verbose"),
            env=variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.shown.append(Path(f"/proc/{process.pid}/cmdline").read_text())
        out, err = await asyncio.wait_for(process.communicate(), 600)
        text = out.decode() + err.decode()
        self.shown.append(text)
        assert process.returncode is not None
        return process.returncode, text

    def check(self) -> None:
        """Nothing that was shown or kept carries a secret, in any form in which it travels."""
        basic = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        secrets = {PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), json.dumps(PASSWORD)[1:-1], basic, *self.tokens}
        kept = [path.read_bytes() for path in self.cache.rglob("*") if path.is_file()]
        for secret in secrets:
            assert not [text for text in self.shown if secret in text], secret
            assert not [content for content in kept if secret.encode() in content], secret


@pytest.fixture(scope="module", params=[2, 3], ids=["v2", "v3"])
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bundle: Bundle
) -> AsyncIterator[Watched]:
    del bundle  # it is in the cache from now on
    folder = tmp_path_factory.mktemp("secret")
    section = (
        {"Server": {"auth": "True", "user": USERNAME, "password": PASSWORD}}
        if request.param == 2
        else {"Controller": {"default_admin_username": USERNAME, "default_admin_password": PASSWORD}}
    )
    cache = folder / "cache"
    cache.mkdir()
    # The kernel bundle and disk that other tests have made; what these commands write themselves is looked through.
    for kind in ("kernels", "disks"):
        if (minivm_cache() / kind).is_dir():
            (cache / kind).symlink_to(minivm_cache() / kind)
    with running_gns3(request.param, folder / "server", auth=True, settings=section) as process:
        async with faulty(process) as front:
            yield Watched(front, request.param, cache)


@pytest.fixture
def watched(server: Watched) -> Watched:
    server.front.heal()
    return server


COMMANDS = [
    ("server",),
    ("doctor", "--json"),
    ("register", "busybox-minivm", "--dry-run"),
    ("project", "export", "none", "-o", "/nonexistent-folder/x"),
    ("project", "export", "none", "-o", "/tmp/gns3-minivm-none"),
]


def echo(watched: Watched, code: int) -> faults.Harm:
    """A server that puts all that it was told into its answer."""

    async def harm(_server: FaultyServer, request: web.Request) -> web.StreamResponse:
        told = request.headers.get("Authorization", "")
        if told.startswith("Bearer "):
            watched.tokens.add(told.removeprefix("Bearer "))
        body = (await request.read()).decode(errors="replace")
        text = f"bad request: Authorization: {told}; login {USERNAME}:{PASSWORD}; url {watched.url}; body {body}"
        return web.json_response({"message": text}, status=code)

    return harm


@pytest.mark.parametrize("code", [401, 409, 500])
async def test_a_server_that_repeats_what_it_was_told_does_not_give_it_away(watched: Watched, code: int) -> None:
    watched.front.on(ECHO, echo(watched, code))
    for words in COMMANDS[: 3 if code == 500 else 1]:
        status, text = await watched.run(*words)
        assert status == 1 and ("bad request" in text or "refuses this user name and password" in text), text
    watched.check()


async def test_no_command_shows_them_whether_it_works_or_not(watched: Watched) -> None:
    for words in COMMANDS:
        await watched.run(*words)
    status, text = await watched.run("server", wrong=True)
    assert status == 1 and "refuses this user name and password" in text
    for harm in (faults.drop, faults.nonsense(b"<<<"), faults.status(302)):
        watched.front.heal()
        watched.front.on(ECHO, harm)
        status, text = await watched.run("server", "--json")
        assert status == 1, text
    watched.check()


async def test_tokens_of_real_logins_are_not_shown_either(watched: Watched) -> None:
    taken = re.compile(r"Bearer (\S+)")

    async def listen(server: FaultyServer, request: web.Request) -> web.StreamResponse:
        if found := taken.match(request.headers.get("Authorization", "")):
            watched.tokens.add(found[1])
        return await server.forward(request)

    watched.front.on(r"GET", listen)
    for words in COMMANDS[:3]:
        status, text = await watched.run(*words)
        assert status == 0, text
    assert watched.generation == 2 or any("." in token for token in watched.tokens)
    watched.check()
