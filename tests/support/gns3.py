"""Real GNS3 servers for tests: API v2 (2.2.x) and v3 (3.0.x) on loopback, each with directories of its own.

The servers are found in ``$GNS3_MINIVM_SERVERS/g2/bin/gns3server`` and ``.../g3/bin/gns3server``; ./test installs them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from gns3_minivm.base.locks import give, take
from tests.support.dynamips import EXECUTABLE as DYNAMIPS

Generation = Literal[2, 3]

USERNAME = "admin"
PASSWORD = "admin"
"""What API v3 sets up by itself; the same is used where API v2 asks for a password."""

_START_LIMIT_S = 300.0
_SLOTS = 100
_STOP_LIMIT_S = 30.0
_IN_SERVERS = Path(__file__).with_name("in_servers")
_BROUGHT = re.compile(r"(OVMF\w*\.fd|empty\d+[GT]\.qcow2|config\.img)(\.tmp)?|.*\.md5sum")


def server_program(generation: Generation) -> Path:
    """The ``gns3server`` of a generation; without it the test is skipped at home and fails in CI."""
    folder = os.environ.get("GNS3_MINIVM_SERVERS")
    program = Path(folder or "/nonexistent", f"g{generation}", "bin", "gns3server")
    if program.is_file():
        return program
    message = (
        f"no GNS3 server of API v{generation}: GNS3_MINIVM_SERVERS={folder or ''} has no {program.name} (see ./test)"
    )
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@dataclass
class GNS3Process:
    """A running server; ``url`` carries its credentials, ``images`` is the folder of QEMU images on its disk."""

    generation: Generation
    port: int
    directory: Path
    auth: bool
    tls: bool
    process: subprocess.Popen[bytes]

    @property
    def bare_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        if not self.auth:
            return self.bare_url
        return self.bare_url.replace("://", f"://{USERNAME}:{PASSWORD}@")

    @property
    def images(self) -> Path:
        return self.directory / "images" / "QEMU"

    @property
    def image_files(self) -> list[Path]:
        """The files in ``images``, but for what a server brings or notes there itself, at a time of its own."""
        return sorted(path for path in self.images.iterdir() if not _BROUGHT.fullmatch(path.name))

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @contextmanager
    def disk_used(self, percent: int) -> Iterator[None]:
        """The server finds its disk as full as this until the block ends, and not as full as ours."""
        file = _disk_used_file(self.directory)
        before = file.read_text()
        file.write_text(str(percent))
        try:
            yield
        finally:
            file.write_text(before)


@contextmanager
def running_gns3(
    generation: Generation,
    directory: Path,
    *,
    auth: bool | None = None,
    ubridge: Path | None = None,
    settings: Mapping[str, Mapping[str, str]] | None = None,
    certificate: tuple[Path, Path] | None = None,
    port: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[GNS3Process]:
    """Run a server below ``directory`` until the block ends; a second run there finds what the first one left.

    ``auth`` is meant for v2 (default: no password); v3 always asks for one.  ``settings`` adds to, or overrides,
    sections of the configuration file.  ``certificate`` is (certificate, key) and turns TLS on.  ``variables`` are
    added to its environment.
    """
    program = server_program(generation)
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    with ports_of_nodes(port) as slot:
        with_auth = generation == 3 or bool(auth)
        config = _write_config(generation, directory, slot, with_auth, ubridge, settings or {})
        command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--allow"]
        if certificate:
            command += ["--ssl", "--certfile", str(certificate[0]), "--certkey", str(certificate[1])]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment |= {
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(directory / "tmp"),
        }
        if ubridge:
            environment["PATH"] = f"{ubridge.parent}:{environment.get('PATH', '')}"
        _disk_used_file(directory).write_text("40")
        environment |= {"PYTHONPATH": str(_IN_SERVERS), "GNS3_TEST_DISK_USED": str(_disk_used_file(directory))}
        environment |= variables or {}
        with (directory / "server.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = GNS3Process(generation, port, directory, with_auth, certificate is not None, process)
        try:
            _wait_until_it_answers(server)
            yield server
        finally:
            stop(server)


def stop(server: GNS3Process, how: signal.Signals = signal.SIGTERM) -> None:
    """End a server and the QEMU processes it started."""
    process = server.process
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # A session of its own, so this reaches its children and nobody else's.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ports_of_nodes(port: int) -> Iterator[int]:
    """Have one of a hundred ranges of ports for nodes alone; the server on ``port`` gets the same again.

    Servers do not see the ports that others have handed out and not opened yet, also those of other test runs.
    """
    for step in range(_SLOTS):
        slot = (port + step) % _SLOTS
        path = Path(tempfile.gettempdir()) / f"gns3-minivm-test-ports-{slot}"
        try:
            descriptor = take(path)
        except OSError:
            continue
        try:
            yield slot
        finally:
            give(path, descriptor)
        return
    raise RuntimeError("all ranges of ports are taken")


def _write_config(
    generation: Generation,
    directory: Path,
    slot: int,
    auth: bool,
    ubridge: Path | None,
    settings: Mapping[str, Mapping[str, str]],
) -> Path:
    for name in ("images/QEMU", "projects", "appliances", "symbols", "configs", "tmp"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    server = {
        "images_path": str(directory / "images"),
        "projects_path": str(directory / "projects"),
        "appliances_path": str(directory / "appliances"),
        "symbols_path": str(directory / "symbols"),
        "configs_path": str(directory / "configs"),
        "report_errors": "False",
        "console_start_port_range": str(5000 + slot * 40),
        "console_end_port_range": str(5039 + slot * 40),
        "udp_start_port_range": str(10000 + slot * 200),
        "udp_end_port_range": str(10199 + slot * 200),
    }
    if ubridge:
        server["ubridge_path"] = str(ubridge)
    sections: dict[str, dict[str, str]] = {"Server": server, "Qemu": {}, "Dynamips": {"dynamips_path": str(DYNAMIPS)}}
    # /dev/kvm may exist and not work.
    sections["Qemu"]["enable_hardware_acceleration"] = "False"
    sections["Qemu"]["require_hardware_acceleration"] = "False"
    if generation == 2:
        server |= {"auth": str(auth), "user": USERNAME, "password": PASSWORD}
    else:
        server["install_builtin_appliances"] = "False"
        sections["Controller"] = {"default_admin_username": USERNAME, "default_admin_password": PASSWORD}
    for name, values in settings.items():
        sections.setdefault(name, {}).update(values)
    path = directory / "gns3_server.conf"
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""]
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return path


def _disk_used_file(directory: Path) -> Path:
    return directory / "disk-used-percent"


def _wait_until_it_answers(server: GNS3Process) -> None:
    # TLS is left to the tests: an open port is enough there.
    deadline = time.monotonic() + _START_LIMIT_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if server.tls:
                with socket.create_connection(("127.0.0.1", server.port), 2):
                    return
            with opener.open(f"{server.bare_url}/v{server.generation}/version", timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                return
        except OSError:
            pass
        time.sleep(0.1)
    tail = server.log.read_text(errors="replace")[-3000:]
    raise RuntimeError(f"the GNS3 server of API v{server.generation} did not start:\n{tail}")
