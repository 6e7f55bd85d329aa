"""The ubridge stand-in, over its own protocol and with real UDP sockets: what the link tests rely on."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.ubridge import EXECUTABLE


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Client:
    """Speaks the hypervisor protocol as the GNS3 servers do."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        process_id: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.process_id = process_id

    async def send(self, command: str) -> list[str]:
        """The reply's lines, the last one being ``100-...`` or ``2xx-...``."""
        self._writer.write(command.encode() + b"\n")
        lines: list[str] = []
        while not lines or not re.match(r"\d{3}-", lines[-1]):
            line = await asyncio.wait_for(self._reader.readline(), 60)
            assert line.endswith(b"\r\n"), f"no complete reply to {command!r}: {lines} {line!r}"
            lines.append(line.decode().rstrip("\r\n"))
        return lines

    async def ok(self, command: str) -> list[str]:
        lines = await self.send(command)
        assert lines[-1].startswith("100-"), f"{command!r} was refused: {lines[-1]}"
        return lines

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def ubridge() -> AsyncIterator[Client]:
    port = free_port(socket.SOCK_STREAM)
    process = await asyncio.create_subprocess_exec(
        EXECUTABLE, "-H", f"127.0.0.1:{port}", stdout=subprocess.DEVNULL, stderr=None
    )
    try:
        reader, writer = await connect(port)
        client = Client(reader, writer, process.pid)
        yield client
        client.close()
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 60)


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    deadline = time.monotonic() + 60
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


class Ends:
    """The two endpoints of a bridge named ``br``: what QEMU and the other compute are in a lab."""

    def __init__(self) -> None:
        self.left, self.right = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for end in (self.left, self.right):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            end.bind(("127.0.0.1", 0))
            end.setblocking(False)
        self.ports = {end: free_port(socket.SOCK_DGRAM) for end in (self.left, self.right)}

    def nio(self, end: socket.socket) -> str:
        return f"{self.ports[end]} 127.0.0.1 {end.getsockname()[1]}"

    async def bridge(self, client: Client) -> None:
        await client.ok("bridge create br")
        for end in (self.left, self.right):
            await client.ok(f"bridge add_nio_udp br {self.nio(end)}")
        await client.ok("bridge start br")

    def send(self, end: socket.socket, frame: bytes) -> None:
        end.sendto(frame, ("127.0.0.1", self.ports[end]))

    async def receive(self, end: socket.socket, timeout_s: float = 60) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(end, 65535), timeout_s)

    async def count(self, end: socket.socket) -> int:
        """How many frames arrive until it has been quiet for 0.3 s."""
        number = 0
        while True:
            try:
                await self.receive(end, 0.3)
            except TimeoutError:
                return number
            number += 1


@pytest.fixture
def ends() -> Iterator[Ends]:
    pair = Ends()
    yield pair
    pair.left.close()
    pair.right.close()


