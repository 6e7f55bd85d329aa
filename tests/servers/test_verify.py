"""``--verify``: image files that were damaged or deleted on a server's disk behind its back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gns3_minivm.bundle.model import Bundle
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from tests.support.catalogue import TestSite, actions, outcomes
from tests.support.gns3 import GNS3Process
from tests.support.minivm import gns3_minivm

pytestmark = pytest.mark.either_generation


@pytest.fixture
async def site(gns3_server: GNS3Process, bundle: Bundle, tmp_path: Path) -> AsyncIterator[TestSite]:
    del bundle  # it is there from now on
    site = TestSite(tmp_path, {"here": {"url": gns3_server.url}}, {"here": gns3_server})
    try:
        yield site
    finally:
        await site.clean()


async def synced(site: TestSite) -> tuple[str, QemuTemplate, Path]:
    """An appliance that is in place: its name, its template, and its disk on the server."""
    name = site.add("web")
    await site.synced()
    template = await site.template("here", name)
    assert template is not None
    return name, template, site.processes["here"].images / template.hda_disk_image


def damage(path: Path) -> bytes:
    """Change one byte, as a failing disk does; the content now."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return bytes(content)


async def test_a_file_that_was_deleted_on_the_disk_is_put_back_under_its_name(
    site: TestSite, gns3_server: GNS3Process
) -> None:
    name, template, disk = await synced(site)
    kernel = gns3_server.images / template.kernel_image
    meant = {path: path.read_bytes() for path in (disk, kernel)}
    for path in meant:
        path.unlink()
    finished = await gns3_minivm("doctor", "--server", gns3_server.url, "--json")
    said = [f for f in json.loads(finished.out.splitlines()[-1])["places"][1]["findings"] if f["check"] == "images"]
    for path in meant:
        # Other templates on this server may have the same kernel.
        [finding] = [f for f in said if f["message"].startswith(f"template {name}: image {path.name} ")]
        assert "is missing" in finding["message"]
        assert ("--verify" in finding["hint"]) == (gns3_server.generation == 3), finding
    report = await site.synced(verify=True)
    assert actions(report["here"]) == {"web": "nothing"}
    assert sorted(report["here"]["appliances"][0]["uploaded"]) == sorted(path.name for path in meant)
    assert {path: path.read_bytes() for path in meant} == meant
    assert outcomes((await site.synced(verify=True))["here"]) == {"web": "unchanged"}
    async with await connect(parse_address(gns3_server.url)) as client:
        assert not [project for project in await client.projects() if project.name.startswith("gns3-minivm-")]
        # What the files are there for.
        project = await client.create_project(f"lab-{site.tag}")
        node = await client.create_node(project.project_id, template.template_id)
        assert node.properties["hda_disk_image"] == disk.name
        await client.delete_project(project.project_id)


async def test_a_damaged_file_that_the_template_uses_stays_and_is_sent_again_under_a_numbered_name(
    site: TestSite,
) -> None:
    name, template, disk = await synced(site)
    meant, damaged = disk.read_bytes(), damage(disk)
    if site.processes["here"].generation == 3:
        # Listed as what arrived, so nothing but a look at the file itself shows it.
        assert actions((await site.synced())["here"]) == {"web": "nothing"}
    shown = await site.run("status", "--verify")
    assert f"upload     {disk.stem}-2.qcow2 (the {disk.name} there is damaged)" in shown.out, shown.out + shown.err
    report = await site.synced(verify=True)
    assert outcomes(report["here"]) == {"web": "updated"}
    again = disk.with_name(f"{disk.stem}-2.qcow2")
    assert (disk.read_bytes(), again.read_bytes()) == (damaged, meant)
    moved = await site.template("here", name)
    assert moved is not None and (moved.hda_disk_image, moved.kernel_image) == (again.name, template.kernel_image)
    # With and without a look at the files, and with a cache that knows no checksum.
    for verify in (True, False):
        assert outcomes((await site.synced(verify=verify))["here"]) == {"web": "unchanged"}
    damage(again)
    # By now nothing uses the first one.
    assert outcomes((await site.synced(verify=True))["here"]) == {"web": "updated"}
    assert disk.read_bytes() == meant
    back = await site.template("here", name)
    assert back is not None and back.hda_disk_image == disk.name


@pytest.mark.long
async def test_a_damaged_file_that_nothing_uses_is_replaced(site: TestSite) -> None:
    name, template, disk = await synced(site)
    meant = disk.read_bytes()
    async with await connect(parse_address(site.processes["here"].url)) as client:
        await client.delete_template(template.template_id)
    damage(disk)
    report = await site.synced(verify=True)
    assert outcomes(report["here"]) == {"web": "created"}
    assert report["here"]["appliances"][0]["uploaded"] == [disk.name]
    assert disk.read_bytes() == meant
    assert not disk.with_name(f"{disk.stem}-2.qcow2").exists()
    again = await site.template("here", name)
    assert again is not None and again.hda_disk_image == disk.name


@pytest.mark.long
async def test_two_agents_that_repair_at_once_do_not_get_in_each_others_way(site: TestSite) -> None:
    name, template, disk = await synced(site)
    meant, kernel = disk.read_bytes(), disk.with_name(template.kernel_image)
    damage(disk)
    kernel_bytes = kernel.read_bytes()
    kernel.unlink()
    finished = await asyncio.gather(site.sync("--verify"), site.sync("--verify"))
    assert [one.status for one in finished] == [0, 0], [one.err for one in finished]
    moved = await site.template("here", name)
    assert moved is not None
    # The slower one may find that nothing uses the damaged file any more, and replace it.
    assert disk.with_name(moved.hda_disk_image).read_bytes() == meant
    assert kernel.read_bytes() == kernel_bytes
    assert outcomes((await site.synced(verify=True))["here"]) == {"web": "unchanged"}


@pytest.mark.long
async def test_a_damaged_file_is_noticed_with_an_empty_cache_too(site: TestSite, tmp_path: Path) -> None:
    _, _, disk = await synced(site)
    meant = disk.read_bytes()
    damage(disk)
    site.cache = tmp_path / "empty"
    report = await site.synced(verify=True)
    assert outcomes(report["here"]) == {"web": "updated"}
    assert disk.with_name(f"{disk.stem}-2.qcow2").read_bytes() == meant


@pytest.mark.long
async def test_a_file_that_has_become_empty_is_sent_again(site: TestSite) -> None:
    name, _, disk = await synced(site)
    meant = disk.read_bytes()
    disk.write_bytes(b"")
    assert [item["error"] for item in (await site.synced(verify=True))["here"]["appliances"]] == [None]
    template = await site.template("here", name)
    assert template is not None and disk.with_name(template.hda_disk_image).read_bytes() == meant
