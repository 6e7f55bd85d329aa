"""A server whose own computer has no QEMU: nodes run on the GNS3 VM, and so the images go there.

The GNS3 VM is a real second server, taken as one by GNS3's own engine "remote".  API v3 takes only the machines of
hypervisors; there a proxy gives the second server the VM's name.  That the first server runs on Windows beside the GUI
is what a proxy makes of its answers.
"""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest
from aiohttp import web

from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.server import Server
from tests.support.computes import register_compute, running_pair
from tests.support.faults import FaultyServer, Harm, faulty
from tests.support.lab import Lab
from tests.support.minivm import gns3_minivm


async def on_windows(server: FaultyServer, request: web.Request) -> web.StreamResponse:
    headers = {"Authorization": request.headers["Authorization"]} if "Authorization" in request.headers else {}
    async with server.session.get(f"{server.process.bare_url}{request.raw_path}", headers=headers) as answer:
        text = await answer.text()
        if answer.status != 200 or answer.content_type != "application/json":
            return web.Response(text=text, status=answer.status, content_type=answer.content_type)
    said = json.loads(text)
    for one in said if isinstance(said, list) else [said]:
        if "version" in one:
            one["local"] = True
        if one.get("compute_id") == "local":
            one["capabilities"]["platform"] = "win32"
    return web.json_response(said)


async def turn_vm_on(server: Server) -> None:
    """The second server, which is a compute already, becomes the VM."""
    settings = {
        "enable": True, "engine": "remote", "vmname": "far", "when_exit": "keep", "headless": False,
        "allocate_vcpus_ram": False, "ram": 512, "vcpus": 1, "port": 80,
    }  # fmt: skip
    await server._object("PUT", "/gns3vm", "set the GNS3 VM", settings)
    for _ in range(60):
        if any(compute.compute_id == "vm" and compute.connected for compute in await server.computes()):
            return
        await asyncio.sleep(0.5)
    raise AssertionError("the GNS3 VM is not there")


@pytest.mark.long
async def test_a_guest_runs_on_the_gns3_vm_where_the_server_has_no_qemu(tmp_path: Path) -> None:
    with running_pair(2, tmp_path) as pair:
        await register_compute(pair)
        async with await connect(parse_address(pair.main.url)) as server, faulty(pair.main) as windows:
            await turn_vm_on(server)
            windows.on(r"^GET /v\d/(version|computes)$", on_windows)
            words = ("register", "busybox-minivm", "--server", windows.url, "--json")
            (await gns3_minivm(*words)).result()
            [template] = [t.values for t in await server.templates() if t.name == "busybox-minivm"]
            assert template is not None and template.compute_id == "vm"
            project = await server.create_project("vm-lab")
            node = await server.create_node(project.project_id, template.template_id, name="pc-1")
            assert node.compute_id == "vm"
            lab = Lab(pair.main, server, project.project_id, template.template_id)
            assert await lab.own_name(node) == "pc-1"
            again = (await gns3_minivm(*words)).result()
            assert [item["outcome"] for item in again["servers"][0]["appliances"]] == ["unchanged"]


def as_vm(compute_id: str) -> Harm:
    """An API v3 server on Windows whose compute ``compute_id`` is the GNS3 VM: what it says and is told."""

    async def harm(server: FaultyServer, request: web.Request) -> web.StreamResponse:
        if request.content_type == "application/octet-stream" and request.body_exists:
            return await server.forward(request)
        path = request.raw_path.replace("/computes/vm/", f"/computes/{compute_id}/")
        body = (await request.read()).replace(b'"vm"', f'"{compute_id}"'.encode())
        kept = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with server.session.request(
            request.method, f"{server.process.bare_url}{path}", headers=kept, data=io.BytesIO(body) if body else None
        ) as answer:
            content = await answer.read()
            if answer.content_type != "application/json" or not content:
                return web.Response(body=content, status=answer.status, content_type=answer.content_type)
        said = json.loads(content.replace(f'"{compute_id}"'.encode(), b'"vm"'))
        if path == "/v3/version":
            said["local"] = True
        elif path == "/v3/computes":
            said = [one for one in said if one["compute_id"] != "vm"]
        elif path == "/v3/gns3vm":
            said["enable"] = True
        elif path == "/v3/computes/local/capabilities/":
            said["platform"] = "win32"
        return web.json_response(said, status=answer.status)

    return harm


@pytest.mark.long
async def test_v3_a_guest_runs_on_the_gns3_vm_where_the_server_has_no_qemu(tmp_path: Path) -> None:
    with running_pair(3, tmp_path) as pair:
        await register_compute(pair)
        async with await connect(parse_address(pair.main.url)) as server, faulty(pair.main) as windows:
            windows.on(".", as_vm(pair.compute_id))
            words = ("register", "busybox-minivm", "--server", windows.url, "--json")
            (await gns3_minivm(*words)).result()
            [template] = [t.values for t in await server.templates() if t.name == "busybox-minivm"]
            assert template is not None and template.compute_id == pair.compute_id
            project = await server.create_project("vm-lab")
            node = await server.create_node(project.project_id, template.template_id, name="pc-1")
            lab = Lab(pair.main, server, project.project_id, template.template_id)
            assert await lab.own_name(node) == "pc-1"
            again = (await gns3_minivm(*words)).result()
            assert [item["outcome"] for item in again["servers"][0]["appliances"]] == ["unchanged"]
            # A file of another content that lies there under the name of ours would be used.
            (pair.far.images / f"{template.initrd}.md5sum").unlink(missing_ok=True)
            pair.put_on_far(template.initrd, b"an older initial RAM disk")
            finished = await gns3_minivm(*words)
            assert finished.status == 1 and "compute 'vm' has a different file named" in finished.out, finished.out
            doctor = await gns3_minivm("doctor", "--server", windows.url, "--json")
            findings = json.loads(doctor.out.splitlines()[-1])["places"][1]["findings"]
            assert [f["level"] for f in findings if "compute GNS3 VM" in f["message"] and f["check"] == "disk-space"]
