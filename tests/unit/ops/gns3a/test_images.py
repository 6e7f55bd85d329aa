"""Where the images of an appliance file are looked for, and what counts."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.artifacts import Kind
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import HostError
from gns3_minivm.base.events import Event, Events
from gns3_minivm.gns3a.model import RECORD, ApplianceFile, ImageFile
from gns3_minivm.gns3a.read import read_gns3a
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.gns3a.export import ExportRequest, export_appliances
from gns3_minivm.ops.gns3a.images import ImageFinder
from gns3_minivm.ops.gns3a.wheel import file_from_wheel
from gns3_minivm.settings import Settings
from tests.support.bundles import put_bundle
from tests.support.gns3a import FILES, image, original, write_original
from tests.support.site import running_site

NAME, CONTENT = FILES["hda_disk_image"]
DISK = ImageFile.model_validate(image(NAME, CONTENT))


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@asynccontextmanager
async def finder(path: Path, cache: Path, *folders: Path, **changes: Any) -> AsyncIterator[ImageFinder]:
    appliance = read_gns3a(path) if path.is_file() else ApplianceFile.model_validate(original(**changes))
    found = ImageFinder(path, appliance, folders, RunContext(settings=Settings(cache_root=cache)))
    try:
        yield found
    finally:
        await found.close()


async def test_an_image_beside_the_file_is_taken_by_its_name_or_by_its_content(tmp_path: Path) -> None:
    path = write_original(tmp_path / "a")
    async with finder(path, tmp_path / "cache") as found:
        obtained = await found.obtain(DISK)
        assert obtained is not None
        place, artifact = obtained
        assert (place.label, artifact.filename) == (str(path.parent / NAME), NAME)
        (path.parent / NAME).rename(path.parent / "download (1)")
        obtained = await found.obtain(DISK)
        assert obtained is not None and obtained[0].label.endswith("download (1)")
        assert obtained[1].filename == NAME


async def test_a_folder_that_the_user_names_is_looked_through_too(tmp_path: Path) -> None:
    write_original(tmp_path / "images")
    path = write_original(tmp_path / "a", alone=True)
    async with finder(path, tmp_path / "cache", tmp_path / "images") as found:
        place = await found.locate(DISK)
        assert place is not None and place.label == str(tmp_path / "images" / NAME)


async def test_another_file_of_the_name_does_not_count_and_is_told(tmp_path: Path) -> None:
    path = write_original(tmp_path / "a")
    other = CONTENT[:-1] + b"!"
    (path.parent / NAME).write_bytes(other)
    async with finder(path, tmp_path / "cache") as found:
        assert await found.obtain(DISK) is None
        error = found.missing([DISK])
    assert NAME in error.message and DISK.md5sum in error.message
    assert f"is a different file: it has md5 {hashlib.md5(other).hexdigest()}" in error.message
    assert str(tmp_path / "a") in error.hint and "--images" in error.hint


async def test_an_image_is_downloaded_where_the_file_says_and_nothing_of_it_stays(tmp_path: Path) -> None:
    with running_site() as site:
        site.answers = {"/good": (200, {}, CONTENT), "/bad": (200, {}, b"something else")}
        good, bad = (
            ImageFile.model_validate(image(NAME, CONTENT, direct_download_url=f"{site.url}/{path}"))
            for path in ("good", "bad")
        )
        async with finder(tmp_path / "a.gns3a", tmp_path / "cache") as found:
            place = await found.locate(good)
            assert place is not None and place.label == f"{site.url}/good" and not site.seen
            obtained = await found.obtain(good)
            assert obtained is not None and obtained[1].path.read_bytes() == CONTENT
            assert await found.obtain(bad) is None
            assert f"{site.url}/bad" in found.missing([bad]).message
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


async def test_a_page_for_people_is_told(tmp_path: Path) -> None:
    asked = ImageFile.model_validate(image("x", b"x", download_url="https://example.org/page?user=me"))
    async with finder(tmp_path / "a.gns3a", tmp_path / "cache") as found:
        assert await found.obtain(asked) is None
        assert "https://example.org/page\n" in found.missing([asked]).message + "\n"


def write_root(path: Path, text: str) -> None:
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("etc/motd")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))


async def exported(tmp_path: Path, *, portable: bool = False, name: str = "") -> tuple[Path, ApplianceFile]:
    """An appliance that was exported on a machine with a kernel bundle; its images are taken away."""
    put_bundle(Cache(tmp_path / "cache"))
    write_root(tmp_path / "root.tar", "hello")
    request = ExportRequest(
        names=(name or f"rootfs:{tmp_path / 'root.tar'}",),
        folder=tmp_path / "out",
        template_name="vm",
        portable=portable,
    )
    await export_appliances(request, RunContext(settings=Settings(cache_root=tmp_path / "cache")))
    for path in (tmp_path / "out").iterdir():
        if path.suffix != ".gns3a":
            path.unlink()
    return tmp_path / "out" / "vm.gns3a", read_gns3a(tmp_path / "out" / "vm.gns3a")


async def test_what_this_machine_has_made_is_found_in_its_cache(tmp_path: Path) -> None:
    path, appliance = await exported(tmp_path)
    async with finder(path, tmp_path / "cache") as found:
        for wanted in appliance.images:
            obtained = await found.obtain(wanted)
            assert obtained is not None and obtained[0].label.startswith("this machine's cache")
            assert (obtained[1].md5, obtained[1].filename) == (wanted.md5sum, wanted.filename)


async def test_an_embedded_appliance_is_made_again_where_its_kernel_bundle_is(tmp_path: Path) -> None:
    path, appliance = await exported(tmp_path, name="busybox-minivm")
    [disk] = [wanted for wanted in appliance.images if re.fullmatch(r"(?!modules-).*\.qcow2", wanted.filename)]
    # As if everybody had the kernel.
    text = path.read_text().replace('"image": ""', '"image": "busybox-minivm"')
    assert text.count('"image": "busybox-minivm"') == 1
    path.write_text(text)
    for folder in (tmp_path / "cache" / "disks").iterdir():
        Cache(tmp_path / "cache").remove("disks", folder.name)
    async with finder(path, tmp_path / "cache") as found:
        obtained = await found.obtain(disk)
        assert obtained is not None and obtained[0].label == "made again from busybox-minivm"
        assert obtained[1].md5 == disk.md5sum
    async with finder(path, tmp_path / "empty") as found:
        assert await found.obtain(disk) is None
        assert "with a kernel bundle that this machine does not have" in found.missing([disk]).message


async def test_an_image_that_only_its_author_has_is_told(tmp_path: Path) -> None:
    path, appliance = await exported(tmp_path)
    [disk] = [wanted for wanted in appliance.images if re.fullmatch(r"(?!modules-).*\.qcow2", wanted.filename)]
    async with finder(path, tmp_path / "empty") as found:
        assert await found.obtain(disk) is None
        assert "made from an image that only its author has (sha256:" in found.missing([disk]).message


async def test_an_image_of_a_registry_that_does_not_answer_is_told_with_its_reason(tmp_path: Path) -> None:
    disk = {"image": f"docker://127.0.0.1:9/x@sha256:{'a' * 64}", "digest": f"sha256:{'a' * 64}", "recipe": "b" * 64,
            "size_bytes": 64 << 20, "compression": "zstd"}  # fmt: skip
    record = {"format": 1, "release": "1", "made": {NAME: {"sha256": "c" * 64, "disk": disk}}}
    async with finder(tmp_path / "x.gns3a", tmp_path / "cache", **{RECORD: record}) as found:
        assert await found.obtain(DISK) is None
        assert f"docker://127.0.0.1:9/x@sha256:{'a' * 64}: " in found.missing([DISK]).message


async def test_a_size_that_no_disk_has_is_told_and_other_places_are_tried(tmp_path: Path) -> None:
    with running_site() as site:
        site.answers["/disk"] = (200, {}, CONTENT)
        disk = {
            "image": f"docker://127.0.0.1:9/x@sha256:{'a' * 64}",
            "digest": f"sha256:{'a' * 64}",
            "recipe": "b" * 64,
            "size_bytes": 1,
            "compression": "zstd",
        }
        record = {"format": 1, "release": "1", "made": {NAME: {"sha256": "c" * 64, "disk": disk}}}
        wanted = ImageFile.model_validate(image(NAME, CONTENT, direct_download_url=f"{site.url}/disk"))
        async with finder(tmp_path / "x.gns3a", tmp_path / "cache", **{RECORD: record}) as found:
            obtained = await found.obtain(wanted)
            assert obtained is not None and obtained[0].label == f"{site.url}/disk"
            assert "the disk size '0M' is 0 bytes" in found.missing([wanted]).message


async def test_a_package_that_cannot_be_had_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gns3_minivm.ops.gns3a.images.file_from_wheel", no_package)
    name, _ = FILES["kernel_image"]
    kernel = {"bundle": "a" * 64, "flavour": "debian", "version": "6.1", "wheel": "gns3-minivm-kernel==6.1.90.1"}
    record = {"format": 1, "release": "1", "made": {name: {"sha256": "c" * 64, "kernel": kernel}}}
    async with finder(tmp_path / "x.gns3a", tmp_path / "cache", **{RECORD: record}) as found:
        wanted = ImageFile.model_validate(image(*FILES["kernel_image"]))
        assert await found.obtain(wanted) is None
        error = found.missing([wanted])
    assert "the package gns3-minivm-kernel==6.1.90.1: no network" in error.message
    assert "`pip install gns3-minivm-kernel==6.1.90.1`" in error.hint


def no_package(*_: Any) -> Any:
    raise HostError("no network")


@pytest.mark.parametrize(
    "requirement",
    ["evil==1", "gns3-minivm-kernel", "gns3-minivm-kernel==1 --pre", "-r x", "gns3-minivm-kernel @ http://h"],
)
def test_no_other_package_is_ever_asked_for(tmp_path: Path, requirement: str) -> None:
    with pytest.raises(HostError, match="is not a version of gns3-minivm-kernel"):
        file_from_wheel(requirement, DISK, tmp_path)
    assert not list(tmp_path.iterdir())


async def test_an_export_tells_what_keeps_it_from_being_portable(tmp_path: Path) -> None:
    put_bundle(Cache(tmp_path / "cache"), kinds=(Kind.KERNEL, Kind.INITRD))
    write_root(tmp_path / "root.tar", "hello")
    request = ExportRequest(
        names=(f"rootfs:{tmp_path / 'root.tar'}",), folder=tmp_path / "out", template_name="vm", portable=True
    )
    told: list[Event] = []
    result = await export_appliances(
        request, RunContext(settings=Settings(cache_root=tmp_path / "cache"), events=Events(told.append))
    )
    [appliance] = result.appliances
    assert not appliance.is_portable
    assert [file.state for file in appliance.files] == ["written"] * 3
    reasons = {file.filename.partition("-")[0]: file.reason for file in appliance.files}
    assert "is only on this machine: push it to a registry" in reasons["root"]
    assert "not installed with the package gns3-minivm-kernel" in reasons["vmlinuz"]
