"""alpine-minivm: booted where its base image and Alpine's packages can be had; elsewhere the user is told plainly."""

from __future__ import annotations

import json

import pytest

from gns3_minivm.bundle.model import Bundle
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool

pytestmark = pytest.mark.long


async def test_it_boots_or_the_user_is_told_that_its_base_cannot_be_had(docker_host: str, bundle: Bundle) -> None:
    require_tool("qemu-system-x86_64")
    words = ("boot", "alpine-minivm", "--build-network", "host", "--run", "cat /etc/os-release; which nano", "--json")
    done = await gns3_minivm(*words, environment={"DOCKER_HOST": docker_host})
    last = json.loads(done.out.splitlines()[-1])
    if done.status == 0:
        assert "Alpine Linux" in last["output"] and "/usr/bin/nano" in last["output"]
    else:
        assert (done.status, last["code"]) == (1, "build"), last
        assert "building the appliance alpine-minivm failed in step" in last["message"]
        assert "cannot be had" in last["hint"] or "no way out" in last["hint"]
