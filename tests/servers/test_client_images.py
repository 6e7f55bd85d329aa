"""Uploads to real servers: verified, never overwriting, nothing half done under a final name."""

from __future__ import annotations

import asyncio
import os
import resource
import uuid
from contextlib import nullcontext
from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConflictError, ConnectError, HostError, UnsupportedServerError
from gns3_minivm.base.events import no_progress
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate, ServerImage
from gns3_minivm.gns3.server import Server
from tests.support.blobs import random_artifact
from tests.support.gns3 import Generation, GNS3Process, running_gns3


async def find(client: Server, filename: str) -> ServerImage | None:
    return next((image for image in await client.images() if image.filename == filename), None)


async def test_an_upload_arrives_with_its_size_and_md5(
    client: Server, gns3_server: GNS3Process, tmp_path: Path
) -> None:
    blob = random_artifact(tmp_path, size_bytes=5_000_000)
    moved: list[int] = []
    done = await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5, moved.append)
    assert (done.filename, done.sent, sum(moved)) == (blob.filename, True, blob.size_bytes)
    assert await find(client, blob.filename) == ServerImage(
        filename=blob.filename, size_bytes=blob.size_bytes, md5=blob.md5
    )
    assert await client.image_md5(blob.filename) == blob.md5
    assert (gns3_server.images / blob.filename).read_bytes() == blob.path.read_bytes()


async def test_what_is_there_is_not_sent_again(client: Server, tmp_path: Path) -> None:
    blob = random_artifact(tmp_path)
    await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
    moved: list[int] = []
    done = await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5, moved.append)
    assert (done.sent, moved) == (False, [])


async def test_an_image_with_other_bytes_is_left_alone(
    client: Server, gns3_server: GNS3Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other agents would have this time to put right what they have just brought.
    monkeypatch.setattr("gns3_minivm.gns3.uploads.COLLISION_WAITS_S", (0.1, 0.1))
    ours, theirs = random_artifact(tmp_path), random_artifact(tmp_path)
    await client.upload_image(theirs.path, theirs.filename, theirs.size_bytes, theirs.md5)
    with pytest.raises(ConflictError, match="a different image .* exists already") as caught:
        await client.upload_image(ours.path, theirs.filename, ours.size_bytes, ours.md5)
    assert theirs.filename in caught.value.message
    assert (gns3_server.images / theirs.filename).read_bytes() == theirs.path.read_bytes()


async def test_the_same_content_under_another_name(client: Server, tmp_path: Path) -> None:
    blob = random_artifact(tmp_path)
    await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
    other = f"other-{blob.filename}"
    done = await client.upload_image(blob.path, other, blob.size_bytes, blob.md5)
    if client.one_name_per_content:
        assert (done.filename, done.sent) == (blob.filename, False)
        assert await find(client, other) is None
    else:
        assert (done.filename, done.sent) == (other, True)
        assert await find(client, other) is not None


async def test_a_file_that_gets_shorter_while_it_is_sent_leaves_nothing(
    client: Server, gns3_server: GNS3Process, tmp_path: Path
) -> None:
    blob = random_artifact(tmp_path, size_bytes=3_000_000)
    os.truncate(blob.path, 2_500_000)
    with pytest.raises(HostError, match="500000 bytes shorter"):
        await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
    assert await find(client, blob.filename) is None
    assert not (gns3_server.images / blob.filename).exists()


async def test_a_cancelled_upload_leaves_nothing_under_the_name_and_can_be_done_again(
    client: Server, gns3_server: GNS3Process, tmp_path: Path
) -> None:
    blob = random_artifact(tmp_path, size_bytes=12_000_000)

    def interrupt(_amount: int) -> None:
        task.cancel()

    task = asyncio.ensure_future(client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5, interrupt))
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.5)
    assert not (gns3_server.images / blob.filename).exists()
    assert [image for image in await client.images() if image.filename.startswith(blob.filename)] == []
    done = await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
    assert done.sent
    assert (gns3_server.images / blob.filename).read_bytes() == blob.path.read_bytes()


async def test_a_server_that_cannot_write_says_so_and_keeps_nothing(
    client: Server, gns3_server: GNS3Process, tmp_path: Path
) -> None:
    blob = random_artifact(tmp_path, size_bytes=6_000_000)
    # As on a full disk: the write fails in the middle.
    before = resource.prlimit(gns3_server.process.pid, resource.RLIMIT_FSIZE, (4_000_000, resource.RLIM_INFINITY))
    try:
        with pytest.raises(ConflictError, match="File too large"):
            await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
    finally:
        resource.prlimit(gns3_server.process.pid, resource.RLIMIT_FSIZE, before)
    assert await find(client, blob.filename) is None
    assert not (gns3_server.images / blob.filename).exists()
    assert (await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)).sent


@pytest.mark.parametrize("generation", [2, 3])
async def test_a_server_that_dies_in_the_middle_gets_the_file_after_its_restart(
    generation: Generation, tmp_path: Path
) -> None:
    blob = random_artifact(tmp_path, size_bytes=12_000_000)
    upload = (blob.path, blob.filename, blob.size_bytes, blob.md5)
    with running_gns3(generation, tmp_path / "server") as process:
        async with await connect(parse_address(process.url)) as client:
            with pytest.raises(ConnectError, match="could not upload"):
                await client.upload_image(*upload, lambda _: process.process.kill())
    assert not (process.images / blob.filename).exists()
    with running_gns3(generation, tmp_path / "server", port=process.port) as process:
        async with await connect(parse_address(process.url)) as client:
            assert (await client.upload_image(*upload)).sent
            assert [image.md5 for image in await client.images() if blob.filename in image.filename] == [blob.md5]


