"""Templates with the monolithic kernel on real GNS3 servers: one file, so what GNS3 does to an initrd does not matter.

Here GNS3's own export and import are used as they are, not ours, which repair them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
import venv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.gns3 import Generation, GNS3Process, running_gns3
from tests.support.lab import Lab, open_lab
from tests.support.minivm import gns3_minivm
from tests.support.ubridge import EXECUTABLE as UBRIDGE

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("monolithic_bundle")]

BUSYBOX = "busybox-minivm"


@asynccontextmanager
async def fresh(generation: Generation, folder: Path) -> AsyncIterator[tuple[GNS3Process, Server]]:
    """A server that has nothing."""
    with running_gns3(generation, folder, ubridge=UBRIDGE) as process:
        async with await connect(parse_address(process.url)) as server:
            yield process, server


async def register(process: GNS3Process, *words: str) -> str:
    (result,) = (await gns3_minivm("register", BUSYBOX, "--server", process.url, "--json", *words)).result()["servers"]
    return "nothing to do" if not result["appliances"] else result["appliances"][0]["outcome"]


async def template_on(server: Server) -> QemuTemplate:
    (found,) = [template.values for template in await server.templates() if template.name == BUSYBOX]
    assert found is not None
    return found


async def kernel_of(lab: Lab, name: str) -> str:
    """The version that a new node's guest says it runs."""
    node = await lab.add_node(name)
    await lab.start(node)
    async with lab.console(node) as console:
        version = await console.run("uname -r")
    await lab.server.delete_node(lab.project_id, node.node_id)
    return version.strip()


async def test_a_template_names_a_kernel_and_nothing_else_and_survives_a_prune(
    monolithic_bundle: Bundle, tmp_path: Path
) -> None:
    async with fresh(3, tmp_path) as (process, server):
        await register(process, "--kernel", "monolithic")
        template = await template_on(server)
        assert (template.kernel_image, template.initrd, template.hdb_disk_image) == (
            monolithic_bundle.kernel.filename,
            "",
            "",
        )
        files = {template.hda_disk_image, template.kernel_image}
        await server._transport.send("DELETE", "/v3/images/prune", "prune the images")
        assert files <= {path.name for path in process.image_files}
        assert files <= {image.filename for image in await server.images()}
        async with open_lab(process, BUSYBOX) as lab:
            assert await kernel_of(lab, "pc-1") == monolithic_bundle.kernel_version


@pytest.mark.parametrize(("here", "there"), [(2, 2), (2, 3), (3, 3)])
async def test_a_project_that_gns3_itself_exports_opens_and_runs_on_another_server(
    here: Generation, there: Generation, monolithic_bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "lab.gns3project"
    async with fresh(here, tmp_path / "here") as (process, server):
        await register(process, "--kernel", "monolithic")
        async with open_lab(process, BUSYBOX) as lab:
            node = await lab.add_node("pc-1")
            await lab.start(node)
            async with lab.console(node) as console:
                await console.run("echo moved > /root/note; sync")
            await lab.stop(node)
            with file.open("wb") as target:
                async for chunk in server.export_project(lab.project_id, with_images=True):
                    target.write(chunk)
    async with fresh(there, tmp_path / "there") as (process, server):
        project = await server.import_project(str(uuid.uuid4()), file, file.stat().st_size, name="moved-lab")
        await server.open_project(project.project_id)
        [node] = await server.nodes(project.project_id)
        lab = Lab(process, server, project.project_id, node.template_id or "")
        await lab.start(node)
        async with lab.console(node) as console:
            assert "moved" in await console.run("cat /root/note")
            assert (await console.run("uname -r")).strip() == monolithic_bundle.kernel_version
        await lab.stop(node)


async def test_the_kernel_is_changed_when_somebody_says_so_and_then_kept(
    client: Server, gns3_server: GNS3Process, bundle: Bundle, monolithic_bundle: Bundle
) -> None:
    assert bundle.initrd is not None
    debian, monolithic = (bundle.kernel.filename, bundle.initrd.filename), (monolithic_bundle.kernel.filename, "")
    for words, kernel in (
        (("--kernel", "debian"), debian),
        (("--kernel", "monolithic"), monolithic),
        # Nobody names one now: an agent that knows of no monolithic kernel would take Debian's.
        ((), monolithic),
        (("--kernel", "debian"), debian),
        ((), debian),
    ):
        await register(gns3_server, *words)
        template = await template_on(client)
        assert (template.kernel_image, template.initrd) == kernel
        assert await register(gns3_server, *words) in ("unchanged", "nothing to do")


OFFLINE = """
import sys

def refuse(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in ("127.0.0.1", "::1"):
        raise OSError(f"this machine has no network: {arguments[1]}")
    if event in ("subprocess.Popen", "os.posix_spawn", "os.exec"):
        raise OSError(f"this machine has no such program: {arguments}")

sys.addaudithook(refuse)
"""


async def test_with_the_wheel_of_a_kernel_nothing_else_is_needed(
    monolithic_bundle: Bundle, tmp_path: Path, gns3_server: GNS3Process, client: Server
) -> None:
    packed = (await gns3_minivm("kernel", "pack", "monolithic", "-o", str(tmp_path), "--json")).result()
    assert Path(packed["wheel"]).parent == tmp_path
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    await run(str(python), "-m", "pip", "install", "-q", "--no-index", packed["wheel"])
    # gns3-minivm and what it needs, as they are installed for these tests; then neither network nor programs.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "venv" / "lib" / version / "site-packages"
    (site / "tests.pth").write_text("".join(f"{path}\n" for path in sys.path if path))
    (site / "sitecustomize.py").write_text(OFFLINE)
    words = ("-m", "gns3_minivm", "register", BUSYBOX, "--as", "from-a-wheel", "--server", gns3_server.url)
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    await run(str(python), *words, environment=environment)
    (found,) = [template.values for template in await client.templates() if template.name == "from-a-wheel"]
    assert found is not None and (found.kernel_image, found.initrd) == (monolithic_bundle.kernel.filename, "")
    await client.delete_template(found.template_id)


async def run(*words: str, environment: dict[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *words,
        env={**os.environ, "PYTHONSAFEPATH": "1"} if environment is None else environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
