"""Finding out what answers, and logging in, with real servers of both generations."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConnectError, LoginError, NotGNS3Error
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import ConnectionLimits
from tests.support.gns3 import GNS3Process, free_port, running_gns3

IMPATIENT = ConnectionLimits(backoff_s=0.01)


async def test_a_server_tells_its_generation_and_version(client: Server, gns3_server: GNS3Process) -> None:
    assert client.generation == gns3_server.generation
    assert client.version.startswith(f"{gns3_server.generation}.")
    assert client.url == gns3_server.bare_url


async def test_v2_with_a_password_takes_the_right_one(gns3_v2_auth: GNS3Process) -> None:
    async with await connect(parse_address(gns3_v2_auth.url)) as server:
        assert any(template.builtin for template in await server.templates())


@pytest.mark.parametrize("fixture", ["gns3_v2_auth", "gns3_v3"])
async def test_a_wrong_password_is_told_without_showing_it(fixture: str, request: pytest.FixtureRequest) -> None:
    process: GNS3Process = request.getfixturevalue(fixture)
    address = parse_address(process.bare_url, username="somebody", password="not-this-one")
    with pytest.raises(LoginError, match="refuses this user name and password") as caught:
        await connect(address)
    assert caught.value.hint
    assert "not-this-one" not in f"{caught.value} {caught.value.hint} {address} {address!r}"


@pytest.mark.parametrize("fixture", ["gns3_v2_auth", "gns3_v3"])
async def test_missing_credentials_are_told_with_a_hint(fixture: str, request: pytest.FixtureRequest) -> None:
    process: GNS3Process = request.getfixturevalue(fixture)
    with pytest.raises(LoginError) as caught:
        await connect(parse_address(process.bare_url))
    assert "http://user:password@host:3080" in caught.value.hint


async def test_the_default_password_of_v3_is_pointed_out(gns3_v3: GNS3Process, gns3_v2: GNS3Process) -> None:
    async with await connect(parse_address(gns3_v3.url)) as server:
        assert "default password" in server.warnings[0]
    async with await connect(parse_address(gns3_v2.url)) as server:
        assert server.warnings == ()


async def test_a_netrc_entry_for_the_host_does_no_harm(
    gns3_v2_auth: GNS3Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with await connect(parse_address(gns3_v2_auth.url)) as server:
        assert await server.templates()


async def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    gns3_v3: GNS3Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with await connect(parse_address(gns3_v3.url), IMPATIENT) as server:
        assert await server.templates()


async def test_an_expired_token_is_renewed_once(gns3_v3: GNS3Process) -> None:
    async with await connect(parse_address(gns3_v3.url)) as server:
        server._transport.authorize("Bearer not.a.token")
        templates = await asyncio.gather(*(server.templates() for _ in range(3)))
        assert all(templates)


async def test_nothing_there_is_told_with_a_hint() -> None:
    with pytest.raises(ConnectError, match="Connection refused") as caught:
        await connect(parse_address(f"http://127.0.0.1:{free_port()}"), IMPATIENT)
    assert "3080" in caught.value.hint


async def test_something_that_does_not_speak_http_is_no_gns3_server() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        await reader.read(100)
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(NotGNS3Error):
            await connect(parse_address(f"http://127.0.0.1:{port}"), IMPATIENT)


@pytest.mark.parametrize("generation", [2, 3])
async def test_a_self_signed_certificate_needs_to_be_named(
    generation: int, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with running_gns3(2 if generation == 2 else 3, tmp_path / "server", certificate=certificate) as process:
        url = process.url
        with pytest.raises(ConnectError, match="certificate") as caught:
            await connect(parse_address(url))
        assert "--ca-file" in caught.value.hint
        for address in (parse_address(url, ca_file=certificate[0]), parse_address(url, verify=False)):
            async with await connect(address) as server:
                assert server.generation == generation
                assert await server.templates()
        with pytest.raises(ConnectError):
            await connect(parse_address(url.replace("https", "http")), IMPATIENT)


async def test_tls_to_a_server_without_tls_is_told(gns3_v2: GNS3Process) -> None:
    with pytest.raises(ConnectError, match="no TLS connection") as caught:
        await connect(parse_address(gns3_v2.bare_url.replace("http", "https")), IMPATIENT)
    assert "http://" in caught.value.hint
