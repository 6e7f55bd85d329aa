"""The transport against a local server that refuses, drops, stalls and talks nonsense."""

from __future__ import annotations

import asyncio
import datetime
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from gns3_minivm.base import errors
from gns3_minivm.base.errors import ConfigError, MiniVMError
from gns3_minivm.gns3 import images, uploads
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.transport import ConnectionLimits, Transport
from tests.support.fake_gns3 import FakeGNS3, Handler, drop, fake_gns3, reply, text

# What stands still is given up after this; what only is slow, on a busy machine, is not.
QUICK = ConnectionLimits(connect_s=5, answer_s=1.5, node_s=1.5, listing_s=1.5, stall_s=1, backoff_s=0.01)


@pytest.fixture
async def fake() -> AsyncIterator[FakeGNS3]:
    async with fake_gns3() as server:
        yield server


@pytest.fixture
async def client(fake: FakeGNS3) -> AsyncIterator[Server]:
    """A logged-in client of the scripted server, API v3."""
    async with await connect(parse_address(fake.url, username="user", password="long-secret"), QUICK) as server:
        fake.seen.clear()
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * 1000)
    return path


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "COLLISION_WAITS_S", (0.01, 0.01))


async def slow(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(4)
    return web.json_response([])


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (reply({"message": "Not your business"}, 403), errors.ForbiddenError, "HTTP 403: Not your business"),
        (reply({"message": "No such thing"}, 404), errors.NotFoundError, "HTTP 404: No such thing"),
        (reply({"message": "In use"}, 409), errors.ConflictError, "HTTP 409: In use"),
        (text("<title>Too Large</title>", 413), errors.RejectedError, "HTTP 413: Too Large"),
        (reply({"detail": [{"loc": ["body", "x"], "msg": "bad"}]}, 422), errors.RejectedError, "HTTP 422: x: bad"),
        (reply({"message": "Oops"}, 500), errors.ServerFaultError, "HTTP 500: Oops"),
        (text("<html>hello</html>"), errors.ServerFaultError, "not JSON"),
        (text("[" * 200_000), errors.ServerFaultError, "not JSON"),
        (text("[" * 200_000, 500), errors.ServerFaultError, "HTTP 500: [["),
        (reply({"a": 1}), errors.ServerFaultError, "dict, not a list"),
        (reply([1]), errors.ServerFaultError, "not a list of objects"),
        (reply([{"template_id": 5}]), errors.ServerFaultError, "template_id"),
        (drop, errors.ConnectError, "closed it without a reply"),
        (slow, errors.ConnectError, "it did not answer in time"),
        (text("", 302), errors.RejectedError, "HTTP 302"),
    ],
)
async def test_what_goes_wrong_is_told_in_our_words_and_the_servers(
    client: Server, fake: FakeGNS3, handler: object, kind: type[MiniVMError], words: str
) -> None:
    fake.on("GET /v3/templates", handler)  # type: ignore[arg-type]
    with pytest.raises(kind) as caught:
        await client.templates()
    assert type(caught.value) is kind
    assert words in caught.value.message and caught.value.hint
    assert "long-secret" not in caught.value.message


async def test_a_broken_connection_and_a_restart_are_tried_again(client: Server, fake: FakeGNS3) -> None:
    fake.on("GET /v3/templates", drop, reply(None, 503), reply([]))
    assert await client.templates() == []
    assert len(fake.seen) == 3


async def test_after_three_tries_it_is_told(client: Server, fake: FakeGNS3) -> None:
    fake.on("GET /v3/templates", text("<title>Bad Gateway</title>", 502))
    with pytest.raises(errors.ServerFaultError, match="Bad Gateway"):
        await client.templates()
    assert len(fake.seen) == 3


async def test_what_is_not_idempotent_is_sent_once(client: Server, fake: FakeGNS3) -> None:
    fake.on("POST /v3/projects", drop)
    with pytest.raises(errors.ConnectError):
        await client.create_project("x")
    assert len(fake.seen) == 1


