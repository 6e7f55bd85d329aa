"""Templates on real servers: what is set is what is read back, and nothing wrong is ever sent."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import BugError, ConflictError, NotFoundError, UsageError
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import CREATE_ONLY_FIELDS, QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.blobs import random_artifact
from tests.support.gns3 import GNS3Process

UNUSUAL: dict[str, Any] = {
    "category": "router",
    "symbol": ":/symbols/classic/router.svg",
    "default_name_format": "R{0}",
    "usage": "Line one\n\nLine two: äöü “quotes” \\ %d {x}",
    "ram_mb": 1234,
    "cpus": 3,
    "adapters": 17,
    "adapter_type": "e1000",
    "port_name_format": "swp{port1}",
    "first_port_name": "mgmt",
    "console_type": "vnc",
    "on_close": "power_off",
    "hda_disk_interface": "scsi",
    "hdb_disk_interface": "virtio",
    "kernel_command_line": 'console=ttyS0 a="b c" -- x',
    "options": "-cpu Nehalem -smbios type=1,serial=%vm-name%",
    "linked_clone": False,
}


@pytest.fixture
async def template(client: Server) -> AsyncIterator[QemuTemplate]:
    """A template's values with an id and a name of its own; taken away again."""
    template_id = str(uuid.uuid4())
    yield QemuTemplate(template_id=template_id, name=f"vm-{template_id[:8]}")
    try:
        await client.delete_template(template_id)
    except NotFoundError:
        pass


async def test_a_created_template_reads_back_as_it_was_sent(
    client: Server, template: QemuTemplate, tmp_path: Path
) -> None:
    names: dict[str, Any] = {}
    for field in ("hda_disk_image", "hdb_disk_image", "kernel_image", "initrd"):
        blob = random_artifact(tmp_path)
        names[field] = (await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)).filename
    unusual = replace(template, **UNUSUAL, **names)
    assert (await client.create_template(unusual)).values == unusual
    found = await client.template(template.template_id)
    assert found is not None and found.values == unusual
    assert unusual in [item.values for item in await client.templates()]


async def test_a_bare_symbol_name_is_kept(client: Server, template: QemuTemplate) -> None:
    await client.create_template(replace(template, symbol="router"))
    found = await client.template(template.template_id)
    assert found is not None and found.values is not None
    assert found.values.symbol == ":/symbols/classic/router.svg"


async def test_an_update_changes_the_named_fields_only(client: Server, template: QemuTemplate) -> None:
    await client.create_template(template)
    await client.update_template(template.template_id, {"ram_mb": 99, "usage": "new"})
    found = await client.template(template.template_id)
    assert found is not None and found.values == replace(template, ram_mb=99, usage="new")


@pytest.mark.parametrize("field", sorted(UNUSUAL))
async def test_every_field_can_be_updated_and_taken_back(client: Server, template: QemuTemplate, field: str) -> None:
    await client.create_template(template)
    for values in (replace(template, **{field: UNUSUAL[field]}), template):
        await client.update_template(template.template_id, {field: getattr(values, field)})
        found = await client.template(template.template_id)
        assert found is not None and found.values == values


def test_the_unusual_values_differ_from_the_defaults_everywhere() -> None:
    values = QemuTemplate(template_id="id", name="name")
    elsewhere = {"hda_disk_image", "hdb_disk_image", "kernel_image", "initrd"}
    # Only one platform is of use here, names are given by the tests, and API v2 has no versions.
    assert {f.name for f in fields(QemuTemplate)} - CREATE_ONLY_FIELDS - elsewhere - {
        "name",
        "platform",
        "version",
    } == set(UNUSUAL)
    assert all(getattr(values, name) != value for name, value in UNUSUAL.items())


async def test_an_image_of_a_template_can_be_taken_out(client: Server, template: QemuTemplate, tmp_path: Path) -> None:
    blob = random_artifact(tmp_path)
    await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)
    await client.create_template(replace(template, hdb_disk_image=blob.filename))
    await client.update_template(template.template_id, {"hdb_disk_image": ""})
    found = await client.template(template.template_id)
    assert found is not None and found.values == template


async def test_creating_the_same_id_twice_makes_one_template(client: Server, template: QemuTemplate) -> None:
    await client.create_template(template)
    again = await client.create_template(replace(template, name=template.name + "x", ram_mb=99))
    assert again.values == template
    found = [item for item in await client.templates() if item.name.startswith(template.name)]
    assert len(found) == 1


