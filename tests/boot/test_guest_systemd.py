"""A real systemd image: Debian's systemd is process 1, the console has a shell, the power button works."""

from __future__ import annotations

import io
from pathlib import Path

import docker
import pytest

from gns3_minivm.bundle.model import Bundle
from tests.support.guest import assert_clean, boot, overlay
from tests.support.minivm import gns3_minivm

DOCKERFILE = b"""FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends systemd systemd-sysv && rm -rf /var/lib/apt/lists/*
CMD ["/sbin/init"]
"""
TAG = "gns3-minivm-test-systemd"


@pytest.mark.long
async def test_a_systemd_image_boots_its_own_systemd(bundle: Bundle, docker_host: str, tmp_path: Path) -> None:
    client = docker.DockerClient(base_url=docker_host)
    try:
        client.images.build(fileobj=io.BytesIO(DOCKERFILE), tag=TAG, network_mode="host", rm=True)
    finally:
        client.close()
    converted = tmp_path / "disk.qcow2"
    finished = await gns3_minivm("convert", TAG, "-o", str(converted), environment={"DOCKER_HOST": docker_host})
    assert finished.status == 0, finished.err
    node = overlay(converted, tmp_path / "node.qcow2")
    with boot(bundle, [node], tmp_path, name="sd-1", options=["-m", "256"]) as guest:
        guest.shell()
        assert guest.run("cat /proc/1/comm; hostname; tty; ls /.dockerenv 2>/dev/null") == "systemd\nsd-1\n/dev/ttyS0"
        assert guest.run("systemctl list-units --failed --no-legend --no-pager") == ""
        guest.press_power_button()
        guest.wait_off(60)
    assert_clean(node, tmp_path)
