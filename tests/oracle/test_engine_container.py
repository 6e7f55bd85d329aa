"""Containers of a real engine, in which a kernel is compiled where this machine lacks the tools."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import EngineError, ToolError
from gns3_minivm.images.engine.client import Engine, connect
from gns3_minivm.images.engine.container import Container

IMAGE = "debian:bookworm-slim"


@pytest.fixture
def engine(docker_host: str) -> Iterator[Engine]:
    with connect({"DOCKER_HOST": docker_host}) as connected:
        yield connected


def ours(docker_host: str, mark: str) -> list[dict[str, Any]]:
    """The engine's containers, in any state, that were made with this mark in their environment."""
    client = docker.APIClient(base_url=docker_host)
    try:
        found = []
        for row in client.containers(all=True):
            try:
                found.append(client.inspect_container(row["Id"]))
            except docker.errors.NotFound:
                continue
        return [one for one in found if f"MARK={mark}" in (one["Config"]["Env"] or [])]
    finally:
        client.close()


def test_programs_run_in_it_and_files_go_in_and_out(engine: Engine, docker_host: str) -> None:
    with engine.container(IMAGE, network="host", environment={"MARK": "files"}) as container:
        (description,) = ours(docker_host, "files")
        host = description["HostConfig"]
        assert (host["Privileged"], host["Binds"], host["NetworkMode"]) == (False, None, "host")
        data = bytes(range(256)) * 5000
        container.write("/root/data", io.BytesIO(data), len(data))
        assert container.run(("sha256sum", "data"), folder="/root").split()[0]
        container.run(("sh", "-c", "cat data data > twice"), folder="/root")
        assert container.read("/root/twice") == data * 2
        lines: list[str] = []

        def on_line(line: str) -> bool:
            lines.append(line)
            return line == "two"

        rest = container.run(("printf", "one\ntwo\nthr\xc3\xa9e"), on_line=on_line)
        assert lines == ["one", "two", "thr\xc3\xa9e"] and rest == "one\nthr\xc3\xa9e"
    assert ours(docker_host, "files") == []


def test_a_program_that_fails_is_told_with_its_last_words(engine: Engine) -> None:
    with engine.container(IMAGE, network="host", environment={}) as container:
        with pytest.raises(ToolError) as caught:
            container.run(("sh", "-c", "echo some words; exit 7"), hint="Do this.")
        assert caught.value.message.startswith(
            "in the container, `sh -c 'echo some words; exit 7'` ended with status 7"
        )
        assert caught.value.message.endswith("  some words") and caught.value.hint == "Do this."


def test_an_image_that_is_not_there_is_an_error_of_the_engine(engine: Engine) -> None:
    with (
        pytest.raises(EngineError, match="No such image"),
        engine.container("gns3-minivm/none", network="host", environment={}),
    ):
        pass


async def test_ctrl_c_takes_the_container_away(engine: Engine, docker_host: str) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        with engine.container(IMAGE, network="host", environment={"MARK": "cancelled"}) as container:
            wait_for_ever(container)

    def wait_for_ever(container: Container) -> None:
        loop.call_soon_threadsafe(started.set)
        container.run(("sleep", "1000"))

    task = asyncio.create_task(run_blocking(work))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ours(docker_host, "cancelled") == []


KILLED = """
import sys, time
from gns3_minivm.images.engine.client import connect
with connect() as engine, engine.container(sys.argv[1], network="host", environment={"MARK": "killed"}) as container:
    print("ready", flush=True)
    time.sleep(1000)
"""


async def test_a_container_ends_with_the_process_that_made_it(docker_host: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, IMAGE),
        env={**os.environ, "DOCKER_HOST": docker_host},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    assert len(ours(docker_host, "killed")) == 1
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with asyncio.timeout(120):
        while ours(docker_host, "killed"):
            await asyncio.sleep(0.2)
