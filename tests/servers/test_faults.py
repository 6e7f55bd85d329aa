"""Real servers behind a bad network: one fails with its own words and a hint, the others finish."""

from __future__ import annotations

import asyncio
import re
import resource
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web

from gns3_minivm.agent.apply import ApplianceResult, apply
from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, template_id
from gns3_minivm.agent.observe import observe
from gns3_minivm.agent.plan import plan
from gns3_minivm.base import errors
from gns3_minivm.base.artifacts import Artifact, Kind
from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.base.events import Events
from gns3_minivm.gns3.address import Address, parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.on_each import ServerOutcome, on_each
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import ConnectionLimits
from tests.support import faults
from tests.support.blobs import random_artifact
from tests.support.faults import FaultyServer, Harm, faulty
from tests.support.gns3 import Generation, GNS3Process, running_gns3

pytestmark = pytest.mark.either_generation

# What stands still is given up after this; what only is slow, on a busy machine, is not.
QUICK = ConnectionLimits(answer_s=20, node_s=20, listing_s=20, stall_s=10, backoff_s=0.05)
TEMPLATES = r"^GET /v\d/templates$"
IMAGES = r"^GET /v\d/(images|computes/local/qemu/images)$"
UPLOAD = r"^POST /v\d/(images/upload|computes/local/qemu/images)/"
CREATE = r"^POST /v\d/templates$"


@dataclass(frozen=True)
class Case:
    """An appliance of two files that two servers shall have: one behind the proxy, and a good one."""

    bad: FaultyServer
    good: GNS3Process
    desired: DesiredAppliance
    sources: dict[str, Artifact]

    async def run(self) -> tuple[ServerOutcome[ApplianceResult], ServerOutcome[ApplianceResult]]:
        """What became of the appliance on the bad server and on the good one."""
        addresses = [parse_address(self.bad.url), parse_address(self.good.url)]
        bad, good = await on_each(addresses, self.register, limits=QUICK)
        return bad, good

    async def register(self, server: Server) -> ApplianceResult:
        async def supply(filename: str) -> Artifact:
            return self.sources[filename]

        planned = plan(await observe(server, [self.desired]), [self.desired])
        [result] = await apply(server, planned, supply, Events())
        return result

    def on_disk(self) -> dict[str, bytes]:
        """The files of this appliance that the bad server has under their final names."""
        folder = self.bad.process.images
        return {name: (folder / name).read_bytes() for name in self.sources if (folder / name).exists()}

    @property
    def contents(self) -> dict[str, bytes]:
        return {name: source.path.read_bytes() for name, source in self.sources.items()}


@pytest.fixture(params=["v2-bad", "v3-bad"])
async def case(
    request: pytest.FixtureRequest, gns3_v2: GNS3Process, gns3_v3: GNS3Process, tmp_path: Path
) -> AsyncIterator[Case]:
    bad, good = (gns3_v2, gns3_v3) if request.param == "v2-bad" else (gns3_v3, gns3_v2)
    name = f"vm-{uuid.uuid4().hex[:8]}"
    disk, initrd = (random_artifact(tmp_path, kind, 2_500_000, stem=f"{kind}") for kind in (Kind.DISK, Kind.INITRD))
    template = QemuTemplate(
        template_id=template_id(name), name=name, hda_disk_image=disk.filename, initrd=initrd.filename
    )
    sources = {artifact.filename: artifact for artifact in (disk, initrd)}
    async with faulty(bad) as front:
        yield Case(
            front, good, DesiredAppliance(template=template, files=tuple(map(WantedFile.of, sources.values()))), sources
        )
    for process in (bad, good):
        async with await connect(parse_address(process.url)) as server:
            if await server.template(template.template_id):
                await server.delete_template(template.template_id)


def error_of(outcome: ServerOutcome[ApplianceResult]) -> MiniVMError | None:
    return outcome.error or (outcome.value.error if outcome.value else None)