async def test_a_refused_token_is_renewed_once_and_the_request_repeated(client: Server, fake: FakeGNS3) -> None:
    fake.on("POST /v3/access/users/authenticate", reply({"access_token": "t2"}))
    fake.on("POST /v3/projects", reply({"message": "expired"}, 401), reply({"project_id": "p", "name": "x"}, 201))
    assert (await client.create_project("x")).project_id == "p"
    assert fake.seen == [
        "POST /v3/projects Bearer t1",
        "POST /v3/access/users/authenticate Bearer t1",
        "POST /v3/projects Bearer t2",
    ]


async def test_a_token_that_is_refused_for_good_is_a_login_error(client: Server, fake: FakeGNS3) -> None:
    fake.on("GET /v3/templates", reply({"message": "Not an active user"}, 401))
    with pytest.raises(errors.LoginError, match="Not an active user"):
        await client.templates()
    assert len(fake.seen) == 3


async def test_a_password_that_was_changed_meanwhile_is_a_login_error(client: Server, fake: FakeGNS3) -> None:
    fake.on("GET /v3/templates", reply({"message": "expired"}, 401))
    fake.on("POST /v3/access/users/authenticate", reply({"message": "no"}, 401))
    with pytest.raises(errors.LoginError, match="refuses this user name and password"):
        await client.templates()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply({"message": "too big"}, 413), errors.RejectedError),
        (reply({"message": "No space left on device"}, 409), errors.ConflictError),
        (drop, errors.ConnectError),
    ],
)
async def test_a_refused_upload_ends_soon(
    client: Server, fake: FakeGNS3, tmp_path: Path, answer: object, kind: type[MiniVMError]
) -> None:
    source = tmp_path / "disk"
    source.write_bytes(bytes(20_000_000))
    fake.on("GET /v3/images", reply([]))
    fake.on("POST /v3/images/upload/QEMU/disk", answer)  # type: ignore[arg-type]
    with pytest.raises(kind):
        await client.upload_image(source, "disk", 20_000_000, "0" * 32)


async def test_an_upload_that_does_not_move_is_given_up(client: Server, fake: FakeGNS3, tmp_path: Path) -> None:
    given_up = asyncio.Event()

    async def deaf(_request: web.Request) -> web.StreamResponse:
        await given_up.wait()
        return web.json_response({})

    source = tmp_path / "disk"
    source.write_bytes(bytes(50_000_000))
    fake.on("GET /v3/images", reply([]))
    fake.on("POST /v3/images/upload/QEMU/disk", deaf)
    started = time.monotonic()
    with pytest.raises(errors.ConnectError, match="could not upload disk: it did not answer in time"):
        await client.upload_image(source, "disk", 50_000_000, "0" * 32)
    given_up.set()
    assert time.monotonic() - started < 7


async def test_an_upload_that_moves_slowly_has_no_time_limit(client: Server, fake: FakeGNS3, tmp_path: Path) -> None:
    size = 48_000_000
    record = {"filename": "disk", "image_size": size, "checksum": "0" * 32}

    async def patient(request: web.Request) -> web.StreamResponse:
        # What the system has taken counts as sent: of 48 MB, it would keep most here.
        assert request.transport is not None
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        for _ in range(12):
            await request.content.readexactly(4_000_000)
            await asyncio.sleep(0.2)
        fake.on("GET /v3/images/QEMU/disk", reply(record))
        return web.json_response(record, status=201)

    source = tmp_path / "disk"
    source.write_bytes(bytes(size))
    fake.on("GET /v3/images", reply([]))
    fake.on("POST /v3/images/upload/QEMU/disk", patient)
    started = time.monotonic()
    assert (await client.upload_image(source, "disk", size, "0" * 32)).sent
    # Well beyond every limit that ordinary requests have here.
    assert time.monotonic() - started > 2 * QUICK.stall_s


