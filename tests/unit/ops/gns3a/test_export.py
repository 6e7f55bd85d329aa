"""What ``export`` writes, and what it never does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, origin_of, template_id, with_mark
from gns3_minivm.agent.differences import differences
from gns3_minivm.base.artifacts import Kind
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import ConfigError, UsageError
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.gns3a.model import RECORD
from gns3_minivm.gns3a.read import read_gns3a
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.gns3a.export import ApplianceExport, ExportRequest, export_appliances
from gns3_minivm.settings import Settings
from gns3_minivm.template_settings.table import TemplateSettings
from tests.support.bundles import put_bundle
from tests.support.catalogue import write_root

Export = Callable[..., Any]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Export a root file with this text, on a machine that has a kernel bundle."""
    put_bundle(Cache(tmp_path / "cache"))

    async def perform(text: str = "hello", *, dry_run: bool = False, **values: Any) -> ApplianceExport:
        path = tmp_path / f"{text}.tar"
        write_root(path, text)
        request = ExportRequest(
            **{"names": (f"rootfs:{path}",), "folder": tmp_path / "out", "template_name": "vm", **values}
        )
        context = RunContext(settings=Settings(cache_root=tmp_path / "cache"), dry_run=dry_run)
        return await export_appliances(request, context)

    return perform


def written(tmp_path: Path, name: str = "vm") -> dict[str, Any]:
    values: dict[str, Any] = json.loads((tmp_path / "out" / f"{name}.gns3a").read_text())
    return values


async def test_a_file_has_the_schemas_keys_and_its_images_lie_beside_it(export: Export, tmp_path: Path) -> None:
    result = await export(template=TemplateSettings(ram=300, category="switch"))
    values = written(tmp_path)
    required = {"appliance_id", "name", "category", "description", "vendor_name", "vendor_url", "product_name",
                "registry_version", "status", "maintainer", "maintainer_email"}  # fmt: skip
    assert required <= values.keys()
    assert (values["registry_version"], values["category"], values["qemu"]["ram"]) == (4, "multilayer_switch", 300)
    [version] = values["versions"]
    assert list(version["images"]) == ["hda_disk_image", "kernel_image", "initrd", "hdb_disk_image"]
    by_name = {image["filename"]: image for image in values["images"]}
    for name in version["images"].values():
        path = tmp_path / "out" / name
        assert path.stat().st_size == by_name[name]["filesize"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"vm.gns3a", *by_name}
    assert result.appliances[0].size_bytes == (tmp_path / "out" / "vm.gns3a").stat().st_size
    assert "default_name_format" not in values["qemu"]


async def test_an_appliance_of_the_users_with_modules_and_a_picture_has_both_beside_it(tmp_path: Path) -> None:
    put_bundle(Cache(tmp_path / "cache"))
    folder = tmp_path / "appliances" / "my-switch"
    (folder / "root" / "etc").mkdir(parents=True)
    (folder / "appliance.yaml").write_text(
        "name: my-switch\nversion: '7'\ndescription: A switch\ncategory: switch\nsymbol: symbol.svg\nadapters: 16\n"
        "embedded: busybox\nkernel_args: MANAGEMENT_INTERFACE=eth0\nusage: Plug it in.\n"
    )
    picture = b'<svg xmlns="http://www.w3.org/2000/svg" width="50" height="50"/>'
    (folder / "symbol.svg").write_bytes(picture)
    settings = Settings(cache_root=tmp_path / "cache", appliances=(tmp_path / "appliances",))
    result = await export_appliances(
        ExportRequest(names=("my-switch",), folder=tmp_path / "out", portable=True), RunContext(settings=settings)
    )
    values = written(tmp_path, "my-switch")
    [version] = values["versions"]
    assert version["name"] == "7" and version["images"]["hdb_disk_image"].startswith("modules-")
    assert (values["qemu"]["hdb_disk_interface"], values["qemu"]["adapters"]) == ("virtio", 16)
    assert "MANAGEMENT_INTERFACE=eth0" in values["qemu"]["kernel_command_line"]
    assert values["usage"].startswith("Plug it in.\n\nImage: my-switch 7 sha256:")
    assert (tmp_path / "out" / values["symbol"]).read_bytes() == picture
    reasons = {file.filename: file.reason for file in result.appliances[0].files}
    assert "is only in a folder of this user" in reasons[version["images"]["hda_disk_image"]]


async def test_a_kernel_of_one_file_is_exported_as_one(tmp_path: Path) -> None:
    put_bundle(Cache(tmp_path / "cache"), kinds=(Kind.KERNEL,))
    write_root(tmp_path / "root.tar", "hello")
    request = ExportRequest(names=(f"rootfs:{tmp_path / 'root.tar'}",), folder=tmp_path / "out", template_name="vm")
    await export_appliances(request, RunContext(settings=Settings(cache_root=tmp_path / "cache")))
    [version] = written(tmp_path)["versions"]
    assert list(version["images"]) == ["hda_disk_image", "kernel_image"]