NO = "the server says no"
HARMS: dict[str, tuple[Harm, type[MiniVMError], str]] = {
    "401": (faults.status(401), errors.LoginError, NO),
    "403": (faults.status(403), errors.ForbiddenError, NO),
    "404": (faults.status(404), errors.NotFoundError, NO),
    "409": (faults.status(409), errors.ConflictError, NO),
    "413": (faults.status(413, "<html><title>Entity Too Large</title>"), errors.RejectedError, "Entity Too Large"),
    "422": (faults.status(422, '{"detail": [{"loc": ["body", "ram"], "msg": "too much"}]}'), errors.RejectedError,
            "ram: too much"),
    "500": (faults.status(500), errors.ServerFaultError, NO),
    "503": (faults.status(503), errors.ServerFaultError, NO),
    "507": (faults.status(507, '{"message": "No space left on device"}'), errors.ServerFaultError, "No space left"),
    "nonsense": (faults.nonsense(b"\x00<<<"), errors.ServerFaultError, "not JSON"),
    "numbers": (faults.nonsense(b"[1, 2]"), errors.ServerFaultError, "the reply is list"),
    "drops": (faults.drop, errors.ConnectError, "without a reply|broke|closed it"),
    "stands-still": (faults.stand_still, errors.ConnectError, "did not answer in time"),
}  # fmt: skip
PLACES = {
    "templates": (TEMPLATES, "401 403 500 nonsense drops stands-still"),
    "images": (IMAGES, "403 503 nonsense drops stands-still"),
    "upload": (UPLOAD, "401 403 404 409 413 422 500 503 507 nonsense drops stands-still"),
    "create": (CREATE, "401 403 409 422 500 numbers stands-still"),
}


def matrix() -> Iterator[object]:
    """Every harm at every place; what is much alike is left to the long run."""
    for place, (_, harms) in PLACES.items():
        for harm in harms.split():
            alike = harm not in ("500", "nonsense", "drops", *(("413",) if place == "upload" else ()))
            yield pytest.param(place, harm, marks=[pytest.mark.long] if alike else [])


@pytest.mark.parametrize(("place", "harm"), list(matrix()))
async def test_one_bad_server_fails_with_its_words_and_a_hint_and_the_other_one_finishes(
    case: Case, place: str, harm: str
) -> None:
    act, kind, words = HARMS[harm]
    if (place, harm) == ("upload", "nonsense"):
        # What an upload is answered is not believed; nothing has arrived.
        kind, words = errors.UploadError, "did not arrive intact"
    rule = case.bad.on(PLACES[place][0], act)
    bad, good = await case.run()
    assert rule.met
    assert good.value is not None and good.value.outcome == "created", good
    error = error_of(bad)
    assert type(error) is kind and error is not None and error.hint, error
    assert re.search(words, error.message), error.message
    assert error.message.startswith(f"http://127.0.0.1:{case.bad.port}: ")
    # What lies there under a final name is whole; and once the fault is gone, all of it is.
    found = case.on_disk()
    assert found == {name: case.contents[name] for name in found}
    case.bad.heal()
    bad, good = await case.run()
    assert error_of(bad) is None and good.value is not None and good.value.outcome == "unchanged"
    assert case.on_disk() == case.contents


async def test_an_upload_that_breaks_in_the_middle_is_done_again_in_the_same_run(case: Case) -> None:
    rule = case.bad.on(UPLOAD, faults.drop_in_the_middle, times=2)
    bad, _ = await case.run()
    assert rule.met == 2
    assert bad.value is not None and bad.value.outcome == "created" and set(bad.value.uploaded) == set(case.sources)
    assert case.on_disk() == case.contents


async def test_an_upload_that_breaks_every_time_leaves_no_half_file(case: Case) -> None:
    rule = case.bad.on(UPLOAD, faults.drop_in_the_middle)
    bad, good = await case.run()
    assert isinstance(error_of(bad), errors.ConnectError)
    assert rule.met == QUICK.attempts
    assert case.on_disk() == {}
    assert good.value is not None and good.value.outcome == "created"
    async with await connect(parse_address(case.bad.process.url)) as server:
        assert not {image.filename for image in await server.images()} & set(case.sources)


async def test_an_upload_whose_answer_is_lost_is_not_sent_twice(case: Case) -> None:
    rule = case.bad.on(UPLOAD, faults.drop_after_it_was_done)
    bad, _ = await case.run()
    assert bad.value is not None and bad.value.outcome == "created"
    assert rule.met == len(case.sources)


