"""``gns3-minivm boot`` as a user runs it: real QEMU guests, without a GNS3 server and with one."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.appliances import Appliances
from tests.support.gns3 import GNS3Process, free_port
from tests.support.minivm import gns3_minivm, minivm_cache
from tests.support.tools import require_tool


async def test_a_command_is_run_in_the_guest_and_its_answer_printed() -> None:
    require_tool("qemu-system-x86_64")
    finished = await gns3_minivm(
        "boot", "busybox-minivm", "--adapters", "3", "--run", "hostname; ls /sys/class/net; exit 42"
    )
    # The command's own status is the boot's.
    assert finished.status == 42, finished.err
    assert finished.out.split() == ["busybox-minivm", "eth0", "eth1", "eth2", "lo"]


async def test_with_json_the_answer_and_the_command_line_are_the_result() -> None:
    require_tool("qemu-system-x86_64")
    words = ("boot", "busybox-minivm", "--kernel-args", "env.COLOUR=blue", "--run", 'echo "colour=$COLOUR"', "--json")
    result = (await gns3_minivm(*words)).result()
    assert result["output"] == "colour=blue" and result["status"] == 0
    assert "-device virtio-rng-pci" in result["command_line"] and "console=ttyS0" in result["command_line"]


def appliance_usage(name: str) -> str:
    appliance = Appliances().find(name)
    assert appliance is not None
    return str(appliance.usage)


class TftpServer(asyncio.DatagramProtocol):
    """Answers every read request with one block (RFC 1350)."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if data.startswith(b"\0\1"):
            self.transport.sendto(b"\0\3\0\1by-tftp\n", address)


async def test_busybox_is_a_useful_end_host() -> None:
    """Every tool that its description names does its work once."""
    require_tool("qemu-system-x86_64")
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(TftpServer, local_addr=("127.0.0.1", 0))
    port = server.get_extra_info("sockname")[1]
    steps = [
        "udhcpc -n -q -i eth0 >/dev/null 2>&1; ip route | grep -q 'default via 10.0.2.2' && echo dhcp",
        "grep -q nameserver /etc/resolv.conf && echo resolver",
        "ping -c 1 -W 5 10.0.2.2 >/dev/null && echo ping",
        "traceroute -n -m 1 127.0.0.1 2>/dev/null | grep -q 127.0.0.1 && echo traceroute",
        "echo page >/tmp/page; httpd -p 127.0.0.1:80 -h /tmp; wget -q -O - http://127.0.0.1/page",
        "(sleep 1; echo GET /page HTTP/1.0; echo; sleep 1) | telnet 127.0.0.1 80 2>&1 | grep -q page && echo telnet",
        # QEMU's network leads to this machine's loopback.
        f"cd /root; tftp -g -r note 10.0.2.2 {port} 2>/dev/null; cat note",
        "echo hallo >text; vi -c ':s/a/e/' -c ':wq' text >/dev/null; cat text",
    ]
    try:
        finished = await gns3_minivm("boot", "busybox-minivm", "--run", "; ".join(steps))
    finally:
        server.close()
    assert finished.status == 0, finished.err
    answers = ["dhcp", "resolver", "ping", "traceroute", "page", "telnet", "by-tftp", "hello"]
    assert finished.out.split() == answers


async def test_busybox_has_an_address_for_good_as_its_usage_text_says() -> None:
    require_tool("qemu-system-x86_64")
    assert "vi /etc/network/interfaces, then ifdown eth0; ifup eth0." in appliance_usage("busybox-minivm")
    # What /etc/init.sh reads of the file when the machine starts, it has read.
    steps = ["until ps -o args | grep -qx 'sh -l'; do sleep 0.1; done"]
    for number in (2, 3):
        text = rf"auto eth0\niface eth0 inet static\n\taddress 192.168.0.{number}\n\tnetmask 255.255.255.0\n"
        steps += [f"printf '{text}' >/etc/network/interfaces", "ifdown eth0 2>/dev/null; ifup eth0"]
        steps.append("ip -4 -o address show dev eth0 | awk '{print $4}'")
    finished = await gns3_minivm("boot", "busybox-minivm", "--run", "; ".join(steps))
    assert (finished.status, finished.out.split()) == (0, ["192.168.0.2/24", "192.168.0.3/24"]), finished.err


async def test_what_the_guest_writes_is_thrown_away_unless_it_is_kept(tmp_path: Path) -> None:
    require_tool("qemu-img")
    write, read = "echo here >/root/note; sync", "cat /root/note"
    kept = ("--keep", str(tmp_path / "kept.qcow2"))
    assert (await gns3_minivm("boot", "busybox-minivm", *kept, "--run", write)).status == 0
    assert (await gns3_minivm("boot", "busybox-minivm", *kept, "--run", read)).out.strip() == "here"
    thrown_away = await gns3_minivm("boot", "busybox-minivm", "--run", read)
    assert thrown_away.status == 1 and "No such file" in thrown_away.out


async def test_a_dry_run_shows_the_command_line_and_starts_nothing(tmp_path: Path) -> None:
    require_tool("qemu-system-x86_64")
    empty = await gns3_minivm("boot", "busybox-minivm", "--dry-run", cache=tmp_path)
    assert empty.status == 0 and "would first build a kernel bundle" in empty.out
    assert list(tmp_path.iterdir()) == []
    finished = await gns3_minivm("boot", "busybox-minivm", "--dry-run")
    assert finished.status == 0, finished.err
    assert "qemu-system-x86_64" in finished.out and "-kernel" in finished.out


@pytest.mark.either_generation
async def test_a_template_is_booted_with_the_bytes_that_the_server_has(gns3_server: GNS3Process) -> None:
    name = f"booted-{free_port()}"
    at = ("--server", gns3_server.url)
    assert (await gns3_minivm("register", "busybox-minivm", "--as", name, *at)).status == 0
    finished = await gns3_minivm("boot", "--template", name, *at, "--run", "hostname")
    assert finished.status == 0, finished.err
    assert finished.out.strip() == name


async def test_a_template_that_is_not_there_is_one_message(gns3_server: GNS3Process) -> None:
    finished = await gns3_minivm("boot", "--template", "nothing", "--server", gns3_server.url, "--run", "true")
    assert finished.status == 1
    assert "has no QEMU template named 'nothing'" in finished.err and "hint: " in finished.err


async def test_the_console_is_on_the_terminal_and_the_escape_key_powers_the_guest_off() -> None:
    require_tool("qemu-system-x86_64")
    (await gns3_minivm("boot", "busybox-minivm", "--dry-run", "--json")).result()
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gns3_minivm", "boot", "busybox-minivm"),
        env={**os.environ, "GNS3_MINIVM_CACHE": str(minivm_cache())},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    loop = asyncio.get_running_loop()
    seen = b""
    news = asyncio.Event()

    def read() -> None:
        nonlocal seen
        try:
            data = os.read(master, 65536)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(master)
        seen += data
        news.set()

    async def wait_for(text: bytes) -> None:
        async with asyncio.timeout(300):
            while text not in seen:
                news.clear()
                await news.wait()

    loop.add_reader(master, read)
    try:
        await wait_for(b"# ")
        os.write(master, b'echo "<"typed">"\r')
        await wait_for(b"<typed>")
        os.write(master, b"\x1d")
        async with asyncio.timeout(300):
            assert await process.wait() == 0, seen[-2000:]
    finally:
        loop.remove_reader(master)
        os.close(master)
        if process.returncode is None:
            process.kill()
            await process.wait()