async def test_a_server_that_is_long_in_looking_at_its_disk_gets_the_upload_all_the_same(
    client: Server, fake: FakeGNS3, tmp_path: Path
) -> None:
    source = tmp_path / "disk"
    source.write_bytes(b"x" * 1000)
    record = {"filename": "disk", "image_size": 1000, "checksum": "0" * 32}
    fake.on("GET /v3/images", reply([]))
    fake.on("GET /v3/images/QEMU/disk", reply({"message": "none"}, 404), reply(record))
    fake.on("GET /v3/computes/local/qemu/images", slow)
    fake.on("POST /v3/images/upload/QEMU/disk", reply(record, 201))
    assert (await client.upload_image(source, "disk", 1000, "0" * 32)).sent


@pytest.mark.usefixtures("short_waits")
async def test_an_upload_that_arrives_otherwise_is_an_upload_error(
    client: Server, fake: FakeGNS3, source: Path
) -> None:
    wrong = {"filename": "disk", "image_size": 1000, "checksum": "1" * 32}
    fake.on("GET /v3/images", reply([]))
    fake.on("GET /v3/images/QEMU/disk", reply({"message": "none"}, 404), reply(wrong))
    fake.on("POST /v3/images/upload/QEMU/disk", reply(wrong, 201))
    with pytest.raises(errors.UploadError, match="did not arrive intact") as caught:
        await client.upload_image(source, "disk", 1000, "0" * 32)
    assert "1" * 32 in caught.value.message and caught.value.hint


@pytest.mark.parametrize(("on_disk", "right"), [(1000, True), (700, False)])
@pytest.mark.usefixtures("short_waits")
async def test_v3_a_size_that_was_recorded_while_another_agent_wrote_is_looked_up_on_the_disk(
    client: Server, fake: FakeGNS3, source: Path, on_disk: int, right: bool
) -> None:
    record = {"filename": "disk", "image_size": 300, "checksum": "0" * 32}
    there = {"filename": "disk", "filesize": on_disk, "md5sum": "0" * 32}
    fake.on("GET /v3/images", reply([]), reply([record]))
    fake.on("GET /v3/images/QEMU/disk", reply({"message": "none"}, 404), reply(record))
    fake.on("POST /v3/images/upload/QEMU/disk", reply(record, 201))
    fake.on("GET /v3/computes/local/qemu/images", reply([]), reply([{**there, "filesize": 500}]), reply([there]))
    for error in (errors.UploadError, errors.ConflictError):
        if right:
            assert (await client.upload_image(source, "disk", 1000, "0" * 32)).filename == "disk"
        else:
            with pytest.raises(error, match="300 bytes"):
                await client.upload_image(source, "disk", 1000, "0" * 32)


@pytest.mark.parametrize("on_disk", ["0" * 32, "2" * 32])
@pytest.mark.usefixtures("short_waits")
async def test_v3_a_wrong_record_is_made_anew_only_where_the_file_is_right(
    client: Server, fake: FakeGNS3, source: Path, on_disk: str
) -> None:
    wrong = {"filename": "disk", "image_size": 300, "checksum": "1" * 32}
    right = {"filename": "disk", "image_size": 1000, "checksum": "0" * 32}
    none = reply({"message": "none"}, 404)
    fake.on("GET /v3/images", reply([]))
    # Free; as the server's look-out recorded it; the same again before it is deleted; free; as it was sent.
    fake.on("GET /v3/images/QEMU/disk", none, reply(wrong), reply(wrong), none, reply(right))
    fake.on("DELETE /v3/images/QEMU/disk", reply({}))
    fake.on(
        "POST /v3/images/upload/QEMU/disk",
        reply({"message": "No such file or directory: disk.tmp"}, 409),
        reply(right, 201),
    )
    there = {"filename": "disk", "filesize": 1000, "md5sum": on_disk}
    fake.on("GET /v3/computes/local/qemu/images", reply([]), reply([there]), reply([]))
    if on_disk == right["checksum"]:
        assert (await client.upload_image(source, "disk", 1000, "0" * 32)).sent
        assert fake.count("DELETE /v3/images/QEMU/disk") == 1
    else:
        fake.on("GET /v3/images/QEMU/disk", none, reply(wrong))
        with pytest.raises(errors.ConflictError, match="a different image disk exists already"):
            await client.upload_image(source, "disk", 1000, "0" * 32)
        assert fake.count("DELETE /v3/images/QEMU/disk") == 0


