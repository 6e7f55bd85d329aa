"""``gns3-minivm doctor`` as a user runs it, against real servers that lack something."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.agent.desired import template_id
from gns3_minivm.agent.read_back import put_back
from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.events import no_progress
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.blobs import random_artifact
from tests.support.gns3 import Generation, GNS3Process, free_port, running_gns3
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool
from tests.support.users import poor_user

pytestmark = pytest.mark.either_generation

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


async def findings(url: str, *words: str, status: int = 0) -> dict[str, list[dict[str, str]]]:
    """What doctor says of the server, by the name of the check."""
    finished = await gns3_minivm("doctor", "--server", url, "--json", *words, environment=NO_ENGINE)
    assert finished.status == status, finished.out + finished.err
    result = result_of(finished.out)
    assert result["problems"] == 0 or status == 1
    found: dict[str, list[dict[str, str]]] = {}
    for finding in result["places"][1]["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def result_of(out: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert result["event"] == "result", result
    return result


def levels(found: dict[str, list[dict[str, str]]], check: str) -> list[str]:
    return [finding["level"] for finding in found[check]]


async def register(client: Server, folder: Path) -> tuple[QemuTemplate, Sequence[Artifact]]:
    """A template of ours, made of random files."""
    name = f"vm-{uuid.uuid4().hex[:8]}"
    files = [random_artifact(folder, stem=stem) for stem in ("disk", "vmlinuz", "initrd")]
    for file in files:
        await client.upload_image(file.path, file.filename, file.size_bytes, file.md5)
    disk, kernel, initrd = (file.filename for file in files)
    template = QemuTemplate(
        template_id=template_id(name), name=name, hda_disk_image=disk, kernel_image=kernel, initrd=initrd
    )
    await client.create_template(template)
    return template, files


async def test_a_server_in_order_has_no_problem(client: Server, gns3_server: GNS3Process, tmp_path: Path) -> None:
    require_tool("qemu-system-x86_64")
    template, _ = await register(client, tmp_path)
    found = await findings(gns3_server.url)
    await client.delete_template(template.template_id)
    assert client.version in found["version"][0]["message"]
    for check in ("rights", "raw-images", "images"):
        assert levels(found, check) == ["ok"], found[check]
    # API v3 does not tell the version of QEMU.
    assert levels(found, "qemu") == ["ok" if gns3_server.generation == 2 else "unknown"]
    assert levels(found, "disk-space") == ["ok"]
    if gns3_server.generation == 3:
        assert "default password" in found["login"][0]["message"]
    else:
        assert "login" not in found


@pytest.mark.parametrize(("percent", "level"), [(84, "ok"), (85, "warning"), (95, "problem")])
async def test_a_disk_that_fills_up_is_told_before_an_upload_fails(
    gns3_server: GNS3Process, percent: int, level: str
) -> None:
    with gns3_server.disk_used(percent):
        found = await findings(gns3_server.url, status=1 if level == "problem" else 0)
    [finding] = found["disk-space"]
    assert finding["level"] == level and f"its disk is {percent} % full" in finding["message"]
    assert ("Free some space" in finding["hint"]) == (level != "ok")


async def test_it_is_told_to_people_with_what_to_do(gns3_v3: GNS3Process) -> None:
    finished = await gns3_minivm("doctor", "--server", gns3_v3.url, environment=NO_ENGINE)
    assert finished.status == 0, finished.err
    lines = finished.out.splitlines()
    assert lines[0] == "this machine:" and f"{gns3_v3.bare_url}:" in lines and lines[-1] == "no problems"
    assert any("/nonexistent/docker.sock" in line and "warning" in line for line in lines)
    assert [line for line in lines if line.strip().startswith("-> ")]


async def test_an_initrd_that_is_gone_and_a_damaged_disk_are_problems(
    client: Server, gns3_server: GNS3Process, tmp_path: Path
) -> None:
    template, (disk, _, initrd) = await register(client, tmp_path)
    if client.can_delete_images:
        # As a prune does it: API v3 does not see that a template uses this file.
        await client.delete_image(initrd.filename)
    else:
        (gns3_server.images / initrd.filename).unlink()
    path = gns3_server.images / disk.filename
    path.write_bytes(path.read_bytes()[:1000])
    found = await findings(gns3_server.url, status=1)
    await client.delete_template(template.template_id)
    messages = [finding["message"] for finding in found["images"]]
    assert any(initrd.filename in message and "is missing" in message for message in messages), messages
    if gns3_server.generation == 3:
        assert any(disk.filename in message and "is damaged: 1000 bytes" in message for message in messages), messages
    hints = {finding["message"]: finding["hint"] for finding in found["images"]}
    for message, hint in hints.items():
        assert f"gns3-minivm register {template.name}" in hint
        assert ("--verify" in hint) == ("damaged" in message)


async def test_a_file_deleted_behind_the_servers_back_is_a_problem(
    client: Server, gns3_server: GNS3Process, tmp_path: Path
) -> None:
    template, (disk, _, _) = await register(client, tmp_path)
    (gns3_server.images / disk.filename).unlink()
    found = await findings(gns3_server.url, status=1)
    [finding] = found["images"]
    assert disk.filename in finding["message"] and "is missing" in finding["message"]
    # What follows the hint mends it.
    assert "sends it again" in finding["hint"]
    if gns3_server.generation == 3:
        await put_back(client, disk, disk.filename, no_progress)
    else:
        await client.upload_image(disk.path, disk.filename, disk.size_bytes, disk.md5)
    assert levels(await findings(gns3_server.url), "images") == ["ok"]
    await client.delete_template(template.template_id)


async def test_a_user_without_rights_is_told_which_lack(gns3_v3: GNS3Process) -> None:
    found = await findings(await poor_user(gns3_v3), status=1)
    [finding] = found["rights"]
    assert finding["level"] == "problem"
    for name in ("Image.Audit", "Image.Allocate", "Template.Allocate", "Template.Modify", "Project.Allocate"):
        assert name in finding["message"]
    assert "Template manager" in finding["hint"]


async def test_the_roles_that_the_hint_names_suffice(gns3_v3: GNS3Process) -> None:
    found = await findings(await poor_user(gns3_v3, ["Template manager", "User"]))
    assert levels(found, "rights") == levels(found, "raw-images") == levels(found, "images") == ["ok"]
    assert "not an administrator" in found["rights"][0]["message"]


async def test_a_server_that_refuses_raw_images_is_found_out_without_a_write(tmp_path: Path) -> None:
    with running_gns3(3, tmp_path / "server", settings={"Server": {"allow_raw_images": "False"}}) as process:
        before = sorted(path for path in process.directory.rglob("*") if "QEMU" in str(path))
        found = await findings(process.url, status=1)
        after = sorted(
            path for path in process.directory.rglob("*") if "QEMU" in str(path) and path.suffix != ".md5sum"
        )
    assert levels(found, "raw-images") == ["problem"]
    assert "allow_raw_images = True" in found["raw-images"][0]["hint"]
    assert after == before
    assert not list(process.directory.rglob("*gns3-minivm-asks*"))


async def test_servers_that_are_away_or_refuse_the_password_are_problems_and_stop_nothing(gns3_v3: GNS3Process) -> None:
    away, wrong = f"http://127.0.0.1:{free_port()}", gns3_v3.bare_url.replace("://", "://admin:distinctive-word@")
    words = [word for url in (away, wrong, gns3_v3.url) for word in ("--server", url)]
    # One server counts once, so the last URL of the same server wins; ask for both.
    finished = await gns3_minivm("doctor", *words[:4], "--json", environment=NO_ENGINE)
    assert finished.status == 1
    places = result_of(finished.out)["places"]
    assert [place["place"] for place in places] == ["this machine", away, gns3_v3.bare_url]
    for place in places[1:]:
        [finding] = place["findings"]
        assert finding["check"] == "connection" and finding["hint"]
    assert "distinctive-word" not in finished.out + finished.err


async def test_a_certificate_that_is_not_checked_is_a_warning(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with running_gns3(2, tmp_path / "server", certificate=certificate) as process:
        unchecked = await findings(process.url, "--insecure")
        checked = await findings(process.url, "--ca-file", str(certificate[0]))
        refused = await findings(process.url, status=1)
    assert (levels(unchecked, "tls"), levels(checked, "tls")) == (["warning"], ["ok"])
    assert "certificate" in refused["connection"][0]["message"]


async def test_nothing_changes_on_a_server(client: Server, gns3_server: GNS3Process) -> None:
    async def state() -> object:
        projects, templates, images = await asyncio.gather(client.projects(), client.templates(), client.images())
        return [project.name for project in projects], templates, images

    before = await state()
    await findings(gns3_server.url)
    assert await state() == before


async def test_what_a_killed_export_has_left_is_told(client: Server, gns3_server: GNS3Process) -> None:
    project = await client.create_project(f"gns3-minivm-{uuid.uuid4()}")
    try:
        found = await findings(gns3_server.url)
    finally:
        await client.delete_project(project.project_id)
    [finding] = found["projects"]
    assert finding["level"] == "warning" and project.name in finding["message"]


@pytest.mark.parametrize("words", [("--server", "ftp://x")])
async def test_a_wrong_url_is_a_usage_error(words: tuple[str, ...]) -> None:
    assert (await gns3_minivm("doctor", *words)).status == 2


@pytest.mark.usefixtures("client")
async def test_a_node_that_runs_shows_that_ubridge_is_there(gns3_server: GNS3Process) -> None:
    require_tool("qemu-system-x86_64")
    async with await connect(parse_address(gns3_server.url)) as server:
        name = f"vm-{uuid.uuid4().hex[:8]}"
        template = QemuTemplate(
            template_id=str(uuid.uuid4()),
            name=name,
            ram_mb=32,
            options="-cpu Nehalem",
            hda_disk_interface="none",
            on_close="power_off",
        )
        await server.create_template(template)
        project = await server.create_project(f"lab-{uuid.uuid4().hex[:8]}")
        node = await server.create_node(project.project_id, template.template_id, name="runs")
        await server.start_node(project.project_id, node.node_id, watch_s=0)
        found = await findings(gns3_server.url)
        await server.delete_project(project.project_id)
        await server.delete_template(template.template_id)
    assert found["ubridge"][0]["message"].startswith("node runs of project lab-")


async def test_a_trial_finds_out_what_the_api_does_not_tell(client: Server, gns3_server: GNS3Process) -> None:
    require_tool("qemu-system-x86_64")
    finished = await gns3_minivm("doctor", "--try", "--server", gns3_server.url, "--json")
    said = json.loads(finished.out.splitlines()[-1])["places"][1]["findings"]
    assert [f["level"] for f in said if f["check"] in ("qemu", "ubridge")] == ["ok", "ok"], said
    [qemu] = [f["message"] for f in said if f["check"] == "qemu"]
    assert re.search(r"QEMU \d+\.\d+", qemu)
    assert not [project for project in await client.projects() if project.name.startswith("gns3-minivm-")]


@pytest.mark.long
@pytest.mark.parametrize("generation", [2, 3])
async def test_a_trial_finds_an_old_qemu_and_that_ubridge_is_missing(generation: Generation, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    qemu = programs / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\necho 'QEMU emulator version 4.2.1 (Debian 1:4.2-3)'\n")
    qemu.chmod(0o755)
    # Without it no node gets as far as ubridge.
    (programs / "qemu-img").symlink_to(require_tool("qemu-img"))
    settings = {"Server": {"ubridge_path": str(tmp_path / "none")}}
    with running_gns3(generation, tmp_path / "server", variables={"PATH": str(programs)}, settings=settings) as process:
        finished = await gns3_minivm("doctor", "--try", "--server", process.url, "--json")
        said = json.loads(finished.out.splitlines()[-1])["places"][1]["findings"]
        [qemu_said] = [f for f in said if f["check"] == "qemu"]
        [ubridge_said] = [f for f in said if f["check"] == "ubridge"]
        assert qemu_said["level"] == "problem" and "4.2.1 cannot read zstd disks" in qemu_said["message"], said
        assert ubridge_said["level"] == "problem" and "ubridge" in ubridge_said["message"].lower(), said
        assert "ubridge is missing, install it" in ubridge_said["hint"]