async def test_a_template_whose_creation_gets_no_answer_is_there_once(case: Case) -> None:
    case.bad.on(CREATE, faults.drop_after_it_was_done)
    bad, _ = await case.run()
    assert isinstance(error_of(bad), errors.ConnectError)
    # Sent once: a POST is not repeated blindly.
    assert sum(route.endswith("/templates") and route.startswith("POST") for route in case.bad.seen) == 1
    case.bad.heal()
    bad, _ = await case.run()
    assert bad.value is not None and bad.value.outcome == "unchanged"
    async with await connect(parse_address(case.bad.process.url)) as server:
        assert [t.name for t in await server.templates()].count(case.desired.name) == 1


@pytest.mark.parametrize("place", [TEMPLATES, IMAGES])
async def test_reading_is_tried_again_when_a_connection_breaks(case: Case, place: str) -> None:
    rule = case.bad.on(place, faults.drop, times=QUICK.attempts - 1)
    bad, _ = await case.run()
    assert rule.met == QUICK.attempts - 1
    assert bad.value is not None and bad.value.outcome == "created"


@pytest.mark.parametrize("case", ["v3-bad"], indirect=True)
async def test_v3_a_token_that_runs_out_at_every_step_is_renewed(case: Case) -> None:
    for place in (TEMPLATES, IMAGES, UPLOAD, CREATE):
        case.bad.on(place, faults.status(401, '{"message": "Could not validate credentials"}'), times=1)
    bad, _ = await case.run()
    assert bad.value is not None and bad.value.outcome == "created", bad
    assert case.on_disk() == case.contents


async def test_a_full_disk_is_told_in_the_servers_words(case: Case) -> None:
    pid = case.bad.process.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    try:
        bad, good = await case.run()
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    error = error_of(bad)
    assert error is not None and "File too large" in error.message and error.hint
    assert good.value is not None and good.value.outcome == "created"
    assert case.on_disk() == {}
    assert error_of((await case.run())[0]) is None


async def test_being_cancelled_in_the_middle_of_an_upload_stops_at_once_and_leaves_nothing_half(case: Case) -> None:
    case.bad.on(UPLOAD, faults.stand_still)
    task = asyncio.create_task(case.run())
    while not any("upload" in route or route.startswith("POST") and "qemu/images" in route for route in case.bad.seen):
        await asyncio.sleep(0.05)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < QUICK.stall_s / 2
    assert case.on_disk() == {}


@pytest.mark.parametrize("generation", [2, 3])
async def test_a_server_that_restarts_in_the_middle_fails_alone_and_is_served_afterwards(
    generation: Generation, gns3_v2: GNS3Process, gns3_v3: GNS3Process, tmp_path: Path
) -> None:
    good = gns3_v3 if generation == 2 else gns3_v2
    disk = random_artifact(tmp_path, size_bytes=12_000_000)
    name = f"vm-{uuid.uuid4().hex[:8]}"
    template = QemuTemplate(template_id=template_id(name), name=name, hda_disk_image=disk.filename)
    desired = DesiredAppliance(template=template, files=(WantedFile.of(disk),))
    with running_gns3(generation, tmp_path / "server") as process:
        async with faulty(process) as front:
            case = Case(front, good, desired, {disk.filename: disk})

            async def die(server: FaultyServer, request: web.Request) -> web.StreamResponse:
                process.process.kill()
                process.process.wait()
                return await faults.drop(server, request)

            front.on(UPLOAD, die)
            bad, well = await case.run()
            assert isinstance(error_of(bad), errors.ServerError) and well.value and well.value.outcome == "created"
            assert case.on_disk() == {}
            front.heal()
            with running_gns3(generation, tmp_path / "server", port=process.port) as again:
                case = replace(case, bad=FaultyServer(again, front.session, front.port))
                bad, well = await case.run()
                assert bad.value is not None and bad.value.outcome == "created", bad
                assert case.on_disk() == case.contents
    async with await connect(parse_address(good.url)) as server:
        await server.delete_template(template.template_id)


async def test_a_certificate_that_is_not_trusted_stops_nobody_else(
    gns3_v2: GNS3Process, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    async def count(server: Server) -> int:
        return len(await server.templates())

    with running_gns3(3, tmp_path / "server", certificate=certificate) as process:
        addresses: list[Address] = [parse_address(process.url), parse_address(gns3_v2.url)]
        bad, good = await on_each(addresses, count, limits=QUICK)
    assert isinstance(bad.error, errors.ConnectError) and "certificate is not trusted" in bad.error.message
    assert "--ca-file" in bad.error.hint and good.value
