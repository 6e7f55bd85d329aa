"""Templates whose nodes run on another compute: the images get there, and are the ones that were meant."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, template_id
from gns3_minivm.agent.images import delete_unused_images
from gns3_minivm.agent.observe import observe
from gns3_minivm.agent.plan import plan
from gns3_minivm.base.errors import ConflictError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.blobs import random_artifact
from tests.support.catalogue import TestSite, outcomes
from tests.support.computes import Pair, register_compute, running_pair
from tests.support.lab import Lab
from tests.support.minivm import gns3_minivm
from tests.support.qcow2 import empty_disk


@pytest.fixture(scope="module", params=[2, 3], ids=["v2", "v3"])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(request.param, tmp_path_factory.mktemp("computes")) as pair:
        yield pair


@pytest.fixture(scope="module")
async def pair(processes: Pair) -> Pair:
    await register_compute(processes)
    return processes


@pytest.fixture
async def main(pair: Pair) -> AsyncIterator[Server]:
    async with await connect(parse_address(pair.main.url)) as server:
        yield server


@pytest.mark.either_generation
async def test_a_guest_runs_on_another_compute_with_the_images_that_were_meant(pair: Pair, main: Server) -> None:
    words = ("register", "busybox-minivm", "--compute", pair.compute_id, "--server", pair.main.url, "--json")
    (await gns3_minivm(*words)).result()
    [template] = [t.values for t in await main.templates() if t.name == "busybox-minivm"]
    assert template is not None and template.compute_id == pair.compute_id
    project = await main.create_project("far-lab")
    node = await main.create_node(project.project_id, template.template_id, name="pc-1")
    assert node.compute_id == pair.compute_id
    listed = {image.filename: image.md5 for image in await main.images(pair.compute_id)}
    meant = {field: listed[getattr(template, field)] for field in node.image_md5s}
    assert node.image_md5s == meant and set(meant) >= {"hda_disk_image", "kernel_image", "initrd"}
    lab = Lab(pair.main, main, project.project_id, template.template_id)
    assert await lab.own_name(node) == "pc-1"
    # Nothing to do the second time, the compute included.
    again = (await gns3_minivm(*words)).result()
    assert [item["outcome"] for item in again["servers"][0]["appliances"]] == ["unchanged"]


async def test_an_upload_for_another_compute_is_what_its_nodes_use(pair: Pair, main: Server, tmp_path: Path) -> None:
    disk = await empty_disk(tmp_path)
    await main.upload_image(disk.path, disk.filename, disk.size_bytes, disk.md5, compute_id=pair.compute_id)
    if main.images_per_compute:
        assert (pair.far.images / disk.filename).read_bytes() == disk.path.read_bytes()
        assert not (pair.main.images / disk.filename).exists()
    node, project_id = await node_of(main, pair, disk.filename)
    assert node == {"hda_disk_image": disk.md5}
    assert (pair.far.images / disk.filename).read_bytes() == disk.path.read_bytes()
    await main.delete_project(project_id)


@pytest.mark.parametrize("processes", [2], indirect=True, ids=["v2"])
async def test_v2_a_stale_checksum_of_another_compute_is_no_damage(pair: Pair, main: Server, tmp_path: Path) -> None:
    disk = await empty_disk(tmp_path)
    await main.upload_image(disk.path, disk.filename, disk.size_bytes, disk.md5, compute_id=pair.compute_id)
    (pair.far.images / f"{disk.filename}.md5sum").write_text("0" * 32)
    assert [image.md5 for image in await main.images(pair.compute_id) if image.filename == disk.filename] == ["0" * 32]
    name = f"vm-{uuid.uuid4().hex[:8]}"
    template = QemuTemplate(
        template_id=template_id(name), name=name, hda_disk_image=disk.filename, compute_id=pair.compute_id
    )
    wanted = [DesiredAppliance(template=template, files=(WantedFile.of(disk),))]
    seen = await observe(main, wanted)
    assert plan(seen, seen.desired).uploads == ()
    (pair.far.images / disk.filename).write_bytes(disk.path.read_bytes()[::-1])
    seen = await observe(main, wanted)
    assert [upload.damaged for upload in plan(seen, seen.desired).uploads] == [disk.filename]
    assert not [project for project in await main.projects() if project.name.startswith("gns3-minivm-")]


async def test_another_file_of_that_name_on_the_compute_is_noticed(pair: Pair, main: Server, tmp_path: Path) -> None:
    disk, other = await empty_disk(tmp_path), await empty_disk(tmp_path)
    pair.put_on_far(disk.filename, other.path.read_bytes())
    assert disk.filename in {image["filename"] for image in pair.far_images()}
    upload = (disk.path, disk.filename, disk.size_bytes, disk.md5)
    with pytest.raises(ConflictError, match="a different image .* exists already|has a different file") as caught:
        await main.upload_image(*upload, compute_id=pair.compute_id)
    assert other.md5 in caught.value.message
    assert (pair.far.images / disk.filename).read_bytes() == other.path.read_bytes()


@pytest.mark.parametrize("processes", [3], indirect=True, ids=["v3"])
async def test_v3_a_node_on_old_content_of_a_compute_is_not_left_behind(
    pair: Pair, main: Server, tmp_path: Path
) -> None:
    disk, other = await empty_disk(tmp_path), await empty_disk(tmp_path)
    await main.upload_image(disk.path, disk.filename, disk.size_bytes, disk.md5)
    pair.put_on_far(disk.filename, other.path.read_bytes())
    with pytest.raises(ConflictError, match=r"compute far has a different file") as caught:
        await node_of(main, pair, disk.filename)
    assert disk.filename in caught.value.message and "images/QEMU" in caught.value.hint
    for project in await main.projects():
        if project.name.startswith("lab-"):
            assert await main.nodes(project.project_id) == []
            await main.delete_project(project.project_id)


@pytest.mark.parametrize("processes", [3], indirect=True, ids=["v3"])
async def test_v3_another_file_on_the_compute_is_a_conflict_in_the_plan(pair: Pair, main: Server) -> None:
    words = ("register", "busybox-minivm", "--compute", pair.compute_id, "--server", pair.main.url)
    finished = await gns3_minivm(*words)
    assert finished.status == 0, finished.err
    [template] = [t.values for t in await main.templates() if t.name == "busybox-minivm"]
    assert template is not None
    (pair.far.images / f"{template.initrd}.md5sum").unlink(missing_ok=True)
    pair.put_on_far(template.initrd, b"an older initial RAM disk")
    finished = await gns3_minivm(*words, "--dry-run")
    (pair.far.images / template.initrd).unlink()
    assert finished.status == 1 and "a different file named" in finished.err, finished.err
    assert template.initrd in finished.err and "images/QEMU of that compute" in finished.err


async def test_a_project_of_another_compute_is_exported_with_all_its_images(
    pair: Pair, main: Server, tmp_path: Path
) -> None:
    disk, kernel = await empty_disk(tmp_path), random_artifact(tmp_path, stem="vmlinuz")
    initrd = random_artifact(tmp_path, stem="initrd")
    for file in (disk, kernel, initrd):
        await main.upload_image(file.path, file.filename, file.size_bytes, file.md5, compute_id=pair.compute_id)
    _, project_id = await node_of(main, pair, disk.filename, kernel.filename, initrd.filename)
    target = tmp_path / "far.gns3project"
    words = ("project", "export", project_id, "-o", str(target), "--server", pair.main.url, "--json")
    (await gns3_minivm(*words, cache=tmp_path / "empty")).result()
    with zipfile.ZipFile(target) as archive:
        for file in (disk, kernel, initrd):
            assert archive.read(f"images/QEMU/{file.filename}") == file.path.read_bytes()
    await main.delete_project(project_id)


async def test_copies_on_a_compute_are_listed_for_deletion_by_hand(pair: Pair, main: Server, tmp_path: Path) -> None:
    disk = await empty_disk(tmp_path)
    await main.upload_image(disk.path, disk.filename, disk.size_bytes, disk.md5)
    pair.put_on_far(disk.filename, disk.path.read_bytes())
    report = await delete_unused_images(main, [disk.filename], dry_run=False, events=Events())
    here = f"images/QEMU/{disk.filename}"
    far = f"{here} on compute {pair.compute_id}"
    if main.can_delete_images:
        assert (report.deleted, report.by_hand, report.kept) == ((disk.filename,), (far,), ())
    else:
        assert (report.deleted, report.by_hand, report.kept) == ((), (here, far), ())


@pytest.mark.long
@pytest.mark.usefixtures("bundle")
async def test_one_catalogue_has_an_appliance_on_several_computes(pair: Pair, tmp_path: Path) -> None:
    site = TestSite(tmp_path, {"here": {"url": pair.main.url}}, {"here": pair.main}, name="computes")
    image = site.image("web")
    near, far = f"near-{site.tag}", f"far-{site.tag}"
    site.appliances = [{"name": near, "image": image}, {"name": far, "image": image, "compute": pair.compute_id}]
    try:
        shown = await site.sync()
        assert shown.status == 0, shown.err
        templates = {name: await site.template("here", name) for name in (near, far)}
        assert [t and t.compute_id for t in templates.values()] == ["local", pair.compute_id]
        disk = there.hda_disk_image if (there := templates[far]) else ""
        # API v3 keeps all images in one place.
        assert (pair.far.images / disk).exists() == (pair.main.generation == 2)
        assert f"{disk} for compute {pair.compute_id}" in shown.out
        for verify in (False, True):
            report = (await site.synced(verify=verify))["here"]
            assert outcomes(report) == {"near": "unchanged", "far": "unchanged"}
        if pair.main.generation == 3:
            # As API v3 does it when the first node is made there.
            pair.put_on_far(disk, (pair.main.images / disk).read_bytes())
            assert disk in {image["filename"] for image in pair.far_images()}
        # Of the same size, and hashed already.
        damaged = pair.far.images / disk
        damaged.write_bytes(damaged.read_bytes()[::-1])
        verified = await site.sync("--verify")
        if pair.main.generation == 3:
            assert verified.status == 3 and f"has a different file named {disk}" in verified.err, verified.err
        else:
            assert verified.status == 0 and f"update     template {far}" in verified.out, verified.out + verified.err
    finally:
        await site.clean()


@pytest.mark.usefixtures("bundle")
async def test_a_compute_that_is_not_there_is_told_with_those_that_are(pair: Pair) -> None:
    words = ("register", "busybox-minivm", "--compute", "nonsense", "--as", "nowhere", "--server", pair.main.url)
    finished = await gns3_minivm(*words)
    assert finished.status == 2
    assert "there is no compute 'nonsense'" in finished.err and f"{pair.compute_id} (far)" in finished.err


async def test_doctor_tells_of_each_compute(pair: Pair) -> None:
    finished = await gns3_minivm("doctor", "--server", pair.main.url, "--json")
    findings = json.loads(finished.out.splitlines()[-1])["places"][1]["findings"]
    told = [finding["message"] for finding in findings if finding["check"] == "acceleration"]
    assert len(told) == 2 and any("compute far" in message for message in told), findings


async def node_of(
    main: Server, pair: Pair, disk: str, kernel: str = "", initrd: str = ""
) -> tuple[dict[str, str], str]:
    """The md5s of a node that is made on the other compute, and its project."""
    template = QemuTemplate(
        template_id=str(uuid.uuid4()),
        name=f"vm-{uuid.uuid4().hex[:8]}",
        hda_disk_image=disk,
        kernel_image=kernel,
        initrd=initrd,
        ram_mb=32,
        options="-cpu Nehalem",
        on_close="power_off",
        compute_id=pair.compute_id,
    )
    await main.create_template(template)
    project = await main.create_project(f"lab-{uuid.uuid4().hex[:8]}")
    try:
        node = await main.create_node(project.project_id, template.template_id, name="pc-1")
    finally:
        await main.delete_template(template.template_id)
    assert node.compute_id == pair.compute_id
    return node.image_md5s, project.project_id
