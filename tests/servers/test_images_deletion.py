"""Image files that nothing uses are deleted where the API can, and whatever cannot be proven unused stays."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gns3_minivm.agent.images import DeletionReport, KeptImage, delete_unused_images
from gns3_minivm.base.artifacts import Artifact
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.blobs import random_artifact
from tests.support.gns3 import GNS3Process
from tests.support.qcow2 import empty_disk
from tests.support.users import poor_user


@dataclass(frozen=True)
class Case:
    client: Server
    process: GNS3Process
    disk: Artifact
    kernel: Artifact
    initrd: Artifact
    template: QemuTemplate
    project_id: str

    @property
    def names(self) -> list[str]:
        return [self.disk.filename, self.kernel.filename, self.initrd.filename]

    async def delete(self, *, dry_run: bool = False, without_template: bool = False) -> DeletionReport:
        without = [self.template.template_id] if without_template else []
        return await delete_unused_images(
            self.client, self.names, dry_run=dry_run, events=Events(), without_templates=without
        )

    def on_disk(self) -> list[str]:
        return [name for name in self.names if (self.process.images / name).exists()]

    async def forget_nodes(self) -> None:
        for node in await self.client.nodes(self.project_id):
            await self.client.delete_node(self.project_id, node.node_id)


@pytest.fixture
async def case(client: Server, gns3_server: GNS3Process, tmp_path: Path) -> AsyncIterator[Case]:
    """A template of three files, and an open project with one node of it."""
    disk = await empty_disk(tmp_path)
    kernel, initrd = random_artifact(tmp_path, stem="vmlinuz"), random_artifact(tmp_path, stem="initrd")
    for file in (disk, kernel, initrd):
        await client.upload_image(file.path, file.filename, file.size_bytes, file.md5)
    template = QemuTemplate(
        template_id=str(uuid.uuid4()),
        name=f"vm-{uuid.uuid4().hex[:8]}",
        hda_disk_image=disk.filename,
        kernel_image=kernel.filename,
        initrd=initrd.filename,
        options="-cpu Nehalem",
        on_close="power_off",
        ram_mb=32,
    )
    await client.create_template(template)
    project = await client.create_project(f"lab-{uuid.uuid4().hex[:8]}")
    await client.create_node(project.project_id, template.template_id, name="pc-1")
    yield Case(client, gns3_server, disk, kernel, initrd, template, project.project_id)
    await client.delete_project(project.project_id)
    if await client.template(template.template_id):
        await client.delete_template(template.template_id)


def reasons(report: DeletionReport) -> dict[str, tuple[str, ...]]:
    assert report.deleted == report.by_hand == ()
    return {image.filename: image.reasons for image in report.kept}


async def test_what_templates_and_nodes_use_stays(case: Case) -> None:
    found = reasons(await case.delete())
    assert set(found) == set(case.names)
    for used_by in found.values():
        assert used_by[0] == f"template {case.template.name}"
        assert used_by[1].startswith("node pc-1 of project lab-")
    assert case.on_disk() == case.names


async def test_a_node_of_a_closed_project_keeps_its_images(case: Case) -> None:
    await case.client.delete_template(case.template.template_id)
    await case.client.close_project(case.project_id)
    found = reasons(await case.delete())
    assert all(used_by[0].startswith("node pc-1") for used_by in found.values()) and set(found) == set(case.names)


async def test_what_nothing_uses_is_deleted_or_listed_where_the_api_cannot(case: Case) -> None:
    await case.forget_nodes()
    would = await case.delete(dry_run=True, without_template=True)
    assert case.on_disk() == case.names
    await case.client.delete_template(case.template.template_id)
    done = await case.delete()
    assert (would.deleted, would.by_hand, would.kept) == (done.deleted, done.by_hand, done.kept)
    assert done.kept == ()
    if case.client.can_delete_images:
        assert (list(done.deleted), case.on_disk()) == (case.names, [])
        assert not {image.filename for image in await case.client.images()} & set(case.names)
        assert (await case.delete()).deleted == ()
    else:
        assert (done.deleted, case.on_disk()) == ((), case.names)
        assert list(done.by_hand) == [f"images/QEMU/{name}" for name in case.names]


async def test_only_the_initrd_of_a_template_keeps_it(case: Case) -> None:
    # API v3 itself would delete it: it does not see that templates use initial RAM disks.
    await case.forget_nodes()
    await case.client.update_template(case.template.template_id, {"hda_disk_image": "", "kernel_image": ""})
    report = await case.delete()
    assert report.kept == (KeptImage(case.initrd.filename, (f"template {case.template.name}",)),)
    assert case.initrd.filename in case.on_disk()


async def test_a_snapshot_keeps_its_images(case: Case) -> None:
    await snapshot(case)
    await case.forget_nodes()
    await case.client.delete_template(case.template.template_id)
    found = reasons(await case.delete())
    assert set(found) == set(case.names)
    assert all("snapshot before" in used_by[0] for used_by in found.values()), found
    await case.client.close_project(case.project_id)
    assert reasons(await case.delete()) == found
    assert case.on_disk() == case.names


async def test_a_snapshot_that_cannot_be_read_keeps_all(case: Case) -> None:
    await snapshot(case)
    await case.forget_nodes()
    await case.client.delete_template(case.template.template_id)
    folder = case.process.directory / "projects" / case.project_id / "snapshots"
    [archive] = [*folder.glob("*.gns3project"), *folder.glob("*.gns3snapshot")]
    archive.write_bytes(archive.read_bytes()[:100])
    found = reasons(await case.delete())
    assert all("cannot be read" in used_by[0] for used_by in found.values()) and set(found) == set(case.names)


@pytest.mark.parametrize("gns3_server", ["v3"], indirect=True)
async def test_a_user_who_does_not_see_all_projects_deletes_nothing(case: Case) -> None:
    await case.forget_nodes()
    await case.client.delete_template(case.template.template_id)
    url = await poor_user(case.process, roles=["Template manager", "User"])
    async with await connect(parse_address(url)) as poor:
        report = await delete_unused_images(poor, case.names, dry_run=False, events=Events())
    assert all("not an administrator" in used_by[0] for used_by in reasons(report).values())
    assert case.on_disk() == case.names


async def snapshot(case: Case) -> None:
    path = f"/projects/{case.project_id}/snapshots"
    await case.client._command("POST", path, "make a snapshot", {"name": "before"})
