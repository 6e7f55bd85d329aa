"""``sync`` in a network that is not simple: a proxy in between, an old QEMU, few requests."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.agent.desired import template_id
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.transport import Transport
from tests.support.catalogue import TestSite, actions, write_root
from tests.support.gns3 import GNS3Process, running_gns3
from tests.support.minivm import gns3_minivm
from tests.support.proxy import HOST, running_proxy


@pytest.mark.usefixtures("bundle")
async def test_http_proxies_are_honoured(gns3_v2: GNS3Process, gns3_v3: GNS3Process, tmp_path: Path) -> None:
    servers = {
        "two": {"url": f"http://{HOST}:{gns3_v2.port}"},
        "three": {"url": f"http://{HOST}:{gns3_v3.port}", "username": "admin", "password": "admin"},
    }
    site = TestSite(tmp_path, servers, {"two": gns3_v2, "three": gns3_v3})
    web = site.add("web")
    try:
        async with running_proxy() as proxy:
            finished = await site.sync(environment={"http_proxy": proxy.url})
            assert finished.status == 0, finished.err
            for port, route in ((gns3_v2.port, "POST /v2/templates"), (gns3_v3.port, "POST /v3/templates")):
                assert route.replace(" ", f" http://{HOST}:{port}") in proxy.seen
            assert any("/images/" in line and line.startswith("POST") for line in proxy.seen)
            assert await site.template("two", web) is not None and await site.template("three", web) is not None
        dead = await site.sync(environment={"http_proxy": proxy.url})
        assert dead.status == 1 and "the HTTP proxy sent an invalid reply" in dead.err and "no_proxy" in dead.err
    finally:
        await site.clean()


@pytest.mark.usefixtures("bundle")
async def test_a_tunnel_through_the_proxy_keeps_the_check_of_the_certificate(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with running_gns3(2, tmp_path / "server", certificate=certificate) as process:
        servers: dict[str, dict[str, Any]] = {}
        servers["tls"] = {"url": f"https://{HOST}:{process.port}", "ca_file": str(certificate[0])}
        site = TestSite(tmp_path, servers, {})
        site.add("web")
        async with running_proxy() as proxy:
            environment = {"https_proxy": proxy.url}
            refused = await site.sync(environment=environment)
            # The certificate is for 127.0.0.1.
            assert refused.status == 1 and "certificate is not trusted" in refused.err
            servers["tls"] = {"url": f"https://{HOST}:{process.port}", "verify": False}
            finished = await site.sync(environment=environment)
            assert finished.status == 0, finished.err
            assert set(proxy.seen) == {f"CONNECT {HOST}:{process.port}"}


@pytest.mark.usefixtures("bundle")
async def test_the_example_of_the_documents_does_what_it_says(
    gns3_v2: GNS3Process, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "use" / "catalogue.md").read_text(encoding="utf-8")
    example, *_ = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "lab-ca.pem").write_bytes(certificate[0].read_bytes())
    write_root(tmp_path / "web.tar", "the web")
    with running_gns3(3, tmp_path / "server", certificate=certificate) as process:
        real = {
            "https://gns3.example:3080": process.bare_url,
            "http://127.0.0.1:3080": gns3_v2.bare_url,
            "docker://registry.example/library/nginx:1.27": f"rootfs:{tmp_path}/web.tar",
            "- debian-minivm": "- busybox-minivm",
        }
        for documented, here in real.items():
            assert example.count(documented) == 1
            example = example.replace(documented, here)
        (tmp_path / "minivm.yml").write_text(example)
        command = ("sync", str(tmp_path / "minivm.yml"), "--json")
        finished = await gns3_minivm(*command, environment={"LAB1_PASSWORD": "admin"})
        lab1, local = finished.result()["servers"]
        assert [item["name"] for item in lab1["appliances"]] == ["busybox-minivm", "web"]
        assert [item["name"] for item in local["appliances"]] == ["busybox-minivm"]
        async with await connect(parse_address(process.url, ca_file=certificate[0])) as client:
            web = await client.template(template_id("web"))
            assert web is not None and web.values is not None
            assert (web.values.ram_mb, web.values.adapters) == (128, 2)
            assert web.values.usage.endswith("Made by gns3-minivm. Catalogue: our-lab.")
    async with await connect(parse_address(gns3_v2.url)) as client:
        await client.delete_template(template_id("busybox-minivm"))


@pytest.mark.usefixtures("bundle")
async def test_an_old_qemu_is_a_conflict_that_names_the_setting(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    qemu = programs / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\necho 'QEMU emulator version 4.2.1 (Debian 1:4.2-3)'\n")
    qemu.chmod(0o755)
    with running_gns3(2, tmp_path / "server", variables={"PATH": str(programs)}) as process:
        site = TestSite(tmp_path, {"old": {"url": process.url}}, {"old": process})
        site.add("web")
        before = process.image_files
        refused = await site.sync()
        assert refused.status == 1
        assert "needs QEMU 5.1, but compute 'local' has 4.2.1" in refused.out
        assert "compression: zlib" in refused.err
        assert process.image_files == before
        site.settings["compression"] = "zlib"
        assert actions((await site.synced())["old"]) == {"web": "create"}


@pytest.mark.usefixtures("bundle")
async def test_where_nothing_is_to_be_done_a_server_gets_four_requests(
    gns3_v2: GNS3Process, gns3_v3: GNS3Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = {"two": {"url": gns3_v2.url}, "three": {"url": gns3_v3.url}}
    site = TestSite(tmp_path, servers, {"two": gns3_v2, "three": gns3_v3}, name="budget")
    for stem in ("a", "b", "c"):
        site.add(stem)
    counted: Counter[str] = Counter()
    once = Transport._once

    async def counting(self: Transport, *arguments: Any) -> tuple[int, bytes]:
        counted[self.address.url] += 1
        return await once(self, *arguments)

    try:
        await site.synced()
        monkeypatch.setattr(Transport, "_once", counting)
        report = await site.synced()
        assert [set(actions(server).values()) for server in report.values()] == [{"nothing"}, {"nothing"}]
        assert counted == {gns3_v2.bare_url: 4, gns3_v3.bare_url: 4}
    finally:
        await site.clean()