async def test_the_same_appliance_gives_the_same_bytes(export: Export, tmp_path: Path) -> None:
    await export()
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    await export(folder=tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first


async def test_what_is_there_is_replaced_only_when_asked_for(export: Export, tmp_path: Path) -> None:
    await export()
    with pytest.raises(UsageError, match=r"vm.gns3a exists"):
        await export("other")
    result = await export("other", force=True)
    assert len(read_gns3a(result.appliances[0].path).versions) == 1
    disk = next(path for path in (tmp_path / "out").glob("vmlinuz*"))
    disk.write_bytes(b"something else")
    with pytest.raises(UsageError, match="exists"):
        await export("third", folder=tmp_path / "out", template_name="third")
    assert not (tmp_path / "out" / "third.gns3a").exists()


async def test_images_that_are_there_already_are_told_and_left(export: Export, tmp_path: Path) -> None:
    await export()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.suffix != ".gns3a"}
    result = await export(force=True)
    assert [file.state for file in result.appliances[0].files] == ["there"] * 4
    assert {path: path.stat().st_mtime_ns for path in before} == before


async def test_a_dry_run_writes_nothing(export: Export, tmp_path: Path) -> None:
    result = await export(dry_run=True)
    assert result.pending and not result.appliances and not (tmp_path / "out").exists()
    await export(folder=tmp_path / "elsewhere")
    result = await export(dry_run=True)
    assert [file.state for file in result.appliances[0].files] == ["would be written"] * 4
    assert not (tmp_path / "out").exists()


async def test_versions_are_added_before_those_that_are_there(export: Export, tmp_path: Path) -> None:
    await export("one", version="1", add=True)
    await export("two", version="2", add=True)
    values = written(tmp_path)
    assert [version["name"] for version in values["versions"]] == ["2", "1"]
    assert len(values["images"]) == 5 and len(values[RECORD]["made"]) == 5
    usage = values["usage"].splitlines()
    assert [line.partition(": ")[0] for line in usage] == ["Images:", "  2", "  1", "", "Made by gns3-minivm."]
    await export("two", version="2", add=True)
    assert written(tmp_path) == values
    with pytest.raises(UsageError, match="vm 1 is already in the file, with other images"):
        await export("three", version="1", add=True)
    assert written(tmp_path) == values


async def test_images_of_one_template_become_versions_and_have_to_agree(export: Export, tmp_path: Path) -> None:
    for text in ("one", "two"):
        write_root(tmp_path / f"{text}.tar", text)
    names = tuple(f"rootfs:{tmp_path / text}.tar" for text in ("one", "two"))
    [appliance] = (await export(names=names)).appliances
    assert len(set(appliance.versions)) == 2
    with pytest.raises(UsageError, match="--version names one version"):
        await export(names=names, version="1", force=True)


async def test_a_file_of_the_name_that_is_another_appliance_is_left_alone(export: Export, tmp_path: Path) -> None:
    await export()
    path = tmp_path / "out" / "vm.gns3a"
    path.write_text(path.read_text().replace(written(tmp_path)["appliance_id"], "f5156266-6485-4c2f-8639-411933a690c7"))
    with pytest.raises(UsageError, match="is another appliance"):
        await export("two", version="2", add=True)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="not an appliance file"):
        await export("two", version="2", add=True)
    assert path.read_text() == "{}"


async def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_built(
    export: Export, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        await export(folder=tmp_path / "file")
    with pytest.raises(UsageError, match="does not exist"):
        await export(folder=tmp_path / "a" / "b")
    for words in ({"version": "1\n2"}, {"template_name": "x" * 300}):
        with pytest.raises(UsageError, match="is not a name"):
            await export(**words)


# The line that says what a disk was made of


def desired(disk: str, origin: str, usage: str = "Text.") -> DesiredAppliance:
    template = QemuTemplate(template_id=template_id("vm"), name="vm", hda_disk_image=disk, usage=usage)
    return DesiredAppliance(
        template=template, files=(WantedFile(disk),), user_fields=frozenset({"usage"}), origin=origin
    )


def test_a_template_says_which_image_its_disk_came_from() -> None:
    assert desired("a", "debian@sha256:1").template.usage == "Text.\n\nImage: debian@sha256:1\nMade by gns3-minivm."
    assert origin_of(with_mark("Text.", "lab", "x@sha256:2")) == "x@sha256:2"
    assert origin_of("Image: mine") == ""


def test_the_line_changes_with_the_disk_and_not_with_the_agent() -> None:
    ours = desired("a", "by-engine sha256:1").template
    changes, left = differences(ours, desired("a", "registry/x@sha256:2"))
    assert not changes and not left
    changes, _ = differences(ours, desired("b", "registry/x@sha256:2"))
    assert origin_of(changes["usage"][1]) == "registry/x@sha256:2"


def test_the_users_text_stays_when_the_line_changes() -> None:
    edited = replace(desired("a", "x@sha256:1").template, usage=with_mark("My own.", origin="x@sha256:1"))
    changes, _ = differences(edited, desired("b", "x@sha256:2"))
    assert changes["usage"][1] == "My own.\n\nImage: x@sha256:2\nMade by gns3-minivm."
    without = replace(edited, usage="Only mine.")
    changes, left = differences(without, desired("b", "x@sha256:2"))
    assert "usage" not in changes and "usage" in left
