#!/usr/bin/env -S python3 -I
"""A stand-in for GNS3's ubridge: speaks its hypervisor protocol and forwards Ethernet frames between UDP tunnels.

GNS3 runs this file as its ``ubridge_path`` (one process for every QEMU node) and sends commands over TCP.  Written
from the protocol's description in ubridge's README and from what gns3-server 2.2.61 and 3.0.6 send
(``gns3server/ubridge``, ``compute/base_node.py``).  Frames really move, filters really act and captures are real pcap
files; whatever else ubridge can do (TAP, Ethernet, BPF, Docker, IOL) is answered with an error, never with OK.

    ubridge.py -H HOST:PORT [-d LEVEL]
    ubridge.py -v

Standard library only and one file, because the servers run it with whatever ``python3`` there is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shlex
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Both server generations ask for 0.9.14 or newer.
VERSION = "0.9.19"
EXECUTABLE = Path(__file__).resolve()

MAX_FRAME_SIZE = 65535
# Frames read from one socket before another one gets its turn.
BURST = 64
SOCKET_BUFFER_SIZE = 1 << 20

# Reply codes: 1xx success, 2xx error.
OK, INFO = 100, 101
ERR_PARSING, ERR_UNKNOWN_MODULE, ERR_UNKNOWN_COMMAND, ERR_BAD_PARAMETER_COUNT, ERR_INVALID_PARAMETER = range(200, 205)
ERR_CREATE, ERR_START, ERR_STOP, ERR_RENAME, ERR_NOT_FOUND = 206, 209, 210, 213, 214


class CommandError(Exception):
    """A refused command: the reply's code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class PacketFilter:
    """One configured filter: ``drops`` decides on a frame, ``delay_s`` says how long to hold it."""

    def __init__(self, kind: str, arguments: list[str]) -> None:
        counts = {"frequency_drop": (1, 1), "packet_loss": (1, 1), "delay": (1, 2)}
        if kind not in counts:
            raise CommandError(ERR_CREATE, f"filter type '{kind}' is not supported by this stand-in")
        try:
            numbers = [int(argument) for argument in arguments]
        except ValueError:
            raise CommandError(ERR_INVALID_PARAMETER, f"filter {kind}: {arguments} are not all numbers") from None
        low, high = counts[kind]
        if not low <= len(numbers) <= high:
            raise CommandError(ERR_BAD_PARAMETER_COUNT, f"filter {kind} takes {low} to {high} numbers")
        first, jitter = numbers[0], numbers[1] if len(numbers) > 1 else 0
        allowed = {"frequency_drop": first >= -1, "packet_loss": 0 <= first <= 100, "delay": first > 0 <= jitter}
        if not allowed[kind]:
            raise CommandError(ERR_INVALID_PARAMETER, f"filter {kind}: {numbers} is out of range")
        self._kind, self._value, self._jitter = kind, first, jitter
        self._seen = 0

    def drops(self) -> bool:
        if self._kind == "packet_loss":
            return random.randrange(100) < self._value
        if self._kind == "frequency_drop" and self._value:
            self._seen += 1
            return self._value == -1 or self._seen % self._value == 0
        return False

    def delay_s(self) -> float:
        if self._kind != "delay":
            return 0.0
        return max(0.0, self._value + random.uniform(-self._jitter, self._jitter)) / 1000


class Capture:
    """A pcap file (version 2.4, microseconds, Ethernet), readable at any moment."""

    def __init__(self, path: str, link_type: str) -> None:
        if link_type != "EN10MB":
            raise CommandError(ERR_START, f"link type '{link_type}' is not supported by this stand-in")
        try:
            self._file: BinaryIO = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise CommandError(ERR_START, f"packet capture could not be started: {error}") from error
        self._file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, MAX_FRAME_SIZE, 1))

    def add(self, frame: bytes) -> None:
        now_us = time.time_ns() // 1000
        header = struct.pack("<IIII", now_us // 1_000_000, now_us % 1_000_000, len(frame), len(frame))
        self._file.write(header + frame)

    def close(self) -> None:
        self._file.close()


class UDPTunnel:
    """One end of a bridge: a UDP socket bound to a local port and connected to the remote one."""

    def __init__(self, local_port: str, remote_host: str, remote_port: str) -> None:
        self.key = (local_port, remote_host, remote_port)
        self.frames_in = self.bytes_in = self.frames_out = self.bytes_out = 0
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                remote_host, int(remote_port), type=socket.SOCK_DGRAM
            )[0]
            self.socket = socket.socket(family, kind, protocol)
        except (OSError, ValueError) as error:
            raise CommandError(ERR_CREATE, f"unable to create NIO UDP: {error}") from error
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_SIZE)
            self.socket.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", int(local_port)))
            self.socket.connect(address)
        except (OSError, ValueError, OverflowError) as error:
            self.socket.close()
            raise CommandError(ERR_CREATE, f"unable to create NIO UDP {':'.join(self.key)}: {error}") from error

    def receive(self) -> bytes | None:
        """The next frame, or None if there is none now."""
        try:
            frame = self.socket.recv(MAX_FRAME_SIZE)
        except OSError:
            # Nothing there; or the far end was closed when we last sent (ECONNREFUSED), as while a node starts.
            return None
        self.frames_in += 1
        self.bytes_in += len(frame)
        return frame

    def send(self, frame: bytes) -> None:
        try:
            self.socket.send(frame)
        except OSError:
            # The far end is not there yet, or its buffer is full: a network drops the frame.
            return
        self.frames_out += 1
        self.bytes_out += len(frame)