async def test_clients_that_create_at_once_make_one_template(client: Server, template: QemuTemplate) -> None:
    results = await asyncio.gather(*(client.create_template(template) for _ in range(4)))
    assert {result.values for result in results} == {template}
    assert [item.template_id for item in await client.templates()].count(template.template_id) == 1


async def test_clients_that_change_a_template_at_once_do_not_get_in_each_others_way(
    client: Server, gns3_server: GNS3Process, template: QemuTemplate, tmp_path: Path
) -> None:
    names = []
    for _ in range(3):
        blob = random_artifact(tmp_path)
        names.append((await client.upload_image(blob.path, blob.filename, blob.size_bytes, blob.md5)).filename)
    await client.create_template(replace(template, hda_disk_image=names[0]))
    async with await connect(parse_address(gns3_server.url)) as other:
        for number in range(1, 6):
            changes: dict[str, Any] = {"hda_disk_image": names[number % 3]}
            await asyncio.gather(*(one.update_template(template.template_id, changes) for one in (client, other)))
            found = await client.template(template.template_id)
            assert found is not None and found.values == replace(template, **changes)


async def test_a_deleted_template_is_gone(client: Server, template: QemuTemplate) -> None:
    await client.create_template(template)
    await client.delete_template(template.template_id)
    assert await client.template(template.template_id) is None
    with pytest.raises(NotFoundError, match=template.template_id):
        await client.delete_template(template.template_id)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adapter_type": "virtio-net-device"}, "adapter_type = 'virtio-net-device'"),
        ({"ram_mb": 0}, "ram = 0"),
        ({"cpus": 256}, "cpus = 256"),
        ({"adapters": 276}, "adapters = 276"),
        ({"ram_mb": "256"}, "ram = '256'"),
        ({"on_close": "shutdown"}, "'power_off', 'shutdown_signal' or 'save_vm_state'"),
        ({"hda_disk_image": "sub/disk.qcow2"}, "hda_disk_image = 'sub/disk.qcow2'"),
        ({"options": "-cpu max -drive file=x"}, "does not start nodes with -drive"),
        ({"name": ""}, "name = ''"),
        ({"template_id": "not-an-id"}, "template_id = 'not-an-id'"),
        ({"compute_id": "any"}, "it cannot run nodes"),
    ],
)
async def test_a_wrong_value_is_refused_before_anything_is_sent(
    client: Server, template: QemuTemplate, values: dict[str, Any], message: str
) -> None:
    before = await client.templates()
    with pytest.raises(UsageError, match="template") as caught:
        await client.create_template(replace(template, **values))
    assert message in caught.value.message
    assert await client.templates() == before


async def test_an_unknown_field_is_refused_before_anything_is_sent(client: Server, template: QemuTemplate) -> None:
    await client.create_template(template)
    with pytest.raises(UsageError, match="kernel_comand_line"):
        await client.update_template(template.template_id, {"kernel_comand_line": "x"})
    with pytest.raises(BugError, match="compute_id"):
        await client.update_template(template.template_id, {"compute_id": "vm"})


async def test_names_that_v3_would_refuse_at_node_creation_are_told_at_once(
    client: Server, template: QemuTemplate
) -> None:
    spaced = replace(template, default_name_format="{name}_{0}")
    if client.generation == 2:
        client.check_template(spaced)
    else:
        with pytest.raises(UsageError, match="host names only"):
            client.check_template(spaced)


async def test_v3_refuses_a_second_template_of_one_name(client: Server, template: QemuTemplate) -> None:
    await client.create_template(template)
    twin = replace(template, template_id=str(uuid.uuid4()))
    if client.generation == 2:
        await client.create_template(twin)
        await client.delete_template(twin.template_id)
    else:
        with pytest.raises(ConflictError, match="already exists"):
            await client.create_template(twin)


async def test_built_in_templates_are_listed_without_values(client: Server) -> None:
    cloud = next(item for item in await client.templates() if item.template_type == "cloud")
    assert cloud.builtin and cloud.values is None


async def test_the_server_itself_runs_nodes(client: Server) -> None:
    assert await client.default_compute() == "local"
    assert [(compute.compute_id, compute.connected) for compute in await client.computes()] == [("local", True)]
