"""A gns3fy script on real servers of both generations, with the connector that an agent hands out."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
import requests
from gns3fy_next import Project

from gns3_minivm import Agent
from gns3_minivm.api.gns3fy import Connector
from gns3_minivm.base.errors import LoginError, UsageError
from gns3_minivm.gns3.address import Address, parse_address
from tests.support.gns3 import GNS3Process, free_port, running_gns3
from tests.support.minivm import minivm_cache
from tests.support.proxy import HOST, running_proxy
from tests.support.tools import require_tool


async def test_a_script_makes_starts_links_and_removes_nodes_of_a_registered_template(gns3_server: GNS3Process) -> None:
    require_tool("qemu-system-x86_64")
    async with Agent(gns3_server.url, cache=minivm_cache()) as agent:
        await agent.register("busybox-minivm")
        connector = await agent.gns3fy()
    await asyncio.to_thread(use_a_lab, connector)


def use_a_lab(connector: Connector) -> None:
    lab = Project(name="gns3fy lab", connector=connector)
    lab.create()
    try:
        for name in ("pc1", "pc2"):
            lab.create_node(name=name, template="busybox-minivm")
        lab.create_link("pc1", "eth0", "pc2", "eth0")
        lab.start_nodes(poll_wait_time=0)
        assert {node.status for node in lab.nodes} == {"started"}
        inventory = lab.nodes_inventory()
        assert sorted(inventory) == ["pc1", "pc2"]
        assert all(node["console_port"] for node in inventory.values())
        for node in lab.nodes:
            wait_for_a_prompt(node.console)
            node.stop()
        assert {node.status for node in lab.nodes} == {"stopped"}
    finally:
        lab.delete()
    assert "gns3fy lab" not in [project["name"] for project in connector.get_projects()]


def wait_for_a_prompt(port: int) -> None:
    """A guest hears its power button from its first prompt on; before it, GNS3 waits two minutes for nothing."""
    shown = b""
    with socket.create_connection(("127.0.0.1", port), 60) as console:
        while b"# " not in shown:
            console.sendall(b"\r")
            shown += console.recv(4096)


async def test_an_expired_login_is_renewed(gns3_v3: GNS3Process) -> None:
    connector = await Agent(gns3_v3.url).gns3fy()
    connector.session.headers["Authorization"] = "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"
    assert isinstance(await asyncio.to_thread(connector.get_projects), list)


async def test_a_v3_server_is_one_whatever_its_host_is_called(
    gns3_v3: GNS3Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == "gns3-v2.example" else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    address = parse_address(gns3_v3.url.replace("127.0.0.1", "gns3-v2.example"))
    connector = await Agent(address).gns3fy()
    assert "v2" not in connector.base_url
    assert (await asyncio.to_thread(connector.get_version))["version"].startswith("3.")


async def test_certificates_are_checked(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with running_gns3(2, tmp_path / "server", certificate=certificate) as server:
        address = parse_address(server.url)
        connector = Connector(address, 2)
        with pytest.raises(requests.exceptions.SSLError):
            await asyncio.to_thread(connector.get_version)
        trusted = await Agent(Address(url=address.url, ca_file=certificate[0])).gns3fy()
        assert (await asyncio.to_thread(trusted.get_version))["version"].startswith("2.2")


async def test_an_authority_that_the_system_trusts_is_trusted(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_gns3(2, tmp_path / "server", certificate=certificate) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        connector = await Agent(server.url).gns3fy()
        assert (await asyncio.to_thread(connector.get_version))["version"].startswith("2.2")
        # The certificate is for 127.0.0.1.
        other = Connector(parse_address(server.url.replace("127.0.0.1", "localhost")), 2)
        with pytest.raises(requests.exceptions.SSLError, match="doesn't match|mismatch"):
            await asyncio.to_thread(other.get_version)


async def test_neither_a_netrc_entry_nor_a_proxy_is_in_the_way_of_loopback(
    gns3_server: GNS3Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    connector = await Agent(gns3_server.url).gns3fy()
    assert isinstance(await asyncio.to_thread(connector.get_projects), list)


async def test_a_proxy_of_the_environment_is_used_for_other_hosts(
    gns3_v3: GNS3Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = parse_address(f"http://admin:admin@{HOST}:{gns3_v3.port}")
    async with running_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        connector = await Agent(address).gns3fy()
        assert isinstance(await asyncio.to_thread(connector.get_projects), list)
        assert f"GET {address.url}/v3/projects" in proxy.seen


async def test_the_servers_own_words_are_in_the_error(gns3_server: GNS3Process) -> None:
    connector = await Agent(gns3_server.url).gns3fy()
    missing = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(requests.HTTPError, match=f"404: .*{missing}"):
        await asyncio.to_thread(connector.http_call, "get", f"{connector.base_url}/projects/{missing}")


async def test_a_wrong_password_is_told_as_by_every_other_command(gns3_v3: GNS3Process) -> None:
    with pytest.raises(LoginError, match="refuses this user name and password"):
        await Agent(gns3_v3.bare_url.replace("://", "://admin:wrong@")).gns3fy()


async def test_one_server_has_to_be_meant() -> None:
    with pytest.raises(UsageError, match="the agent has 2 servers"):
        await Agent("http://a.example", "http://b.example").gns3fy()
