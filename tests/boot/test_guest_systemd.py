"""A real systemd image: Debian's systemd is process 1, the console has a shell, the power button works."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import docker
import pytest

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.guest.exec import ExecRequest, GuestExec, GuestState
from gns3_minivm.guest.payload import FW_CFG_NAME, GuestCommand, GuestFile, NodePayload
from tests.support.guest import Guest, assert_clean, boot, overlay
from tests.support.minivm import gns3_minivm

DOCKERFILE = b"""FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends systemd systemd-sysv && rm -rf /var/lib/apt/lists/*
CMD ["/sbin/init"]
"""
TAG = "gns3-minivm-test-systemd"
PAYLOAD = NodePayload(
    sysctls={"net.ipv4.ip_default_ttl": "7"},
    files=(
        GuestFile(
            path="/etc/systemd/system/by-payload.service",
            content=b"[Service]\nType=oneshot\nRemainAfterExit=yes\n"
            b"ExecStart=/bin/sh -c 'cat /proc/sys/net/ipv4/ip_default_ttl >/root/unit'\n",
        ),
        GuestFile(
            path="/etc/systemd/system/multi-user.target.d/wants.conf", content=b"[Unit]\nWants=by-payload.service\n"
        ),
    ),
    commands=(GuestCommand("echo by a command >/root/command"),),
)


async def runs_commands(guest: Guest) -> None:
    """Init has left a process behind that owns the serial line."""
    reader, writer = await asyncio.open_connection(sock=guest.take_console())
    try:
        async with GuestExec(reader, writer) as commands:
            assert await commands.hello(30) == GuestState("main", "sd-1")
            answer = await commands.run(ExecRequest(argv=["systemctl", "is-active", "minivm-console"]))
            assert (answer.stdout, answer.exit_status) == (b"active\n", 0)
            assert (await commands.run(ExecRequest(shell="exit 3"))).exit_status == 3
    finally:
        writer.transport.abort()


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
    (tmp_path / "payload").write_bytes(PAYLOAD.encode())
    options = ["-m", "256", "-fw_cfg", f"name={FW_CFG_NAME},file={tmp_path / 'payload'}"]
    with boot(bundle, [node], tmp_path, name="sd-1", options=options) as guest:
        guest.shell()
        assert guest.run("cat /proc/1/comm; hostname; ls /.dockerenv 2>/dev/null") == "systemd\nsd-1"
        assert guest.run("tty").startswith("/dev/")
        assert guest.run("systemctl list-units --failed --no-legend --no-pager") == ""
        # A unit that came with the payload was there when systemd started.
        assert guest.run("systemctl is-active by-payload; cat /root/unit /root/command") == "active\n7\nby a command"
        await runs_commands(guest)
        # The shell is still there, and another one comes when it ends.
        assert guest.run("echo still $((40+2))") == "still 42"
        guest.send("exit\n")
        guest.shell()
        assert guest.run("echo another") == "another"
        guest.press_power_button()
        guest.wait_off()
    assert_clean(node, tmp_path)
