"""``gns3-minivm register`` as a user runs it, against real GNS3 servers of both generations."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.gns3 import GNS3Process, free_port, running_gns3
from tests.support.minivm import Finished, gns3_minivm, minivm_cache

pytestmark = pytest.mark.either_generation

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.fixture(scope="module", params=[2, 3], ids=["v2", "v3"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GNS3Process]:
    """A server that nothing was registered on; one of v2 asks for a password too."""
    with running_gns3(request.param, tmp_path_factory.mktemp("gns3"), auth=True) as process:
        yield process


@pytest.fixture
async def api(server: GNS3Process) -> AsyncIterator[Server]:
    async with await connect(parse_address(server.url)) as connected:
        yield connected


async def busybox_template(api: Server) -> QemuTemplate | None:
    found = [template.values for template in await api.templates() if template.name == "busybox-minivm"]
    assert len(found) <= 1
    return found[0] if found else None


def digests(paths: Iterable[Path]) -> set[str]:
    """The sha256 of each of these files; folders are passed over."""
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


def one_message_with_a_hint(finished: Finished) -> str:
    """The error as the user sees it: nothing but the message and its hint at the end, no traceback."""
    shown = (finished.err + finished.out).strip().splitlines()
    assert "Traceback" not in finished.err
    errors = [line for line in shown if "error: " in line]
    hints = [line for line in shown if line.startswith("hint: ")]
    assert len(errors) == 1 and len(hints) == 1, shown
    return errors[0]


async def test_a_dry_run_changes_nothing_on_the_server(server: GNS3Process, api: Server) -> None:
    # The kernel bundle that it needs to know; made here if this machine has none yet.
    (await gns3_minivm("kernel", "build", "--json")).result()
    before = server.image_files
    finished = await gns3_minivm("register", "busybox-minivm", "--server", server.url, "--dry-run")
    assert finished.status == 0, finished.err
    assert "nothing was changed" in finished.out
    assert await busybox_template(api) is None
    assert server.image_files == before


async def test_register_uploads_and_creates_and_a_second_run_finds_nothing_to_do(
    server: GNS3Process, api: Server
) -> None:
    listed = (await gns3_minivm("list", "--json")).result()["appliances"]
    appliance = next(item for item in listed if item["name"] == "busybox-minivm")
    first = await gns3_minivm("register", "busybox-minivm", "--server", server.url)
    assert first.status == 0, first.err
    template = await busybox_template(api)
    assert template is not None
    assert (template.adapters, template.ram_mb) == (appliance["adapters"], appliance["ram"])
    assert (template.console_type, template.on_close) == ("telnet", "shutdown_signal")
    assert template.hda_disk_interface == "virtio"
    assert "-device virtio-rng-pci" in template.options
    assert "console=ttyS0" in template.kernel_command_line.split()
    names = {template.hda_disk_image, template.kernel_image, template.initrd}
    on_disk = {path.name: path for path in server.image_files}
    assert names <= set(on_disk)
    sizes = {on_disk[name].stat().st_size for name in names}
    cached = [path for path in minivm_cache().rglob("*") if path.stat().st_size in sizes]
    assert digests(on_disk[name] for name in names) <= digests(cached)

    before = {path: path.stat().st_mtime_ns for path in server.image_files}
    second = await gns3_minivm("register", "busybox-minivm", "--server", server.url)
    assert second.status == 0, second.err
    assert "nothing to do" in second.out
    assert {path: path.stat().st_mtime_ns for path in server.image_files} == before
    # About a second; the rest is for a machine that runs other tests beside.
    assert second.elapsed_s < 60


async def test_a_setting_that_changes_updates_the_template_and_uploads_nothing(
    server: GNS3Process, api: Server
) -> None:
    assert (await gns3_minivm("register", "busybox-minivm", "--server", server.url)).status == 0
    before = {path: path.stat().st_mtime_ns for path in server.image_files}
    finished = await gns3_minivm("register", "busybox-minivm", "--adapters", "5", "--server", server.url)
    assert finished.status == 0, finished.err
    template = await busybox_template(api)
    assert template is not None and template.adapters == 5
    assert {path: path.stat().st_mtime_ns for path in server.image_files} == before


async def test_a_wrong_password_is_one_message(server: GNS3Process) -> None:
    url = server.bare_url.replace("://", "://admin:not-it@")
    finished = await gns3_minivm("register", "busybox-minivm", "--server", url)
    assert finished.status == 1
    assert "password" in one_message_with_a_hint(finished)
    assert "not-it" not in finished.out + finished.err


async def test_no_server_there_is_one_message() -> None:
    port = free_port()
    finished = await gns3_minivm("register", "busybox-minivm", "--server", f"http://127.0.0.1:{port}")
    assert finished.status == 1
    assert f"127.0.0.1:{port}" in one_message_with_a_hint(finished)


@pytest.mark.usefixtures("api")
async def test_an_image_without_an_engine_is_one_message_and_leaves_the_server_alone(server: GNS3Process) -> None:
    before = server.image_files
    finished = await gns3_minivm("register", "debian:bookworm-slim", "--server", server.url, environment=NO_ENGINE)
    assert finished.status == 1
    assert "Docker engine" in one_message_with_a_hint(finished)
    assert server.image_files == before


async def test_an_unknown_image_is_one_message(server: GNS3Process, docker_host: str) -> None:
    environment = {"DOCKER_HOST": docker_host}
    words = ("register", "localhost:9/no-such-image:1", "--server", server.url)
    finished = await gns3_minivm(*words, environment=environment)
    assert finished.status == 1
    assert "no-such-image" in one_message_with_a_hint(finished)


async def test_a_dead_server_does_not_keep_the_other_one_from_being_served(server: GNS3Process, api: Server) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    finished = await gns3_minivm("register", "busybox-minivm", "--server", dead, "--server", server.url)
    assert finished.status == 3, finished.err
    assert await busybox_template(api) is not None


async def test_an_image_of_the_engine_is_registered_with_its_own_name(
    server: GNS3Process, api: Server, docker_host: str
) -> None:
    environment = {"DOCKER_HOST": docker_host}
    words = ("register", "debian:bookworm-slim", "--as", "plain-debian", "--ram", "384", "--server", server.url)
    finished = await gns3_minivm(*words, environment=environment)
    assert finished.status == 0, finished.err
    template = next(t.values for t in await api.templates() if t.name == "plain-debian")
    assert template is not None and template.ram_mb == 384
    assert (server.images / template.hda_disk_image).is_file()


async def test_interrupting_at_any_moment_leaves_nothing_half_done(
    server: GNS3Process, api: Server, docker_host: str, tmp_path: Path
) -> None:
    environment = {"DOCKER_HOST": docker_host}
    # A cache with the kernel bundle only; each size is another disk, to be converted and uploaded.
    cache = tmp_path / "cache"
    shutil.copytree(minivm_cache() / "kernels", cache / "kernels")
    words = ("register", "debian:bookworm-slim", "--as", "interrupted", "--server", server.url, "--size")
    before = {path.name for path in server.image_files}
    whole = await gns3_minivm(*words, "5G", cache=cache, environment=environment)
    assert whole.status == 0, whole.err
    statuses = []
    for part in range(1, 6):
        size = f"{5 + part}G"
        statuses.append(await interrupted_after(whole.elapsed_s * part / 6, cache, environment, *words, size))
        assert list((cache / "work").iterdir()) == []
        names = {path.name for path in server.image_files if path.suffix != ".md5sum"}
        # API v2 keeps what came of an interrupted upload, under another name, and has no way to delete it.
        complete = {name for name in names if server.generation == 3 or not name.endswith(".tmp")}
        template = next(t.values for t in await api.templates() if t.name == "interrupted")
        assert template is not None and {template.hda_disk_image, template.kernel_image} <= complete
        assert digests(server.images / name for name in complete - before) <= digests(cache.rglob("*"))
    # -2: so early that Python itself was not ready yet.
    assert set(statuses) <= {0, 130, -signal.SIGINT} and 130 in statuses
    finished = await gns3_minivm(*words, "6G", cache=cache, environment=environment)
    assert finished.status == 0, finished.err


async def interrupted_after(delay_s: float, cache: Path, environment: Mapping[str, str], *words: str) -> int:
    """Run a command and press Ctrl-C after a while; its exit status."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gns3_minivm", *words),
        env=os.environ | {"GNS3_MINIVM_CACHE": str(cache), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, err = await asyncio.wait_for(process.communicate(), delay_s)
    except TimeoutError:
        process.send_signal(signal.SIGINT)
        assert process.stderr
        err = await asyncio.wait_for(process.stderr.read(), 120)
        await process.wait()
    assert "Traceback" not in err.decode()
    assert process.returncode is not None
    return process.returncode