class DelayLine:
    """Holds frames for one direction and hands them on in order; a delay never stops other frames."""

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._held: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, frame: bytes, delay_s: float) -> None:
        if not delay_s and not self._held:
            self._deliver(frame)
            return
        loop = asyncio.get_running_loop()
        due = max(loop.time() + delay_s, self._held[-1][0] if self._held else 0.0)
        self._held.append((due, frame))
        if self._timer is None:
            self._timer = loop.call_at(due, self._release)

    def _release(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._held and self._held[0][0] <= loop.time():
            self._deliver(self._held.popleft()[1])
        if self._held:
            self._timer = loop.call_at(self._held[0][0], self._release)

    def clear(self) -> None:
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Bridge:
    """Two tunnels and what happens to the frames between them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tunnels: list[UDPTunnel] = []
        self.filters: dict[str, PacketFilter] = {}
        self.capture: Capture | None = None
        self.running = False
        self._lines: list[DelayLine] = []

    def start(self) -> None:
        if self.running:
            raise CommandError(ERR_START, f"bridge '{self.name}' is already running")
        if len(self.tunnels) != 2:
            raise CommandError(ERR_START, f"bridge '{self.name}' must have 2 NIOs to be started")
        loop = asyncio.get_running_loop()
        for source, target in (self.tunnels, self.tunnels[::-1]):
            line = DelayLine(target.send)
            self._lines.append(line)
            loop.add_reader(source.socket, self._forward, source, line)
        self.running = True

    def stop(self) -> None:
        if not self.running:
            raise CommandError(ERR_STOP, f"bridge '{self.name}' is not running")
        loop = asyncio.get_running_loop()
        for tunnel in self.tunnels:
            loop.remove_reader(tunnel.socket)
        for line in self._lines:
            line.clear()
        self._lines = []
        self.running = False

    def close(self) -> None:
        if self.running:
            self.stop()
        for tunnel in self.tunnels:
            tunnel.socket.close()
        self.tunnels = []
        if self.capture:
            self.capture.close()
            self.capture = None

    def _forward(self, source: UDPTunnel, line: DelayLine) -> None:
        for _ in range(BURST):
            frame = source.receive()
            if frame is None:
                return
            delay_s = 0.0
            dropped = False
            for packet_filter in self.filters.values():
                if packet_filter.drops():
                    dropped = True
                    break
                delay_s += packet_filter.delay_s()
            if dropped:
                continue
            if self.capture:
                self.capture.add(frame)
            line.add(frame, delay_s)


Command = Callable[..., list[str]]


class Hypervisor:
    """The commands; each returns its reply's lines, the last of which goes with the final code."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._bridges: dict[str, Bridge] = {}
        # command: (fewest arguments, most arguments, function)
        self._modules: dict[str, dict[str, tuple[int, int, Command]]] = {
            "hypervisor": {
                "version": (0, 0, lambda: [VERSION]),
                "module_list": (0, 0, lambda: [*self._modules, "OK"]),
                "cmd_list": (1, 1, self._command_list),
                "reset": (0, 0, self._reset),
                "close": (0, 0, lambda: ["OK"]),
                "stop": (0, 0, self._stop),
            },
            "bridge": {
                "create": (1, 1, self._create),
                "delete": (1, 1, self._delete),
                "start": (1, 1, self._start_bridge),
                "stop": (1, 1, self._stop_bridge),
                "rename": (2, 2, self._rename),
                "add_nio_udp": (4, 4, self._add_nio_udp),
                "delete_nio_udp": (4, 4, self._delete_nio_udp),
                "remove_nio_udp": (4, 4, self._delete_nio_udp),
                "reset_packet_filters": (1, 1, self._reset_packet_filters),
                "add_packet_filter": (3, 10, self._add_packet_filter),
                "delete_packet_filter": (2, 2, self._delete_packet_filter),
                "start_capture": (2, 3, self._start_capture),
                "stop_capture": (1, 1, self._stop_capture),
                "list": (0, 0, self._list),
                "show": (1, 1, self._show),
                "get_stats": (1, 1, self._stats),
            },
        }

    def execute(self, line: str) -> bytes:
        """Run one command line and return the reply as it goes over the wire."""
        try:
            *messages, last = self._run(line)
            code = OK
        except CommandError as error:
            messages, last, code = [], str(error).replace("\n", " "), error.code
        return "".join([*(f"{INFO} {message}\r\n" for message in messages), f"{code}-{last}\r\n"]).encode()

    def _run(self, line: str) -> list[str]:
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise CommandError(ERR_PARSING, f"Parse error: {error}") from error
        if len(words) < 2:
            raise CommandError(ERR_PARSING, "At least a module and a command must be specified")
        module, name, *arguments = words
        if module not in self._modules:
            raise CommandError(ERR_UNKNOWN_MODULE, f"Unknown module '{module}'")
        if name not in self._modules[module]:
            raise CommandError(ERR_UNKNOWN_COMMAND, f"Unknown command '{name}'")
        low, high, function = self._modules[module][name]
        if not low <= len(arguments) <= high:
            raise CommandError(
                ERR_BAD_PARAMETER_COUNT, f"Bad number of parameters ({len(arguments)} with min/max={low}/{high})"
            )
        return function(*arguments)

    def _bridge(self, name: str) -> Bridge:
        try:
            return self._bridges[name]
        except KeyError:
            raise CommandError(ERR_NOT_FOUND, f"bridge '{name}' doesn't exist") from None

    def _command_list(self, module: str) -> list[str]:
        if module not in self._modules:
            raise CommandError(ERR_UNKNOWN_MODULE, f"unknown module '{module}'")
        commands = self._modules[module].items()
        return [*(f"{name} (min/max args: {low}/{high})" for name, (low, high, _) in commands), "OK"]

    def _reset(self) -> list[str]:
        for bridge in self._bridges.values():
            bridge.close()
        self._bridges.clear()
        return ["OK"]

    def _stop(self) -> list[str]:
        self._reset()
        self.stopping.set()
        return ["OK"]

    def _create(self, name: str) -> list[str]:
        if name in self._bridges:
            raise CommandError(ERR_CREATE, f"bridge '{name}' already exist")
        self._bridges[name] = Bridge(name)
        return [f"bridge '{name}' created"]

    def _delete(self, name: str) -> list[str]:
        self._bridge(name).close()
        del self._bridges[name]
        return [f"bridge '{name}' deleted"]

    def _start_bridge(self, name: str) -> list[str]:
        self._bridge(name).start()
        return [f"bridge '{name}' started"]

    def _stop_bridge(self, name: str) -> list[str]:
        self._bridge(name).stop()
        return [f"bridge '{name}' stopped"]

    def _rename(self, name: str, new_name: str) -> list[str]:
        bridge = self._bridge(name)
        if new_name in self._bridges:
            raise CommandError(ERR_RENAME, f"bridge '{new_name}' already exist")
        del self._bridges[name]
        bridge.name = new_name
        self._bridges[new_name] = bridge
        return [f"bridge '{name}' renamed to '{new_name}'"]

    def _add_nio_udp(self, name: str, local_port: str, remote_host: str, remote_port: str) -> list[str]:
        bridge = self._bridge(name)
        if len(bridge.tunnels) == 2:
            raise CommandError(ERR_CREATE, f"bridge '{name}' has already 2 allocated NIOs")
        bridge.tunnels.append(UDPTunnel(local_port, remote_host, remote_port))
        return [f"NIO UDP added to bridge '{name}'"]

    def _delete_nio_udp(self, name: str, *key: str) -> list[str]:
        bridge = self._bridge(name)
        if bridge.running:
            raise CommandError(ERR_NOT_FOUND, f"bridge '{name}' is running")
        for tunnel in bridge.tunnels:
            if tunnel.key == key:
                tunnel.socket.close()
                bridge.tunnels.remove(tunnel)
                return [f"NIO UDP removed from bridge '{name}'"]
        raise CommandError(ERR_NOT_FOUND, f"UDP nio missing in '{name}'")

    def _reset_packet_filters(self, name: str) -> list[str]:
        self._bridge(name).filters.clear()
        return ["OK"]

    def _add_packet_filter(self, name: str, label: str, kind: str, *arguments: str) -> list[str]:
        filters = self._bridge(name).filters
        if label in filters:
            raise CommandError(ERR_CREATE, f"packet filter '{label}' already exist")
        filters[label] = PacketFilter(kind, list(arguments))
        return [f"Filter '{label}' added to bridge '{name}'"]

    def _delete_packet_filter(self, name: str, label: str) -> list[str]:
        if self._bridge(name).filters.pop(label, None) is None:
            raise CommandError(ERR_NOT_FOUND, f"packet filter '{label}' doesn't exist")
        return [f"Filter '{label}' deleted from bridge '{name}'"]

    def _start_capture(self, name: str, path: str, link_type: str = "EN10MB") -> list[str]:
        bridge = self._bridge(name)
        if bridge.capture:
            raise CommandError(ERR_START, f"packet capture is already active on bridge '{name}'")
        bridge.capture = Capture(path, link_type)
        return [f"packet capture started on bridge '{name}'"]

    def _stop_capture(self, name: str) -> list[str]:
        bridge = self._bridge(name)
        if not bridge.capture:
            raise CommandError(ERR_STOP, f"no packet capture active on bridge '{name}'")
        bridge.capture.close()
        bridge.capture = None
        return [f"packet capture stopped on bridge '{name}'"]

    def _list(self) -> list[str]:
        return [*(f"{name} (NIOs = {len(bridge.tunnels)})" for name, bridge in self._bridges.items()), "OK"]

    def _show(self, name: str) -> list[str]:
        bridge = self._bridge(name)
        lines = [f"bridge '{name}' is {'' if bridge.running else 'not '}running"]
        lines += [f"Filter '{label}' configured in position {n}" for n, label in enumerate(bridge.filters, 1)]
        for side, tunnel in zip(("Source", "Destination"), bridge.tunnels, strict=False):
            lines.append(f"{side} NIO: {':'.join(tunnel.key)}")
        return [*lines, "OK"]

    def _stats(self, name: str) -> list[str]:
        lines = []
        for side, tunnel in zip(("Source NIO:     ", "Destination NIO:"), self._bridge(name).tunnels, strict=False):
            lines.append(
                f"{side} IN: {tunnel.frames_in} packets ({tunnel.bytes_in} bytes)"
                f" OUT: {tunnel.frames_out} packets ({tunnel.bytes_out} bytes)"
            )
        return [*lines, "OK"]


async def _serve_client(hypervisor: Hypervisor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while not hypervisor.stopping.is_set():
            try:
                line = await reader.readline()
            except ValueError:
                writer.write(f"{ERR_PARSING}-line too long\r\n".encode())
                break
            if not line:
                break
            command = line.decode("utf-8", "replace").strip()
            if not command:
                continue
            print(command, flush=True)
            writer.write(hypervisor.execute(command))
            await writer.drain()
            if command.split() == ["hypervisor", "close"]:
                break
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _outlive_nobody(hypervisor: Hypervisor) -> None:
    """Stop when the parent is gone: a killed GNS3 server sends no ``hypervisor stop``."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    hypervisor.stopping.set()


async def serve(host: str, port: int) -> None:
    hypervisor = Hypervisor()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hypervisor.stopping.set)
    tasks = {asyncio.create_task(_outlive_nobody(hypervisor))}

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serve_client(hypervisor, reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, host or None, port)
    print(f"Hypervisor TCP control server started (IP {host} port {port}).", flush=True)
    try:
        await hypervisor.stopping.wait()
        # Let the reply to "hypervisor stop" leave before the loop ends.
        await asyncio.sleep(0.05)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        hypervisor.execute("hypervisor reset")


def main() -> int:
    parser = argparse.ArgumentParser(prog="ubridge", description="Stand-in for ubridge, for tests.")
    parser.add_argument("-v", action="version", version=f"ubridge version {VERSION} (stand-in for tests)")
    parser.add_argument("-d", metavar="LEVEL", help="accepted for the servers' sake; every command is logged anyway")
    parser.add_argument("-H", metavar="HOST:PORT", required=True, dest="address")
    host, _, port = parser.parse_args().address.rpartition(":")
    try:
        asyncio.run(serve(host.strip("[]"), int(port)))
    except (OSError, ValueError) as error:
        print(f"Hypervisor: unable to create TCP sockets: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
