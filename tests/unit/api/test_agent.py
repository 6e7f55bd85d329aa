"""The agent as a program uses it: which errors are raised, which are in a result; nothing unused is loaded."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from gns3_minivm import Agent
from gns3_minivm.base.errors import ConfigError, ConnectError, MiniVMError, UsageError
from gns3_minivm.base.events import Event, StepStarted

NOBODY = "http://127.0.0.1:9"


async def test_what_goes_wrong_everywhere_is_raised(tmp_path: Path) -> None:
    async with Agent(NOBODY, cache=tmp_path) as agent:
        with pytest.raises(ConnectError, match="127.0.0.1:9"):
            await agent.remove("debian-minivm")


async def test_a_server_must_be_named(tmp_path: Path) -> None:
    async with Agent(cache=tmp_path) as agent:
        with pytest.raises(UsageError, match="no GNS3 server is named"):
            await agent.register("busybox-minivm")


async def test_a_catalogue_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.yml"):
        await Agent(cache=tmp_path).status(tmp_path / "nowhere.yml")


async def test_events_reach_the_program(tmp_path: Path) -> None:
    told: list[Event] = []
    archive = tmp_path / "root.tar"
    with pytest.raises(MiniVMError):
        await Agent(cache=tmp_path / "cache", on_event=told.append).convert(f"rootfs:{archive}", tmp_path / "d.qcow2")
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("hello"))
    result = await Agent(cache=tmp_path / "cache", on_event=told.append).convert(
        f"rootfs:{archive}", tmp_path / "d.qcow2"
    )
    assert result.output == tmp_path / "d.qcow2"
    assert [event for event in told if isinstance(event, StepStarted)]


def test_the_package_alone_loads_nothing_else() -> None:
    code = "import gns3_minivm, sys; print([n for n in sys.modules if n.startswith(('gns3_minivm.', 'aiohttp'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    import gns3_minivm

    with pytest.raises(AttributeError, match="nothing"):
        _ = gns3_minivm.nothing