@pytest.mark.parametrize("machines", ["one machine", "two machines"])
async def test_two_clients_that_send_the_same_file_at_once_leave_it_whole(
    gns3_server: GNS3Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: str
) -> None:
    if machines == "two machines":
        # Their locks do not know of each other.
        monkeypatch.setattr("gns3_minivm.gns3.locks.exclusive", lambda *_: nullcontext())
    blob = random_artifact(tmp_path, size_bytes=8_000_000)
    address = parse_address(gns3_server.url)
    async with await connect(address) as one, await connect(address) as other:
        results = await asyncio.gather(
            *(s.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5) for s in (one, other))
        )
    assert {result.filename for result in results} == {blob.filename}
    if machines == "one machine":
        assert sorted(result.sent for result in results) == [False, True]
    assert (gns3_server.images / blob.filename).read_bytes() == blob.path.read_bytes()


async def test_two_tasks_of_one_client_send_a_file_once(client: Server, tmp_path: Path) -> None:
    blob = random_artifact(tmp_path)
    results = await asyncio.gather(
        *(client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5) for _ in range(3))
    )
    assert sorted(result.sent for result in results) == [False, False, True]


async def test_v2_a_stale_checksum_is_noticed_by_reading_the_file(gns3_v2: GNS3Process, tmp_path: Path) -> None:
    blob = random_artifact(tmp_path)
    async with await connect(parse_address(gns3_v2.url)) as client:
        await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
        (gns3_v2.images / f"{blob.filename}.md5sum").write_text("0" * 32)
        listed = await find(client, blob.filename)
        assert listed is not None and listed.md5 == "0" * 32
        done = await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
        assert not done.sent


async def test_v2_a_right_checksum_does_not_hide_a_wrong_size(gns3_v2: GNS3Process, tmp_path: Path) -> None:
    blob = random_artifact(tmp_path)
    async with await connect(parse_address(gns3_v2.url)) as client:
        await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
        os.truncate(gns3_v2.images / blob.filename, 1000)
        with pytest.raises(ConflictError, match="1000 bytes"):
            await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)


@pytest.mark.parametrize("suffix", [".qcow2", ".gz"])
async def test_v2_gives_an_image_as_it_is_on_its_disk(gns3_v2: GNS3Process, tmp_path: Path, suffix: str) -> None:
    blob = random_artifact(tmp_path)
    name = blob.filename + suffix
    async with await connect(parse_address(gns3_v2.url)) as client:
        await client.upload_image(blob.path, name, blob.size_bytes, blob.md5)
        content = b"".join([chunk async for chunk in client.image_bytes(name)])
    assert content == blob.path.read_bytes()


async def test_v3_says_that_it_does_not_give_images(gns3_v3: GNS3Process) -> None:
    async with await connect(parse_address(gns3_v3.url)) as client:
        assert not client.can_read_images
        with pytest.raises(UnsupportedServerError):
            async for _ in client.image_bytes("empty8G.qcow2"):
                pass


async def test_v3_a_file_without_a_record_is_not_replaced_by_another_one(gns3_v3: GNS3Process, tmp_path: Path) -> None:
    same, other, theirs = (random_artifact(tmp_path) for _ in range(3))
    # As it is copied there by hand, or comes with a project.
    (gns3_v3.images / same.filename).write_bytes(same.path.read_bytes())
    (gns3_v3.images / other.filename).write_bytes(theirs.path.read_bytes())
    async with await connect(parse_address(gns3_v3.url)) as client:
        assert (await client.upload_image(same.path, same.filename, same.size_bytes, same.md5)).sent
        assert await find(client, same.filename) == ServerImage(
            filename=same.filename, size_bytes=same.size_bytes, md5=same.md5
        )
        with pytest.raises(ConflictError, match="a different image .* exists already") as caught:
            await client.upload_image(other.path, other.filename, other.size_bytes, other.md5)
        assert theirs.md5 in caught.value.message
        assert await find(client, other.filename) is None
    assert (gns3_v3.images / other.filename).read_bytes() == theirs.path.read_bytes()


async def test_v3_no_second_image_of_one_name_is_made_in_another_folder(gns3_v3: GNS3Process, tmp_path: Path) -> None:
    ours, theirs = random_artifact(tmp_path), random_artifact(tmp_path)
    async with await connect(parse_address(gns3_v3.url)) as client:
        route = f"/v3/images/upload/theirs/{ours.filename}"
        await client._transport.upload(route, "upload", theirs.path, theirs.size_bytes, no_progress)
        with pytest.raises(ConflictError, match="a different image .* exists already"):
            await client.upload_image(ours.path, ours.filename, ours.size_bytes, ours.md5)
        assert await find(client, ours.filename) == ServerImage(
            filename=ours.filename, size_bytes=theirs.size_bytes, md5=theirs.md5
        )
        # With two of them, the server would find neither.
        template = QemuTemplate(
            template_id=str(uuid.uuid4()), name=f"vm-{uuid.uuid4().hex[:8]}", hda_disk_image=ours.filename
        )
        await client.create_template(template)
        await client.delete_template(template.template_id)


async def test_v3_that_refuses_raw_images_says_which_option_to_set(tmp_path: Path) -> None:
    blob = random_artifact(tmp_path)
    settings = {"Server": {"allow_raw_images": "False"}}
    with running_gns3(3, tmp_path / "server", settings=settings) as process:
        async with await connect(parse_address(process.url)) as client:
            with pytest.raises(ConflictError, match="could not detect image type") as caught:
                await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
    assert "allow_raw_images = True" in caught.value.hint
    assert not (process.images / blob.filename).exists()
