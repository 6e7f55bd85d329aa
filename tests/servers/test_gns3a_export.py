"""What ``export`` writes, in the hands of real GNS3 servers' own appliance machinery."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from tests.support.appliance_files import (
    ask,
    ask_for_list,
    import_with_gui,
    install,
    listed,
    put_on_server,
    template_named,
)
from tests.support.catalogue import write_root
from tests.support.gns3 import GNS3Process, running_gns3
from tests.support.minivm import gns3_minivm

ITS_OWN = {"template_id", "default_name_format", "created_at", "updated_at"}
"""What GNS3 says itself of a template that it makes of an appliance; there is no way to say it in the file."""


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GNS3Process]:
    with running_gns3(2, tmp_path_factory.mktemp("v2")) as process:
        yield process


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GNS3Process]:
    with running_gns3(3, tmp_path_factory.mktemp("v3")) as process:
        yield process


@pytest.fixture
def name() -> str:
    return f"vm-{uuid.uuid4().hex[:8]}"


async def delete(process: GNS3Process, template_id: str) -> None:
    async with await connect(parse_address(process.url)) as server:
        await server.delete_template(template_id)


async def registered(process: GNS3Process, name: str) -> dict[str, Any]:
    """The template that ``register`` makes of the same appliance."""
    finished = await gns3_minivm("register", "busybox-minivm", "--as", name, "--server", process.url)
    assert finished.status == 0, finished.err
    return await template_named(process, name)


def without(template: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in template.items() if key not in ITS_OWN.union(keys)}


# The server reads each image line by line: most of a minute for a kernel.
@pytest.mark.long
async def test_server_3_loads_the_file_and_installs_the_template_that_register_makes(
    v3: GNS3Process, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    result = (await gns3_minivm("export", "busybox-minivm", "--as", name, "-o", str(out), "--json")).result()
    [exported] = result["appliances"]
    put_on_server(v3, out)
    appliance = await listed(v3, name)
    assert (appliance["registry_version"], appliance["builtin"]) == (4, False)
    await install(v3, appliance["appliance_id"], exported["versions"][0])
    installed = await template_named(v3, name)
    # The server knows the images by content: what register would send under the same names.
    assert {file["filename"] for file in exported["files"]} <= {
        image["filename"] for image in await ask_for_list(v3, "/images")
    }
    await delete(v3, installed["template_id"])
    assert without(installed) == without(await registered(v3, name))
    assert exported["origins"]["1.0"] in installed["usage"]


@pytest.mark.long
async def test_server_2_lists_the_file_and_the_steps_of_the_gui_make_the_template_that_register_makes(
    v2: GNS3Process, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    assert (await gns3_minivm("export", "busybox-minivm", "--as", name, "-o", str(out))).status == 0
    put_on_server(v2, out)
    appliance = await listed(v2, name)
    file = json.loads((out / f"{name}.gns3a").read_text())
    assert {key: appliance[key] for key in file if key != "appliance_id"} == {
        key: value for key, value in file.items() if key != "appliance_id"
    }
    template_id = await import_with_gui(v2, appliance, "1.0", out)
    made = await ask(v2, "GET", f"/templates/{template_id}")
    assert made["name"] == f"{name} 1.0"
    # Two ways to say the same: the GUI names QEMU's program, and we the architecture.
    said = ("name", "qemu_path", "platform")
    assert without(made, *said) == without(await registered(v2, name), *said)
    assert made["qemu_path"] == "qemu-system-x86_64"


@pytest.mark.long
async def test_several_versions_stand_in_one_file_and_are_templates_side_by_side(
    v3: GNS3Process, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    for version in ("1", "2"):
        write_root(tmp_path / "root.tar", f"{name} {version}")
        words = ("export", f"rootfs:{tmp_path / 'root.tar'}", "--as", name, "--version", version, "--add")
        finished = await gns3_minivm(*words, "-o", str(out))
        assert finished.status == 0, finished.err
    put_on_server(v3, out)
    appliance = await listed(v3, name)
    assert [version["name"] for version in appliance["versions"]] == ["2", "1"]
    for version in ("1", "2"):
        await install(v3, appliance["appliance_id"], version)
    found = {item["version"]: item for item in await ask_for_list(v3, "/templates") if item["name"] == name}
    assert sorted(found) == ["1", "2"]
    assert found["1"]["hda_disk_image"] != found["2"]["hda_disk_image"]
    assert found["1"]["kernel_image"] == found["2"]["kernel_image"]
    for version in ("1", "2"):
        digest = next(line for line in appliance["usage"].splitlines() if line.startswith(f"  {version}:"))
        assert "sha256:" in digest
