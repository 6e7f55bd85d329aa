"""The agent on real servers of both generations: plan, apply, and a second run that finds nothing to do."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gns3_minivm.agent.apply import ApplianceResult, apply, at_hand
from gns3_minivm.agent.desired import MARK, DesiredAppliance, WantedFile, is_ours, template_id
from gns3_minivm.agent.observe import observe
from gns3_minivm.agent.plan import Conflict, CreateTemplate, Plan, Unchanged, UpdateTemplate, Upload, plan
from gns3_minivm.base.artifacts import Artifact, Kind
from gns3_minivm.base.errors import BugError, ConflictError, ConnectError, LoginError, UsageError
from gns3_minivm.base.events import Event, Events, StepFinished, StepStarted
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.on_each import on_each
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import ConnectionLimits
from tests.support import faults
from tests.support.blobs import random_artifact
from tests.support.faults import faulty
from tests.support.gns3 import GNS3Process, free_port

pytestmark = pytest.mark.either_generation


@dataclass(frozen=True)
class Case:
    """An appliance of three files, wanted on one server."""

    client: Server
    process: GNS3Process
    folder: Path
    desired: DesiredAppliance
    sources: dict[str, Artifact]

    async def plan(self, desired: DesiredAppliance | None = None, *, verify: bool = False, adopt: bool = False) -> Plan:
        wanted = [desired or self.desired]
        observed = await observe(self.client, wanted, verify=verify)
        return plan(observed, observed.desired, adopt=adopt)

    async def register(self, desired: DesiredAppliance | None = None) -> ApplianceResult:
        [result] = await apply(self.client, await self.plan(desired), at_hand(self.sources), Events())
        return result

    def known(self) -> DesiredAppliance:
        """The same once all files are built."""
        return replace(self.desired, files=tuple(WantedFile.of(source) for source in self.sources.values()))

    async def template(self) -> QemuTemplate:
        found = await self.client.template(self.desired.template.template_id)
        assert found is not None and found.values is not None
        return found.values


@pytest.fixture
async def case(client: Server, gns3_server: GNS3Process, tmp_path: Path) -> AsyncIterator[Case]:
    name = f"vm-{uuid.uuid4().hex[:8]}"
    disk = random_artifact(tmp_path, Kind.DISK, stem=name)
    kernel = random_artifact(tmp_path, Kind.KERNEL, stem="vmlinuz")
    initrd = random_artifact(tmp_path, Kind.INITRD, stem="initrd")
    template = QemuTemplate(
        template_id=template_id(name),
        name=name,
        hda_disk_image=disk.filename,
        kernel_image=kernel.filename,
        initrd=initrd.filename,
        usage="Say hello.",
    )
    sources = {artifact.filename: artifact for artifact in (disk, kernel, initrd)}
    # As ops does it before anything is built: names from the recipe, contents not known yet.
    desired = DesiredAppliance(template=template, files=tuple(WantedFile(filename) for filename in sources))
    yield Case(client, gns3_server, tmp_path, desired, sources)
    for found in await client.templates():
        if found.name == name:
            await client.delete_template(found.template_id)


async def test_the_first_run_uploads_and_creates_and_the_second_finds_nothing_to_do(case: Case) -> None:
    first = await case.plan()
    names = tuple(case.sources)
    assert first.appliances[0].actions == (
        *(Upload(filename=name, size_bytes=None, compute_id="local") for name in names),
        CreateTemplate(case.desired.template),
    )
    seen: list[Event] = []
    [result] = await apply(case.client, first, at_hand(case.sources), Events(seen.append))
    assert (result.outcome, result.uploaded, result.error) == ("created", names, None)
    titles = [event.title for event in seen if isinstance(event, StepStarted)]
    url = case.process.bare_url
    assert titles == [
        *(f"Upload {name} to {url}" for name in names),
        f"Create template {case.desired.name} on {url}",
    ]
    assert {event.outcome for event in seen if isinstance(event, StepFinished)} == {"done"}
    assert await case.template() == case.desired.template
    for name, artifact in case.sources.items():
        assert (case.process.images / name).read_bytes() == artifact.path.read_bytes()
    second = await case.plan()
    assert second.nothing_to_do
    [again] = await apply(case.client, second, at_hand({}), Events())
    assert (again.outcome, again.uploaded) == ("unchanged", ())


async def test_our_templates_carry_the_mark_and_others_do_not(case: Case) -> None:
    await case.register()
    found = {item.name: item for item in await case.client.templates()}
    assert is_ours(found[case.desired.name])
    assert not is_ours(found["Cloud"])
    assert (await case.template()).usage == f"Say hello.\n\n{MARK}"


async def test_only_changed_fields_are_updated(case: Case) -> None:
    await case.register()
    wanted = replace(case.desired, template=replace(case.desired.template, ram_mb=512, options="-cpu max"))
    action = (await case.plan(wanted)).appliances[0].template
    assert isinstance(action, UpdateTemplate)
    assert action.changes == {"ram_mb": (256, 512), "options": ("", "-cpu max")}
    result = await case.register(wanted)
    assert (result.outcome, result.uploaded, result.changes) == ("updated", (), action.changes)
    assert await case.template() == wanted.template
    assert (await case.plan(wanted)).nothing_to_do


async def test_a_new_disk_moves_the_template_on_and_keeps_the_old_file(case: Case) -> None:
    await case.register()
    old = case.desired.template.hda_disk_image
    disk = random_artifact(case.folder)
    case.sources[disk.filename] = disk
    wanted = case.desired.with_filename(old, disk.filename)
    assert [upload.filename for upload in (await case.plan(wanted)).uploads] == [disk.filename]
    result = await case.register(wanted)
    assert (result.outcome, result.uploaded) == ("updated", (disk.filename,))
    assert (await case.template()).hda_disk_image == disk.filename
    assert (case.process.images / old).read_bytes() == case.sources[old].path.read_bytes()


async def test_an_agent_with_another_kernel_leaves_the_template_its_own_unless_it_is_stated(case: Case) -> None:
    await case.register()
    old = case.desired.template
    kernel, initrd = random_artifact(case.folder, Kind.KERNEL), random_artifact(case.folder, Kind.INITRD)
    case.sources.update({artifact.filename: artifact for artifact in (kernel, initrd)})
    other = case.desired.with_filename(old.kernel_image, kernel.filename).with_filename(old.initrd, initrd.filename)
    found = await case.plan(other)
    action = found.appliances[0].template
    assert found.nothing_to_do and isinstance(action, Unchanged)
    assert action.left["kernel_image"] == (old.kernel_image, kernel.filename)
    result = await case.register(replace(other, kernel_stated=True))
    assert (result.outcome, result.uploaded) == ("updated", (kernel.filename, initrd.filename))
    # The first agent again, with the kernel that it has.
    assert (await case.plan()).nothing_to_do
    assert (await case.template()).kernel_image == kernel.filename


async def test_a_template_is_not_moved_to_another_compute(case: Case) -> None:
    await case.register()
    anywhere = replace(case.desired, template=replace(case.desired.template, compute_id=None))
    observed = await observe(case.client, [anywhere], compute="elsewhere")
    action = plan(observed, observed.desired).appliances[0].template
    assert isinstance(action, Unchanged) and action.left == {"compute_id": ("local", "elsewhere")}


async def test_fields_that_belong_to_the_user_are_shown_and_left_alone(case: Case) -> None:
    await case.register()
    await case.client.update_template(case.desired.template.template_id, {"name": "renamed", "ram_mb": 99})
    wanted = replace(case.desired, user_fields=frozenset({"name", "symbol"}))
    action = (await case.plan(wanted)).appliances[0].template
    assert isinstance(action, UpdateTemplate)
    assert (dict(action.changes), dict(action.left)) == ({"ram_mb": (99, 256)}, {"name": ("renamed", wanted.name)})
    await case.register(wanted)
    assert await case.template() == replace(wanted.template, name="renamed")
    unchanged = (await case.plan(wanted)).appliances[0].template
    assert unchanged == Unchanged(wanted.template.template_id, "renamed", {"name": ("renamed", wanted.name)})
    await case.register()
    assert await case.template() == case.desired.template


async def test_a_foreign_template_of_the_same_name_is_a_conflict_and_nothing_is_touched(case: Case) -> None:
    foreign = QemuTemplate(template_id=str(uuid.uuid4()), name=case.desired.name)
    await case.client.create_template(foreign)
    found = await case.plan()
    assert [type(action) for action in found.appliances[0].actions] == [Conflict]
    assert found.uploads == ()
    assert foreign.template_id in found.conflicts[0].message
    result = await case.register()
    assert result.outcome == "failed" and isinstance(result.error, ConflictError)
    assert "is not ours" in result.error.message and result.error.hint
    assert await case.client.template(case.desired.template.template_id) is None
    assert not [image for image in await case.client.images() if image.filename in case.sources]


async def test_a_damaged_file_that_nothing_uses_is_replaced(case: Case) -> None:
    name, artifact = next(iter(case.sources.items()))
    theirs = random_artifact(case.folder)
    await case.client.upload_image(theirs.path, name, theirs.size_bytes, theirs.md5)
    known = case.known()
    [damaged, *_] = (await case.plan(known)).uploads
    assert (damaged.source, damaged.damaged) == (name, name) and damaged.filename != name
    result = await case.register(known)
    assert result.error is None and result.uploaded[0] == name
    assert (case.process.images / name).read_bytes() == artifact.path.read_bytes()
    assert (await case.template()).hda_disk_image == name
    assert (await case.plan(known)).nothing_to_do


async def test_a_damaged_file_that_a_template_uses_stays_and_ours_is_sent_under_another_name(case: Case) -> None:
    name, artifact = next(iter(case.sources.items()))
    theirs = random_artifact(case.folder)
    await case.client.upload_image(theirs.path, name, theirs.size_bytes, theirs.md5)
    user = QemuTemplate(template_id=str(uuid.uuid4()), name=f"user-of-{name}", hda_disk_image=name)
    await case.client.create_template(user)
    try:
        result = await case.register(case.known())
        other = f"{name}-2"
        assert result.error is None and result.uploaded[0] == other
        assert (case.process.images / name).read_bytes() == theirs.path.read_bytes()
        assert (case.process.images / other).read_bytes() == artifact.path.read_bytes()
        assert (await case.template()).hda_disk_image == other
        # With the content known, and with an empty cache.
        assert (await case.plan(case.known())).nothing_to_do
        assert (await case.plan()).nothing_to_do
    finally:
        await case.client.delete_template(user.template_id)


async def test_an_agent_that_comes_late_to_a_repair_takes_what_the_first_one_has_sent(case: Case) -> None:
    await case.register()
    name, artifact = next(iter(case.sources.items()))
    path, known = case.process.images / name, case.known()
    damaged = artifact.path.read_bytes()[::-1]
    path.write_bytes(damaged)
    planned = [await case.plan(known, verify=True) for _ in range(2)]
    for found, outcome, sent in zip(planned, ("updated", "unchanged"), ((f"{name}-2",), ()), strict=True):
        [result] = await apply(case.client, found, at_hand(case.sources), Events())
        assert (result.error, result.outcome, result.uploaded) == (None, outcome, sent)
    assert path.read_bytes() == damaged
    assert (await case.template()).hda_disk_image == f"{name}-2"
    assert (await case.plan(known, verify=True)).nothing_to_do


async def test_an_adoption_that_is_interrupted_gives_the_name_back(case: Case) -> None:
    foreign = QemuTemplate(template_id=str(uuid.uuid4()), name=case.desired.name, usage="Theirs.")
    await case.client.create_template(foreign)
    async with faulty(case.process) as front, await connect(parse_address(front.url)) as server:
        rule = front.on(r"^POST /v\d/templates$", faults.stand_still)
        found = await case.plan(adopt=True)
        task = asyncio.create_task(apply(server, found, at_hand(case.sources), Events()))
        while not rule.met:
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    there = await case.client.template(foreign.template_id)
    assert there is not None and there.values == foreign
    assert await case.client.template(case.desired.template.template_id) is None
    [result] = await apply(case.client, await case.plan(adopt=True), at_hand(case.sources), Events())
    assert result.outcome == "adopted", result.error
    assert await case.client.template(foreign.template_id) is None


async def test_content_that_the_server_has_under_another_name_is_used_where_it_must_be(case: Case) -> None:
    name, artifact = next(iter(case.sources.items()))
    other = f"other-{name}"
    await case.client.upload_image(artifact.path, other, artifact.size_bytes, artifact.md5)
    result = await case.register()
    assert result.outcome == "created"
    expected = other if case.client.one_name_per_content else name
    assert (await case.template()).hda_disk_image == expected
    # Once built, the md5 is known, and the next run finds the other name by it.
    known = case.known()
    assert (await case.plan(known)).nothing_to_do
    assert (await case.register(known)).outcome == "unchanged"


async def test_an_initrd_that_was_taken_away_is_sent_again(case: Case) -> None:
    await case.register()
    initrd = case.desired.template.initrd
    if case.client.generation == 2:
        (case.process.images / initrd).unlink()
    else:
        # As a prune does it: API v3 does not see that a template uses this file.
        await case.client._transport.send("DELETE", f"/v3/images/QEMU/{initrd}", "delete an image")
    found = await case.plan()
    assert found.appliances[0].actions[0] == Upload(filename=initrd, size_bytes=None, compute_id="local")
    assert isinstance(found.appliances[0].template, Unchanged)
    assert (await case.register()).uploaded == (initrd,)
    assert (await case.plan()).nothing_to_do
    assert await case.template() == case.desired.template


@pytest.mark.parametrize("gns3_server", ["v2"], indirect=True)
async def test_a_stale_checksum_is_no_conflict(case: Case) -> None:
    await case.register()
    for name in case.sources:
        (case.process.images / f"{name}.md5sum").write_text("0" * 32)
    known = case.known()
    assert (await case.plan(known)).nothing_to_do


async def test_two_agents_at_once_make_no_duplicates(case: Case) -> None:
    address = parse_address(case.process.url)

    async def agent() -> ApplianceResult:
        async with await connect(address) as server:
            wanted = [case.desired]
            found = plan(await observe(server, wanted), wanted)
            [result] = await apply(server, found, at_hand(case.sources), Events())
            return result

    results = await asyncio.gather(agent(), agent())
    assert [result.error for result in results] == [None, None]
    assert [item.name for item in await case.client.templates()].count(case.desired.name) == 1
    assert await case.template() == case.desired.template
    for name, artifact in case.sources.items():
        assert (case.process.images / name).read_bytes() == artifact.path.read_bytes()


async def test_a_value_that_the_server_would_not_take_is_told_before_anything_is_built(case: Case) -> None:
    wrong = replace(case.desired, template=replace(case.desired.template, adapter_type="virtio-net-device"))
    with pytest.raises(UsageError, match="adapter_type = 'virtio-net-device'"):
        await case.plan(wrong)


async def test_an_appliance_that_fails_does_not_stop_the_others(case: Case) -> None:
    other = f"{case.desired.name}-b"
    good = DesiredAppliance(template=QemuTemplate(template_id=template_id(other), name=other), files=())
    wanted = [case.desired, good]
    found = plan(await observe(case.client, wanted), wanted)
    failed, created = await apply(case.client, found, at_hand({}), Events())
    assert isinstance(failed.error, BugError)
    assert created.outcome == "created"
    await case.client.delete_template(good.template.template_id)


async def test_one_failing_server_does_not_stop_the_others(gns3_v2: GNS3Process, gns3_v3: GNS3Process) -> None:
    async def work(server: Server) -> int:
        if server.generation == 2:
            raise RuntimeError("a defect")
        return len(await server.templates())

    addresses = [
        parse_address(f"http://127.0.0.1:{free_port()}"),
        parse_address(gns3_v2.url),
        parse_address(gns3_v3.bare_url, username="admin", password="wrong"),
        parse_address(gns3_v3.url),
    ]
    outcomes = await on_each(addresses, work, limits=ConnectionLimits(backoff_s=0.01))
    assert [outcome.address for outcome in outcomes] == addresses
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [ConnectError, BugError, LoginError, type(None)]
    assert outcomes[3].value is not None and outcomes[3].value > 0
