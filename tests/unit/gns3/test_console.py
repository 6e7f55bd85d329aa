"""The telnet console of a node, against a listening socket."""

from __future__ import annotations

import asyncio

import pytest

from gns3_minivm.base.errors import ConnectError
from gns3_minivm.gns3.console import open_console, without_telnet
from tests.support.gns3 import free_port

INTRO = bytes([255, 251, 1, 255, 251, 3, 255, 251, 0, 255, 253, 0])
"""What both generations send first: WILL ECHO, WILL SGA, WILL BINARY, DO BINARY."""


@pytest.mark.parametrize("cut", range(len(INTRO) + 8))
def test_negotiation_is_taken_out_wherever_it_is_cut(cut: int) -> None:
    data = b"a" + INTRO + b"b\xff\xffc" + bytes([255, 241]) + b"d"
    text, held = without_telnet(data[:cut])
    rest, left = without_telnet(held + data[cut:])
    assert text + rest == b"ab\xffcd" and not left


def test_bytes_that_a_guest_writes_and_that_are_no_command_stay() -> None:
    assert without_telnet(b"\xff\x1b]7411;") == (b"\xff\x1b]7411;", b"")


async def test_reading_passes_over_negotiation_and_typing_leaves_out_what_qemu_would_misunderstand() -> None:
    typed = asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INTRO)
        await writer.drain()
        typed.put_nowait(await reader.readexactly(3))
        writer.write(b"seen")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with open_console("127.0.0.1", port) as console:
        console.write(b"a\xffbc")
        await console.drain()
        assert await console.read() == b"seen"
        assert await console.read() == b""
    assert typed.get_nowait() == b"abc"
    server.close()
    await server.wait_closed()


async def test_a_console_that_is_not_there_is_told() -> None:
    port = free_port()
    with pytest.raises(ConnectError, match=f"node r1 at 127.0.0.1:{port} cannot be reached") as caught:
        async with open_console("127.0.0.1", port, node="r1"):
            pass
    assert "while it runs" in caught.value.hint
