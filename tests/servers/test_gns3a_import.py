"""``import`` with real GNS3 servers of both generations, a real registry, and pip."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.gns3a.read import read_gns3a
from gns3_minivm.ops.gns3a.template import imported
from tests.support.appliance_files import template_named
from tests.support.gns3 import GNS3Process, running_gns3, server_program
from tests.support.gns3a import FILES, image, write_original
from tests.support.layers import file, tar_bytes
from tests.support.minivm import Finished, gns3_minivm
from tests.support.oci import layout, make_image, write_files
from tests.support.registry import running_registry
from tests.support.tools import require_tool

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GNS3Process, GNS3Process]]:
    with (
        running_gns3(2, tmp_path_factory.mktemp("v2")) as v2,
        running_gns3(3, tmp_path_factory.mktemp("v3")) as v3,
    ):
        yield v2, v3


async def run_import(path: Path, servers: tuple[GNS3Process, ...], *words: str, **options: Any) -> Finished:
    named = [word for server in servers for word in ("--server", server.url)]
    return await gns3_minivm("import", str(path), *named, *words, environment=NO_ENGINE, **options)


def on_disk(server: GNS3Process) -> dict[str, bytes]:
    """The image files of a server, without what it notes beside them."""
    return {
        path.name: path.read_bytes()
        for path in server.images.iterdir()
        if path.is_file() and path.suffix not in (".md5sum",)
    }


def as_new(tag: str, folder: Path, **changes: Any) -> Path:
    """A file of the original with content, and a name, that no other test uses."""
    images = []
    for name, content in FILES.values():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content + tag.encode())
        images.append(image(name, content + tag.encode()))
    return write_original(folder, alone=True, **{"name": tag, "images": images, **changes})


async def test_a_file_that_somebody_else_wrote_becomes_the_same_template_on_both_generations(
    servers: tuple[GNS3Process, GNS3Process], tmp_path: Path
) -> None:
    path = as_new("Open vSwitch", tmp_path / "a", category="multilayer_switch")
    (path.parent / "linux_guest.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    finished = await run_import(path, servers, "--json")
    places = {image["filename"]: image["place"] for image in finished.result()["images"]}
    assert places == {name: str(path.parent / name) for name, _ in FILES.values()}
    for server in servers:
        template = await template_named(server, "Open vSwitch")
        assert template["kernel_command_line"] == "console=ttyS0 quiet root=/dev/sda rw"
        assert (template["category"], template["hda_disk_interface"], template["ram"]) == ("switch", "scsi", 256)
        stored = on_disk(server)
        for slot, (name, _) in FILES.items():
            assert template[slot] == name
            assert stored[name] == (path.parent / name).read_bytes()
        assert f"Image: {FILES['hda_disk_image'][0]} md5:" in template["usage"]
        assert template["symbol"].startswith("linux_guest-")
        assert list((server.directory / "symbols").glob("linux_guest-*.svg"))
    again = await run_import(path, servers)
    assert again.out.count("nothing to do") == 2, again.out


@pytest.mark.long
async def test_images_of_the_same_names_with_other_content_are_never_overwritten(
    servers: tuple[GNS3Process, GNS3Process], tmp_path: Path
) -> None:
    first = await run_import(as_new("first", tmp_path / "a"), servers)
    before = [on_disk(server) for server in servers]
    second = await run_import(as_new("second", tmp_path / "b"), servers)
    assert (first.status, second.status) == (0, 0), first.err + second.err
    for server, files in zip(servers, before, strict=True):
        assert {name: data for name, data in on_disk(server).items() if name in files} == files
        template = await template_named(server, "second")
        for slot, (name, content) in FILES.items():
            assert on_disk(server)[template[slot]] == content + b"second", name


async def test_a_missing_image_is_one_error_and_nothing_is_sent(
    servers: tuple[GNS3Process, GNS3Process], tmp_path: Path
) -> None:
    path = as_new("lacking", tmp_path / "a")
    name, _ = FILES["initrd"]
    (path.parent / name).unlink()
    before = [on_disk(server) for server in servers]
    for words in ((), ("--dry-run",)):
        finished = await run_import(path, servers, *words)
        assert finished.status == 1
        assert name in finished.err and "hint: Put them into" in finished.err and "Traceback" not in finished.err
        assert FILES["kernel_image"][0] not in finished.err.partition("error:")[2]
    assert [on_disk(server) for server in servers] == before


def test_every_appliance_that_gns3_ships_is_read_or_refused_in_words() -> None:
    [folder] = server_program(3).parents[1].glob("lib/python*/site-packages/gns3server/appliances")
    refused, direct = [], []
    for path in sorted(folder.glob("*.gns3a")):
        try:
            appliance = read_gns3a(path)
            found = [imported(path, appliance, one, name="x", is_pinned=False) for one in appliance.versions]
            direct += [(path.stem, one.desired.template.options) for one in found]
        except ConfigError as error:
            refused.append(error.message)
    assert len(refused) > 100 and all("\n" not in message and ".gns3a" in message for message in refused)
    # The one among them that boots a kernel directly, on a kind of machine that we know.
    assert {name for name, _ in direct} == {"cisco-asa"}
    assert all("-machine accel=tcg" in options for _, options in direct)


@pytest.mark.long
async def test_versions_that_are_named_are_templates_side_by_side(
    servers: tuple[GNS3Process, GNS3Process], tmp_path: Path
) -> None:
    path = as_new("both", tmp_path / "a")
    values = json.loads(path.read_text())
    (path.parent / "older.qcow2").write_bytes(b"QFI\xfb\0\0\0\3older")
    values["images"].append(image("older.qcow2", b"QFI\xfb\0\0\0\3older"))
    [version] = values["versions"]
    values["versions"].append({"name": "3.18", "images": {**version["images"], "hda_disk_image": "older.qcow2"}})
    path.write_text(json.dumps(values))
    finished = await run_import(path, servers, "--version", "3.18", "--version", "3.19.1")
    assert finished.status == 0, finished.err
    for server in servers:
        older, newer = [await template_named(server, f"both {name}") for name in ("3.18", "3.19.1")]
        assert older["hda_disk_image"] == "older.qcow2" and newer["hda_disk_image"] != "older.qcow2"
        assert older["kernel_image"] == newer["kernel_image"]
        assert "Image: older.qcow2 md5:" in older["usage"]


@pytest.mark.long
async def test_what_export_writes_becomes_what_register_makes(
    servers: tuple[GNS3Process, GNS3Process], tmp_path: Path
) -> None:
    name = f"vm-{uuid.uuid4().hex[:8]}"
    assert (await gns3_minivm("export", "busybox-minivm", "--as", name, "-o", str(tmp_path / "out"))).status == 0
    finished = await run_import(tmp_path / "out" / f"{name}.gns3a", servers, cache=tmp_path / "empty")
    assert finished.status == 0, finished.err
    for server in servers:
        registered = await gns3_minivm("register", "busybox-minivm", "--as", name, "--server", server.url)
        assert "nothing to do" in registered.out, registered.out + registered.err


@pytest.mark.long
async def test_a_portable_file_of_a_few_kilobytes_is_all_that_has_to_be_shared(tmp_path: Path) -> None:
    skopeo = require_tool("skopeo")
    source = write_files(tmp_path / "image", layout(make_image([tar_bytes([file("etc/motd", b"hello " * 5000)])])))
    packages = tmp_path / "packages"
    packages.mkdir()
    (await gns3_minivm("kernel", "build", "--json")).result()
    packed = (await gns3_minivm("kernel", "pack", "debian", "--output", str(packages), "--json")).result()
    installed = tmp_path / "installed"
    with zipfile.ZipFile(packed["wheel"]) as wheel:
        wheel.extractall(installed)
    folder = tmp_path / "registry"
    folder.mkdir()
    with running_registry(folder) as host, running_gns3(3, tmp_path / "v3") as server:
        push = (
            skopeo,
            "copy",
            "--insecure-policy",
            "--dest-tls-verify=false",
            f"oci:{source}",
            f"docker://{host}/t/vm:1",
        )
        process = await asyncio.create_subprocess_exec(*push, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0
        words = ("export", f"docker://{host}/t/vm:1", "--as", "portable", "--portable", "-o", str(tmp_path / "out"))
        exported = (await gns3_minivm(*words, "--json", environment={"PYTHONPATH": str(installed)})).result()
        [appliance] = exported["appliances"]
        assert appliance["portable"] and appliance["size_bytes"] < 8000
        [path] = (tmp_path / "out").iterdir()
        # Somebody else: another cache, no engine, no kernel package yet, which pip finds where it looks for packages.
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(packages), "PIP_CONFIG_FILE": "/dev/null"}
        finished = await gns3_minivm(
            *("import", str(path), "--server", server.url, "--json"),
            environment={**NO_ENGINE, **pip},
            cache=tmp_path / "other",
        )
        places = {image["filename"]: image["place"] for image in finished.result()["images"]}
        usage = (await template_named(server, "portable"))["usage"]
        stored = on_disk(server)
    for listed in json.loads(path.read_text())["images"]:
        name = listed["filename"]
        assert places[name].startswith("made again from docker://" if name.endswith(".qcow2") else "the package gns3-")
        assert hashlib.md5(stored[name]).hexdigest() == listed["md5sum"]
    assert f"Image: {host}/t/vm@sha256:" in usage
