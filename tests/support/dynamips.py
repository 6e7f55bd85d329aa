#!/usr/bin/env -S python3 -I
"""A stand-in for Dynamips, as far as GNS3's Ethernet switch and hub need it: its hypervisor protocol over TCP.

GNS3 runs this file as its ``dynamips_path``.  Written from what gns3-server 2.2.61 and 3.0.6 send
(``gns3server/compute/dynamips``).  Frames really move: a switch learns addresses, keeps VLANs of access ports apart and
tags frames on dot1q ports.  Routers and all else are answered with an error, never with OK.

    dynamips.py -H HOST:PORT [-N1] [-l FILE] [--console-binding-addr ADDRESS]
    dynamips.py -P none

Standard library only and one file, because the servers run it with whatever ``python3`` there is.
"""

from __future__ import annotations

import asyncio
import shlex
import socket
import sys
from collections.abc import Callable
from pathlib import Path

EXECUTABLE = Path(__file__).resolve()
VERSION = "0.2.23"
_FRAME_MAX = 65535
_TAG = b"\x81\x00"


class CommandError(Exception):
    """A refused command."""


class Tunnel:
    """A NIO: Ethernet frames in UDP datagrams."""

    def __init__(self, local_port: str, host: str, port: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", int(local_port)))
        self.peer = (host, int(port))
        self.vlan = 1
        self.trunk = False

    def send(self, frame: bytes) -> None:
        try:
            self.socket.sendto(frame, self.peer)
        except OSError:
            pass  # nobody is there (any more), as on a wire


class Switch:
    """Ports with VLANs; a hub is a switch that learns nothing."""

    def __init__(self, *, learns: bool) -> None:
        self.ports: dict[str, Tunnel] = {}
        self._learns = learns
        self._places: dict[tuple[int, bytes], Tunnel] = {}

    def plug(self, name: str, tunnel: Tunnel) -> None:
        self.ports[name] = tunnel
        asyncio.get_running_loop().add_reader(tunnel.socket, self._forward, tunnel)

    def unplug(self, name: str) -> None:
        tunnel = self.ports.pop(name)
        asyncio.get_running_loop().remove_reader(tunnel.socket)
        self._places = {key: place for key, place in self._places.items() if place is not tunnel}

    def _forward(self, source: Tunnel) -> None:
        try:
            frame = source.socket.recv(_FRAME_MAX)
        except OSError:
            return
        vlan, frame = self._untagged(source, frame)
        if len(frame) < 14:
            return
        target = None
        if self._learns:
            self._places[vlan, frame[6:12]] = source
            target = None if frame[0] & 1 else self._places.get((vlan, frame[:6]))
        for port in [target] if target else self.ports.values():
            if port is not source and (port.trunk or port.vlan == vlan):
                tagged = port.trunk and port.vlan != vlan
                port.send(frame[:12] + _TAG + vlan.to_bytes(2) + frame[12:] if tagged else frame)

    def _untagged(self, source: Tunnel, frame: bytes) -> tuple[int, bytes]:
        if source.trunk and frame[12:14] == _TAG:
            return int.from_bytes(frame[14:16]) & 0xFFF, frame[:12] + frame[16:]
        return source.vlan, frame


class Hypervisor:
    """The commands; what is not listed is refused."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._tunnels: dict[str, Tunnel] = {}
        self._switches: dict[str, Switch] = {}
        self._commands: dict[str, Callable[..., object]] = {
            "hypervisor version": lambda: None,
            "hypervisor working_dir": lambda _: None,
            "hypervisor reset": lambda: None,
            "hypervisor close": lambda: None,
            "hypervisor stop": self.stopping.set,
            "nio create_udp": self._create_nio,
            "nio delete": self._delete_nio,
            "ethsw create": lambda name: self._create(name, learns=True),
            "nio_bridge create": lambda name: self._create(name, learns=False),
            "ethsw set_access_port": lambda _name, nio, vlan: self._set_port(nio, vlan, trunk=False),
            "ethsw set_dot1q_port": lambda _name, nio, vlan: self._set_port(nio, vlan, trunk=True),
            "ethsw clear_mac_addr_table": lambda _: None,
        }
        for kind in ("ethsw", "nio_bridge"):
            self._commands |= {
                f"{kind} delete": self._delete,
                f"{kind} rename": self._rename,
                f"{kind} add_nio": lambda name, nio: self._switch(name).plug(nio, self._nio(nio)),
                f"{kind} remove_nio": lambda name, nio: self._switch(name).unplug(nio),
            }

    def execute(self, line: str) -> bytes:
        try:
            module, name, *arguments = shlex.split(line)
            command = self._commands.get(f"{module} {name}")
            if command is None:
                raise CommandError(f"this stand-in has no command {module} {name}")
            command(*arguments)
        except (CommandError, ValueError, TypeError, KeyError, OSError) as error:
            return f"206-{error}\r\n".encode()
        return f"100-{VERSION}\r\n".encode() if line.strip() == "hypervisor version" else b"100-OK\r\n"

    def _nio(self, name: str) -> Tunnel:
        if name not in self._tunnels:
            raise CommandError(f"unable to find NIO '{name}'")
        return self._tunnels[name]

    def _switch(self, name: str) -> Switch:
        if name not in self._switches:
            raise CommandError(f"unable to find switch '{name}'")
        return self._switches[name]

    def _create_nio(self, name: str, local_port: str, host: str, port: str) -> None:
        self._tunnels[name] = Tunnel(local_port, host, port)

    def _delete_nio(self, name: str) -> None:
        self._nio(name).socket.close()
        del self._tunnels[name]

    def _create(self, name: str, *, learns: bool) -> None:
        if name in self._switches:
            raise CommandError(f"switch '{name}' exists")
        self._switches[name] = Switch(learns=learns)

    def _delete(self, name: str) -> None:
        switch = self._switch(name)
        for nio in list(switch.ports):
            switch.unplug(nio)
        del self._switches[name]

    def _rename(self, name: str, new_name: str) -> None:
        self._switches[new_name] = self._switches.pop(name)

    def _set_port(self, nio: str, vlan: str, *, trunk: bool) -> None:
        tunnel = self._nio(nio)
        tunnel.vlan, tunnel.trunk = int(vlan), trunk


async def serve(address: str) -> None:
    host, _, port = address.rpartition(":")
    hypervisor = Hypervisor()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(hypervisor.execute(line.decode()))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, host or "127.0.0.1", int(port))
    await hypervisor.stopping.wait()
    await asyncio.sleep(0.05)  # the answer to `stop` leaves first
    server.close()


def main() -> None:
    words = sys.argv[1:]
    if "-H" not in words:
        print(f"Cisco Router Simulation Platform (version {VERSION}-stand-in/Linux)")
        return
    asyncio.run(serve(words[words.index("-H") + 1]))


if __name__ == "__main__":
    main()
