"""A kernel bundle as a wheel, and a bundle that was installed with pip."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import UsageError
from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.bundle import build
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.bundle.packages.package_set import DebFiles, KernelPart
from gns3_minivm.bundle.source import monolithic, toolchain
from gns3_minivm.bundle.source.toolchain import HostTools
from gns3_minivm.ops import doctor
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels.bundles import bundle_at_hand, find_chosen
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.kernels.pack import kernel_pack
from gns3_minivm.ops.templates.cached_files import artifact_finder
from gns3_minivm.settings import Settings
from tests.support.debs import bundle_debs, elf
from tests.support.kernel_source import make_tools, source_debs

WHEEL = "gns3_minivm_kernel-6.1.5.2-py3-none-any.whl"


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler and no real source: tests/servers has those."""
    folder = make_tools(tmp_path / "tools")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(toolchain, "missing_tools", list)
    for module in (build, monolithic):
        monkeypatch.setattr(module, "init_binary", lambda *_: elf({".text": b"init"}))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_root=tmp_path / "cache")


@pytest.fixture
def bundle(settings: Settings, tmp_path: Path) -> Bundle:
    source = DebFiles(source_debs(tmp_path), kernel=KernelPart.SOURCE)
    return monolithic.build(source, HostTools(), settings.open_cache(), Events())


async def pack(settings: Settings, folder: Path, name: str = "monolithic") -> Path:
    return (await kernel_pack(name, folder, RunContext(settings=settings))).wheel


async def test_the_wheel_has_bundle_licences_configuration_and_names_the_sources(
    settings: Settings, bundle: Bundle, tmp_path: Path
) -> None:
    wheel = await pack(settings, tmp_path)
    assert wheel.name == WHEEL
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        top, information = "gns3_minivm_kernel/bundle", "gns3_minivm_kernel-6.1.5.2.dist-info"
        for name in (
            "vmlinuz",
            "manifest.json",
            "busybox",
            "config",
            "monolithic.config",
            "licences/linux-source-6.1.txt",
        ):
            assert f"{top}/{name}" in names
        assert archive.read(f"{top}/vmlinuz") == bundle.kernel.path.read_bytes()
        metadata = Parser().parsestr(archive.read(f"{information}/METADATA").decode())
        licences = metadata.get_all("License-File") or []
        assert {f"{information}/licenses/{name}" for name in licences} <= names
        assert {Path(name).name for name in licences} == {
            "linux-source-6.1.txt",
            "busybox-static.txt",
            "gns3-minivm.txt",
        }
        assert archive.read(f"{information}/licenses/gns3-minivm.txt").startswith(b"MIT License")
    assert (metadata["Name"], metadata["Version"]) == ("gns3-minivm-kernel", "6.1.5.2")
    text = str(metadata.get_payload())
    assert "linux 6.1.5-2" in text and "gcc (Debian 12.2.0-14) 12.2.0" in text
    assert next(record.sha256 for record in bundle.packages if record.name == "linux-source-6.1") in text


@pytest.mark.usefixtures("bundle")
async def test_the_record_has_the_digest_of_every_file(settings: Settings, tmp_path: Path) -> None:
    with zipfile.ZipFile(await pack(settings, tmp_path)) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith("/RECORD")]
        rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(archive.read(record).decode()))}
        assert set(rows) == set(archive.namelist())
        for name in set(rows) - {record}:
            data = archive.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert rows[name] == (f"sha256={digest}", str(len(data)))


@pytest.mark.usefixtures("bundle")
async def test_the_same_bundle_gives_the_same_wheel(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = await pack(settings, tmp_path / "a"), await pack(settings, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


async def test_an_installed_bundle_is_taken_where_no_kernel_is_named(
    settings: Settings, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(await pack(settings, tmp_path)) as archive:
        archive.extractall(tmp_path / "site")
    empty = Cache(tmp_path / "empty")
    assert find_chosen(empty, KernelChoice()) is None
    monkeypatch.syspath_prepend(tmp_path / "site")
    for choice in (KernelChoice(), KernelChoice(name="monolithic"), KernelChoice(name=bundle.id[:12])):
        found = find_chosen(empty, choice)
        assert found is not None and found.is_installed and found.id == bundle.id
        assert found.kernel == bundle.kernel.__class__(**{**vars(bundle.kernel), "path": found.kernel.path})
    # Whoever names Debian's gets that, and it is not inferred from a cache.
    assert find_chosen(empty, KernelChoice(name="debian")) is None
    build.build(DebFiles(bundle_debs(tmp_path)), empty, Events())
    found = find_chosen(empty, KernelChoice())
    assert found is not None and found.is_installed


@pytest.mark.usefixtures("bundle")
async def test_one_that_another_release_has_made_is_not_taken_and_that_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(await pack(settings, tmp_path)) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(monolithic, "source_digest", lambda: "another init")
    empty = Cache(tmp_path / "empty")
    assert find_chosen(empty, KernelChoice()) is None
    build.build(DebFiles(bundle_debs(tmp_path)), empty, Events())
    seen: list[Event] = []
    assert not bundle_at_hand(empty, Events(seen.append), KernelChoice()).is_installed
    assert any(isinstance(event, Note) and "by another release of gns3-minivm" in event.message for event in seen)


async def test_doctor_has_no_problem_with_a_kernel_that_came_with_pip(
    settings: Settings, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(await pack(settings, tmp_path)) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    empty = Settings(cache_root=tmp_path / "empty")

    async def kernel() -> tuple[str, str]:
        places = (await doctor.examine((), RunContext(settings=empty))).places
        (found,) = [finding for finding in places[0].findings if finding.check == "kernel"]
        return found.level, found.message

    assert (await kernel())[0] == "problem"
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert await kernel() == ("ok", "kernel 6.1.5-2-monolithic (monolithic) was installed with pip")
    # Its image is known by its name on a server, for the repair of that and for projects.
    found = artifact_finder(empty.open_cache())(bundle.kernel.filename)
    assert found is not None and found.path.is_relative_to(tmp_path / "site") and found.md5 == bundle.kernel.md5


@pytest.mark.usefixtures("bundle")
async def test_what_cannot_be_packed_is_said(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'debian' to pack") as caught:
        await pack(settings, tmp_path, "debian")
    assert "`gns3-minivm kernel build`" in caught.value.hint
    with pytest.raises(UsageError, match="for the wheel does not exist"):
        await pack(settings, tmp_path / "nowhere")
    await pack(settings, tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        await pack(settings, tmp_path)
    result = await kernel_pack("monolithic", tmp_path, RunContext(settings=settings, dry_run=True), force=True)
    assert result.dry_run and result.size_bytes == 0
