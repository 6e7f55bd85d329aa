"""Fixtures that several parts of the tests use; what they start is in tests/support."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from zlib import crc32

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Events
from gns3_minivm.bundle import build
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.packages.apt import AptSource
from gns3_minivm.bundle.source import monolithic
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.server import Server
from gns3_minivm.ops.kernels.monolithic import build_monolithic
from tests.support.cache import cache_folder
from tests.support.engine import running_engine
from tests.support.gns3 import GNS3Process, running_gns3
from tests.support.guest_loop import compile_loop
from tests.support.minivm import minivm_cache
from tests.support.parsers import Parsers, compile_parsers
from tests.support.tools import require_tool
from tests.support.ubridge import EXECUTABLE as UBRIDGE

# Where the compiler of the guest's init keeps its C library, whatever home and cache a test makes up.
os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache_folder() / "compiler"))

_GENERATION = re.compile(r"(?<=[\[-])v([23])(?=[]-])")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so; the commands of the tests would inherit it, and not hear Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave one generation of GNS3 to ``./test --all`` for tests marked ``either_generation``: the name decides."""
    for item in items:
        found = _GENERATION.search(item.nodeid)
        if found and item.get_closest_marker("either_generation"):
            rest = item.nodeid[: found.start()] + item.nodeid[found.end() :]
            if found[1] != "23"[crc32(rest.encode()) % 2]:
                item.add_marker(pytest.mark.long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set, nothing may be skipped, whatever the reason."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI is set: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def gns3_v2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GNS3Process]:
    """A GNS3 server of API v2 that asks for no password."""
    with running_gns3(2, tmp_path_factory.mktemp("gns3-v2"), ubridge=UBRIDGE) as server:
        yield server


@pytest.fixture(scope="session")
def gns3_v2_auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GNS3Process]:
    """A GNS3 server of API v2 that asks for a password."""
    with running_gns3(2, tmp_path_factory.mktemp("gns3-v2-auth"), auth=True) as server:
        yield server


@pytest.fixture(scope="session")
def gns3_v3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GNS3Process]:
    """A GNS3 server of API v3."""
    with running_gns3(3, tmp_path_factory.mktemp("gns3-v3"), ubridge=UBRIDGE) as server:
        yield server


@pytest.fixture(scope="session", params=["v2", "v3"])
def gns3_server(request: pytest.FixtureRequest) -> GNS3Process:
    """Each generation in turn."""
    server: GNS3Process = request.getfixturevalue(f"gns3_{request.param}")
    return server


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The ``DOCKER_HOST`` of a real engine that has debian:bookworm-slim; builds need ``network_mode="host"``."""
    with running_engine() as host:
        yield host


@pytest.fixture
async def client(gns3_server: GNS3Process) -> AsyncIterator[Server]:
    """A connection to each generation in turn."""
    async with await connect(parse_address(gns3_server.url)) as server:
        yield server


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The kernel bundle, made once per machine; the tests' ``gns3-minivm`` command uses the same one."""
    require_tool("apt-get")
    cache = Cache(minivm_cache())
    return build.find(cache) or build.build(AptSource(cache), cache, Events())


@pytest.fixture(scope="session")
def monolithic_bundle() -> Bundle:
    """The monolithic kernel, compiled once per machine with its own tools; for tests marked ``long`` only."""
    require_tool("apt-get")
    require_tool("gcc")
    cache = Cache(minivm_cache())
    return build.find(cache, monolithic.FLAVOUR) or build_monolithic(cache, Events())


@pytest.fixture(scope="session")
def parsers(tmp_path_factory: pytest.TempPathFactory) -> Parsers:
    """The guest's parsers as a program that ends with an error at the first use of memory that is not its own."""
    return compile_parsers(tmp_path_factory.mktemp("parsers"))


@pytest.fixture(scope="session")
def loop_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest's main loop as a program that ends with an error as the parsers do, and where it loses memory."""
    return compile_loop(tmp_path_factory.mktemp("loop"))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody trusts, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [require_tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=gns3",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key