@pytest.mark.parametrize(("seconds", "waited_for"), [(5, True), (3600, False)])
@pytest.mark.usefixtures("short_waits")
async def test_v3_agents_have_time_to_put_a_young_record_right(
    client: Server, fake: FakeGNS3, tmp_path: Path, seconds: int, waited_for: bool
) -> None:
    made = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
    # As GNS3 writes it: UTC, without saying so.
    made_at = made.replace(tzinfo=None).isoformat()
    wrong = {"filename": "disk", "image_size": 300, "checksum": "1" * 32, "created_at": made_at}
    right = {"filename": "disk", "image_size": 1000, "checksum": "0" * 32, "created_at": made_at}
    fake.on("GET /v3/images/QEMU/disk", reply(wrong), reply(wrong), reply(right))
    if waited_for:
        assert not (await client.upload_image(tmp_path / "disk", "disk", 1000, "0" * 32)).sent
    else:
        with pytest.raises(errors.ConflictError, match="a different image disk exists already"):
            await client.upload_image(tmp_path / "disk", "disk", 1000, "0" * 32)


@pytest.mark.parametrize("sizes", [(100, 300, 600), (100, 100, 100)])
async def test_v3_the_upload_of_another_agent_is_waited_for_while_it_moves(
    client: Server, fake: FakeGNS3, source: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setattr(uploads, "_POLL_S", 0.01)
    monkeypatch.setattr(uploads, "_POLLS_WITHOUT_GROWTH", 2)
    right = {"filename": "disk", "image_size": 1000, "checksum": "0" * 32}
    fake.on("GET /v3/images", reply([]))
    fake.on("GET /v3/images/QEMU/disk", reply({"message": "none"}, 404), reply(right))
    fake.on("POST /v3/images/upload/QEMU/disk", reply(right, 201))
    parts = [reply([{"filename": "disk.tmp", "filesize": size, "md5sum": "3" * 32}]) for size in sizes]
    moves = len(set(sizes)) > 1
    fake.on("GET /v3/computes/local/qemu/images", *parts, *([reply([])] if moves else []))
    assert (await client.upload_image(source, "disk", 1000, "0" * 32)).sent != moves
    assert fake.count("POST /v3/images/upload/QEMU/disk") == (0 if moves else 1)


@pytest.mark.parametrize(
    ("sizes", "sends"),
    [
        # Another agent is still writing what it has brought.
        ([300, 700, 1000], 0),
        # Two at once: ours is told that its temporary file is gone, and the other's is there a moment later.
        ([None, None, 300, 1000], 1),
    ],
)
@pytest.mark.usefixtures("short_waits")
async def test_v2_agents_that_bring_a_file_at_once_wait_for_each_other(
    source: Path, sizes: list[int | None], sends: int
) -> None:
    md5s = {300: "1" * 32, 700: "2" * 32, 1000: "0" * 32}
    looks = [[{"filename": "disk", "filesize": size, "md5sum": md5s[size]}] if size else [] for size in sizes]
    async with fake_gns3(2) as fake:
        fake.on("GET /v2/computes/local/qemu/images", *map(reply, looks))
        fake.on("POST /v2/computes/local/qemu/images/disk", reply({"message": "[Errno 2] No such file"}, 409))
        async with await connect(parse_address(fake.url), QUICK) as client:
            done = await client.upload_image(source, "disk", 1000, "0" * 32)
        assert done.sent == bool(sends)
        assert fake.count("POST /v2/computes/local/qemu/images/disk") == sends


@pytest.mark.parametrize("message", ["No such file or directory", "No space left on device"])
@pytest.mark.usefixtures("short_waits")
async def test_v2_a_file_that_never_arrives_is_told_with_the_servers_words(source: Path, message: str) -> None:
    async with fake_gns3(2) as fake:
        fake.on("GET /v2/computes/local/qemu/images", reply([]))
        fake.on("POST /v2/computes/local/qemu/images/disk", reply({"message": message}, 409))
        async with await connect(parse_address(fake.url), QUICK) as client:
            with pytest.raises(errors.ConflictError, match=message):
                await client.upload_image(source, "disk", 1000, "0" * 32)
        tries = 3 if "No such file" in message else 1
        assert fake.count("POST /v2/computes/local/qemu/images/disk") == tries


@pytest.mark.parametrize("generation", [2, 3])
async def test_a_temporary_file_that_goes_away_while_images_are_listed_is_no_fault(
    generation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_VANISHED_WAITS_S", (0.01, 0.02))
    vanished = reply({"message": "Can not list images [Errno 2] No such file or directory: 'web.qcow2.tmp'"}, 409)
    image = {"filename": "web.qcow2", "filesize": 5, "md5sum": "0" * 32}
    async with fake_gns3(generation) as fake:
        route = f"GET /v{generation}/computes/local/qemu/images"
        async with await connect(parse_address(fake.url, username="u", password="p"), QUICK) as client:
            fake.on(route, vanished, vanished, reply([image, {**image, "filename": "other.qcow2.tmp"}]))
            assert [found.filename for found in await client.disk_images()] == ["web.qcow2"]
            fake.on(route, vanished)
            with pytest.raises(errors.ConflictError, match="Can not list images"):
                await client.disk_images()


async def test_progress_starts_anew_when_the_upload_does(client: Server, fake: FakeGNS3, tmp_path: Path) -> None:
    source = tmp_path / "disk"
    source.write_bytes(b"x" * 3_000_000)
    record = {"filename": "disk", "image_size": 3_000_000, "checksum": "0" * 32}

    async def expired(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response({"message": "expired"}, status=401)

    async def arrived(request: web.Request) -> web.StreamResponse:
        assert len(await request.read()) == 3_000_000
        return web.json_response(record, status=201)

    fake.on("GET /v3/images", reply([]))
    fake.on("GET /v3/images/QEMU/disk", reply({"message": "none"}, 404), reply(record))
    fake.on("POST /v3/images/upload/QEMU/disk", expired, arrived)
    moved: list[int] = []
    assert (await client.upload_image(source, "disk", 3_000_000, "0" * 32, moved.append)).sent
    assert sum(moved) == 3_000_000 and min(moved) == -3_000_000


async def test_v3_two_changes_of_a_template_at_once_are_made_one_after_the_other(
    client: Server, fake: FakeGNS3
) -> None:
    route, told = "/v3/templates/t", {"template_id": "t", "name": "x", "template_type": "qemu"}
    stumbles = reply({"message": "Database error detected, please check logs to find details"}, 500)
    fake.on(f"PUT {route}", stumbles, reply(told))
    assert (await client.update_template("t", {"ram_mb": 5})).name == "x"
    fake.on(f"PUT {route}", reply({"message": "Oops"}, 500), reply(told))
    with pytest.raises(errors.ServerFaultError, match="Oops"):
        await client.update_template("t", {"ram_mb": 5})


async def test_a_template_that_another_agent_made_meanwhile_is_taken_as_it_is(client: Server, fake: FakeGNS3) -> None:
    ours = QemuTemplate(template_id="11111111-1111-5111-8111-111111111111", name="vm")
    theirs = {"template_id": ours.template_id, "name": "vm", "template_type": "qemu", "ram": 99}
    route = f"GET /v3/templates/{ours.template_id}"
    for status in (409, 500):
        fake.on("POST /v3/templates", reply({"message": "exists"}, status))
        fake.on(route, reply(theirs))
        found = await client.create_template(ours)
        assert found.values is not None and found.values.ram_mb == 99
        fake.on(route, reply({"message": "none"}, 404))
        with pytest.raises((errors.ConflictError, errors.ServerFaultError), match="exists"):
            await client.create_template(ours)


@pytest.mark.parametrize(
    ("routes", "kind", "words"),
    [
        ({"GET /v2/version": reply({"version": "2.1.21"})}, errors.UnsupportedServerError, "is GNS3 2.1.21"),
        ({"GET /v1/version": reply({"version": "1.5.4"})}, errors.UnsupportedServerError, "is GNS3 1.x"),
        ({}, errors.NotGNS3Error, "not a GNS3 server"),
        ({"GET /v3/version": text("<html>hello</html>")}, errors.NotGNS3Error, "not a GNS3 server"),
        ({"GET /v3/version": reply({"version": 3})}, errors.NotGNS3Error, "not a GNS3 server"),
        ({"GET /v3/version": reply(["3.0.6"])}, errors.NotGNS3Error, "not a GNS3 server"),
        ({"GET /v3/version": reply({"version": "latest"})}, errors.NotGNS3Error, "not a GNS3 server"),
        ({"GET /v3/version": text("", 301)}, errors.RejectedError, "HTTP 301"),
        ({"GET /v3/version": reply({"message": "starting"}, 503)}, errors.ServerFaultError, "starting"),
        ({"GET /v3/version": drop}, errors.ConnectError, "without a reply"),
    ],
)
async def test_what_answers_is_told_apart(routes: dict[str, object], kind: type[MiniVMError], words: str) -> None:
    async with fake_gns3() as fake:
        fake.answers.clear()
        for route, handler in routes.items():
            fake.on(route, handler)  # type: ignore[arg-type]
        with pytest.raises(kind, match=words) as caught:
            await connect(parse_address(fake.url, username="u", password="p"), QUICK)
    assert type(caught.value) is kind and caught.value.hint


async def test_a_login_answer_without_a_token_is_a_fault_of_the_server() -> None:
    async with fake_gns3() as fake:
        fake.on("POST /v3/access/users/authenticate", reply({"token": "x"}))
        with pytest.raises(errors.ServerFaultError, match="no token"):
            await connect(parse_address(fake.url, username="u", password="p"), QUICK)


async def test_v2_gets_its_password_by_basic_authentication() -> None:
    async with fake_gns3(2) as fake:
        fake.on("GET /v2/templates", reply([]))
        async with await connect(parse_address(fake.url, username="ü", password="p:w"), QUICK) as server:
            await server.templates()
    assert fake.seen == [
        "GET /v3/version -",
        "GET /v2/version Basic w7w6cDp3",
        "GET /v2/templates Basic w7w6cDp3",
    ]


@pytest.mark.parametrize(
    ("beside_gui", "computes", "expected"),
    [
        (False, None, "local"),
        (True, {"local": "linux"}, "local"),
        (True, {"local": "linux", "vm": "linux"}, "local"),
        (True, {"local": "win32"}, "local"),
        (True, {"local": "win32", "vm": "linux"}, "vm"),
        (True, {"local": "darwin", "other": "linux", "vm": "linux"}, "vm"),
    ],
)
async def test_nodes_run_in_the_gns3_vm_where_the_server_has_no_qemu(
    beside_gui: bool, computes: dict[str, str] | None, expected: str
) -> None:
    async with fake_gns3(2) as fake:
        fake.on("GET /v2/version", reply({"version": "2.2.61", "local": beside_gui}))
        if computes is not None:
            found = [{"compute_id": name, "capabilities": {"platform": value}} for name, value in computes.items()]
            fake.on("GET /v2/computes", reply(found))
        async with await connect(parse_address(fake.url), QUICK) as server:
            assert await server.default_compute() == expected


@pytest.mark.parametrize(
    ("beside_gui", "local", "vm", "expected"),
    [
        (False, "win32", "linux", "local"),
        (True, "linux", "linux", "local"),
        (True, "darwin", None, "local"),
        (True, "win32", "linux", "vm"),
        (True, "darwin", "linux", "vm"),
    ],
)
async def test_v3_names_the_gns3_vm_which_its_list_of_computes_leaves_out(
    beside_gui: bool, local: str, vm: str | None, expected: str
) -> None:
    async with fake_gns3() as fake:
        fake.on("GET /v3/version", reply({"version": "3.0.6", "local": beside_gui}))
        fake.on("GET /v3/computes", reply([{"compute_id": "other", "name": "far", "connected": True}]))
        fake.on("GET /v3/gns3vm", reply({"enable": vm is not None, "engine": "vmware"}))
        for name, platform in (("local", local), ("vm", vm)):
            fake.on(f"GET /v3/computes/{name}/capabilities/", reply({"version": "3.0.6", "platform": platform}))
        async with await connect(parse_address(fake.url, username="u", password="p"), QUICK) as server:
            assert await server.default_compute() == expected
            known = [compute.compute_id for compute in await server.computes()]
    assert known == (["local", "vm", "other"] if vm else ["local", "other"])


@pytest.mark.parametrize(
    ("settings", "capabilities", "listed"),
    [
        (reply({"detail": "Not Found"}, 404), reply({}), []),
        (reply({"detail": "no right"}, 403), reply({}), []),
        (reply({"enable": True}), reply({"message": "the GNS3 VM does not start"}, 409), [("vm", False)]),
        (reply({"enable": True}), reply({"message": "not configured"}, 404), []),
    ],
)
async def test_v3_a_gns3_vm_that_does_not_answer_hides_no_other_compute(
    settings: Handler, capabilities: Handler, listed: list[tuple[str, bool]]
) -> None:
    async with fake_gns3() as fake:
        fake.on("GET /v3/computes", reply([]))
        fake.on("GET /v3/gns3vm", settings)
        fake.on("GET /v3/computes/vm/capabilities/", capabilities)
        async with await connect(parse_address(fake.url, username="u", password="p"), QUICK) as server:
            found = [(compute.compute_id, compute.connected) for compute in await server.computes()]
    assert found == [("local", True), *listed]


async def test_a_proxy_of_the_environment_is_used_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_gns3() as fake:
        monkeypatch.setenv("http_proxy", fake.url)
        monkeypatch.delenv("no_proxy", raising=False)
        async with await connect(parse_address("http://gns3.invalid", username="u", password="p"), QUICK) as server:
            assert server.version == "3.0.6"
        monkeypatch.setenv("no_proxy", "gns3.invalid")
        with pytest.raises(errors.ConnectError, match="host name is unknown|nothing answers"):
            await connect(parse_address("http://gns3.invalid", username="u", password="p"), QUICK)


@pytest.mark.parametrize(
    "proxy", ["socks5h://user:long-secret@127.0.0.1:1080", "ftp://x", "http://", "http://x:y", "a:::"]
)
def test_a_proxy_that_is_none_is_told_without_its_password(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ConfigError, match="http_proxy does not name an HTTP proxy") as caught:
        Transport(parse_address("http://gns3.invalid"))
    assert "no_proxy" in caught.value.hint and "long-secret" not in str(caught.value)
    for bypass in ("gns3.invalid", "gns3.invalid:3080"):
        monkeypatch.setenv("no_proxy", bypass)
        Transport(parse_address("http://gns3.invalid"))


async def test_a_proxy_whose_host_is_not_known_is_not_taken_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(errors.ConnectError, match="the HTTP proxy's host name is unknown"):
        await connect(parse_address("http://gns3.example"), QUICK)


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("hello")
    for ca_file in (wrong, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=ca_file.name) as caught:
            Transport(parse_address("https://host", ca_file=ca_file))
        assert "--ca-file" in caught.value.hint