def test_the_version_is_one_that_both_servers_accept() -> None:
    output = subprocess.run([EXECUTABLE, "-v"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"ubridge version ([0-9a-z\.]+)", output)
    assert match and tuple(int(part) for part in match[1].split(".")) >= (0, 9, 14)


async def test_frames_go_both_ways_unchanged(ubridge: Client, ends: Ends) -> None:
    await ends.bridge(ubridge)
    frames = [bytes([n]) * size for n, size in enumerate((1, 60, 1514, 9014))]
    for source, target in ((ends.left, ends.right), (ends.right, ends.left)):
        for frame in frames:
            ends.send(source, frame)
            assert await ends.receive(target) == frame


async def test_two_thousand_frames_in_a_burst_arrive_in_order(ubridge: Client, ends: Ends) -> None:
    await ends.bridge(ubridge)
    arrived = []
    for number in range(2000):
        ends.send(ends.left, number.to_bytes(4, "big") + bytes(96))
        if number % 100 == 99:
            arrived += [(await ends.receive(ends.right))[:4] for _ in range(100)]
    assert arrived == [number.to_bytes(4, "big") for number in range(2000)]


async def test_a_stopped_or_deleted_bridge_forwards_nothing(ubridge: Client, ends: Ends) -> None:
    await ends.bridge(ubridge)
    await ubridge.ok("bridge stop br")
    ends.send(ends.left, b"while stopped")
    assert await ends.count(ends.right) == 0
    await ubridge.ok("bridge delete br")
    ends.send(ends.left, b"while gone")
    assert await ends.count(ends.right) == 0
    # The ports are free again.
    await ends.bridge(ubridge)
    ends.send(ends.left, b"again")
    assert await ends.receive(ends.right) == b"again"


async def test_a_frame_to_an_end_that_is_not_there_does_not_stop_the_bridge(ubridge: Client, ends: Ends) -> None:
    address = ends.right.getsockname()
    ends.right.close()
    ends.ports[ends.right] = free_port(socket.SOCK_DGRAM)
    await ubridge.ok("bridge create br")
    await ubridge.ok(f"bridge add_nio_udp br {ends.nio(ends.left)}")
    await ubridge.ok(f"bridge add_nio_udp br {ends.ports[ends.right]} 127.0.0.1 {address[1]}")
    await ubridge.ok("bridge start br")
    for _ in range(3):
        ends.send(ends.left, b"too early")
        await asyncio.sleep(0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(address)
        late.setblocking(False)
        ends.send(ends.left, b"now")
        assert await ends.receive(late) == b"now"


async def test_frequency_drop_loses_every_nth_frame_and_minus_one_all(ubridge: Client, ends: Ends) -> None:
    await ends.bridge(ubridge)
    await ubridge.ok("bridge add_packet_filter br filter0 frequency_drop 3")
    for _ in range(9):
        ends.send(ends.left, b"frame")
    assert await ends.count(ends.right) == 6
    await ubridge.ok("bridge reset_packet_filters br")
    await ubridge.ok("bridge add_packet_filter br filter0 frequency_drop -1")
    ends.send(ends.left, b"frame")
    assert await ends.count(ends.right) == 0
    await ubridge.ok("bridge reset_packet_filters br")
    ends.send(ends.left, b"frame")
    assert await ends.receive(ends.right) == b"frame"


async def test_packet_loss_loses_about_its_share(ubridge: Client, ends: Ends) -> None:
    await ends.bridge(ubridge)
    await ubridge.ok("bridge add_packet_filter br filter0 packet_loss 50")
    for _ in range(400):
        ends.send(ends.left, b"frame")
    # 400 tries at one half: outside 120..280 once in 10^15 runs.
    assert 120 < await ends.count(ends.right) < 280
    await ubridge.ok("bridge reset_packet_filters br")
    await ubridge.ok("bridge add_packet_filter br filter0 packet_loss 100")
    ends.send(ends.left, b"frame")
    assert await ends.count(ends.right) == 0


async def test_delay_holds_frames_back_without_slowing_the_link(ubridge: Client, ends: Ends) -> None:
    await ends.bridge(ubridge)
    await ubridge.ok("bridge add_packet_filter br filter0 delay 200 20")
    sent_at = time.monotonic()
    for number in range(20):
        ends.send(ends.left, bytes([number]))
    first = await ends.receive(ends.right)
    assert time.monotonic() - sent_at >= 0.17
    rest = [await ends.receive(ends.right) for _ in range(19)]
    # One after the other they would have taken four seconds.
    assert time.monotonic() - sent_at < 3.5
    assert [first, *rest] == [bytes([number]) for number in range(20)]


async def test_a_capture_is_a_pcap_file_that_other_programs_read(ubridge: Client, ends: Ends, tmp_path: Path) -> None:
    path = tmp_path / "a capture.pcap"
    await ends.bridge(ubridge)
    await ubridge.ok(f'bridge start_capture br "{path}"')
    # Two Ethernet frames of an unassigned type.
    frames = [bytes(6) + bytes(5) + bytes([n]) + b"\x88\xb5" + bytes(46) for n in (1, 2)]
    before = time.time()
    ends.send(ends.left, frames[0])
    assert await ends.receive(ends.right) == frames[0]
    ends.send(ends.right, frames[1])
    assert await ends.receive(ends.left) == frames[1]
    await ubridge.ok("bridge stop_capture br")
    data = path.read_bytes()
    assert struct.unpack("<IHHiIII", data[:24]) == (0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    records, offset = [], 24
    while offset < len(data):
        seconds, _, captured, length = struct.unpack_from("<IIII", data, offset)
        assert captured == length and before - 1 <= seconds <= time.time()
        records.append(data[offset + 16 : offset + 16 + captured])
        offset += 16 + captured
    assert records == frames
    if tcpdump := shutil.which("tcpdump"):
        reader = await asyncio.create_subprocess_exec(tcpdump, "-nr", path, stdout=subprocess.PIPE)
        shown, _ = await reader.communicate()
        assert reader.returncode == 0 and shown.count(b"ethertype Unknown (0x88b5)") == 2


REFUSED = [
    ("nonsense", "200-"),
    ("docker create_veth a b", "201-"),
    ("bridge add_nio_tap br tap0", "202-"),
    ("bridge create", "203-"),
    ("bridge create br", "206-bridge 'br' already exist"),
    ("bridge start nowhere", "214-bridge 'nowhere' doesn't exist"),
    ("bridge start br", "209-bridge 'br' must have 2 NIOs to be started"),
    ("bridge add_nio_udp br 0 nowhere.invalid 9", "206-"),
    ("bridge add_nio_udp br 70000 127.0.0.1 9", "206-"),
    ('bridge add_packet_filter br filter0 bpf "icmp"', "206-"),
    ("bridge add_packet_filter br filter0 corrupt 10", "206-"),
    ("bridge add_packet_filter br filter0 packet_loss 101", "204-"),
    ("bridge add_packet_filter br filter0 delay fast", "204-"),
    ('bridge start_capture br "/nowhere/at/all.pcap"', "209-"),
    ('bridge start_capture br "/dev/null" FRELAY', "209-"),
    ("bridge stop_capture br", "210-"),
]


@pytest.mark.parametrize(("command", "reply"), REFUSED)
async def test_what_it_cannot_do_is_refused(ubridge: Client, command: str, reply: str) -> None:
    await ubridge.ok("bridge create br")
    lines = await ubridge.send(command)
    assert lines[-1].startswith(reply) and not lines[-1].startswith("100-")
    # And the connection goes on.
    assert await ubridge.send("bridge list") == ["101 br (NIOs = 0)", "100-OK"]


async def test_it_tells_what_it_has(ubridge: Client, ends: Ends) -> None:
    assert await ubridge.send("hypervisor version") == ["100-0.9.19"]
    assert await ubridge.send("hypervisor module_list") == [
        "101 hypervisor",
        "101 bridge",
        "100-OK",
    ]
    await ends.bridge(ubridge)
    ends.send(ends.left, b"12345")
    await ends.receive(ends.right)
    shown = await ubridge.ok("bridge show br")
    assert shown[0] == "101 bridge 'br' is running"
    assert shown[1] == f"101 Source NIO: {ends.nio(ends.left).replace(' ', ':')}"
    stats = await ubridge.ok("bridge get_stats br")
    assert stats[0] == "101 Source NIO:      IN: 1 packets (5 bytes) OUT: 0 packets (0 bytes)"
    await ubridge.ok("hypervisor reset")
    assert await ubridge.send("bridge list") == ["100-OK"]


async def test_hypervisor_stop_ends_the_process(ubridge: Client) -> None:
    assert await ubridge.send("hypervisor stop") == ["100-OK"]
    await wait_until_gone(ubridge.process_id)


async def test_it_ends_when_its_parent_is_killed() -> None:
    port = free_port(socket.SOCK_STREAM)
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        EXECUTABLE,
        "-H",
        f"127.0.0.1:{port}",
        stdout=subprocess.PIPE,
    )
    assert parent.stdout
    child = int(await parent.stdout.readline())
    _, writer = await connect(port)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await wait_until_gone(child)
    writer.close()


async def wait_until_gone(process_id: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        # An orphan's new parent may take its time to collect it.
        if state == "Z":
            return
        assert time.monotonic() < deadline, f"process {process_id} is still there"
        await asyncio.sleep(0.05)
