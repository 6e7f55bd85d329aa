"""Projects, nodes, links and node files on real servers, with real QEMU processes."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gns3_minivm.base.artifacts import Kind, measure
from gns3_minivm.base.errors import ConflictError, NodeError, NotFoundError, UsageError
from gns3_minivm.gns3.model import LinkEnd, QemuTemplate
from gns3_minivm.gns3.server import Server
from tests.support.tools import require_tool


@dataclass(frozen=True)
class Lab:
    client: Server
    project_id: str
    template: QemuTemplate
    disk_md5: str


@pytest.fixture
async def lab(client: Server, tmp_path: Path) -> AsyncIterator[Lab]:
    """An empty project and a template whose disk does nothing but reset the machine."""
    require_tool("qemu-system-x86_64")
    raw, path = tmp_path / "reset.raw", tmp_path / "reset.qcow2"
    # A boot sector: jmp 0xf000:0xfff0.  The id makes each disk's content its own.
    raw.write_bytes((b"\xea\xf0\xff\x00\xf0" + uuid.uuid4().bytes).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    command = [require_tool("qemu-img"), "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    disk = measure(Kind.DISK, path, f"reset-{uuid.uuid4().hex[:12]}.qcow2")
    filename = (await client.upload_image(path, disk.filename, disk.size_bytes, disk.md5)).filename
    template = QemuTemplate(
        template_id=str(uuid.uuid4()),
        name=f"vm-{uuid.uuid4().hex[:8]}",
        hda_disk_image=filename,
        adapters=2,
        on_close="power_off",
        ram_mb=32,
        options="-cpu Nehalem",
    )
    await client.create_template(template)
    project = await client.create_project(f"lab-{uuid.uuid4().hex[:8]}")
    yield Lab(client, project.project_id, template, disk.md5)
    await client.delete_project(project.project_id)
    await client.delete_template(template.template_id)


async def test_a_project_is_made_listed_closed_and_deleted(client: Server) -> None:
    name = f"project-{uuid.uuid4().hex[:8]}"
    project = await client.create_project(name)
    assert (project.name, project.status) == (name, "opened")
    assert project in await client.projects()
    with pytest.raises(ConflictError, match="already exists|already used"):
        await client.create_project(name)
    await client.close_project(project.project_id)
    assert [p.status for p in await client.projects() if p.name == name] == ["closed"]
    await client.delete_project(project.project_id)
    assert name not in [p.name for p in await client.projects()]


async def test_a_node_has_the_name_image_and_ports_it_was_asked_for(lab: Lab) -> None:
    node = await lab.client.create_node(lab.project_id, lab.template.template_id, name="left", x=10, y=-20)
    assert (node.name, node.status, node.node_type) == ("left", "stopped", "qemu")
    assert node.template_id == lab.template.template_id
    assert [(port.name, port.adapter, port.port) for port in node.ports] == [("eth0", 0, 0), ("eth1", 1, 0)]
    assert node.image_md5s == {"hda_disk_image": lab.disk_md5}
    assert (node.console_host, node.console_port is not None) == ("127.0.0.1", True)
    assert await lab.client.node(lab.project_id, node.node_id) == node
    assert await lab.client.nodes(lab.project_id) == [node]
    other = await lab.client.create_node(lab.project_id, lab.template.template_id)
    assert other.name == f"{lab.template.name}-1"


async def test_a_started_node_runs_and_a_stopped_one_does_not(lab: Lab) -> None:
    node = await lab.client.create_node(lab.project_id, lab.template.template_id, name="runs")
    assert await lab.client.node_log(lab.project_id, node.node_id) == ""
    assert (await lab.client.start_node(lab.project_id, node.node_id, watch_s=1)).status == "started"
    assert "qemu-system-x86_64" in await lab.client.node_log(lab.project_id, node.node_id)
    _, writer = await asyncio.open_connection(node.console_host, node.console_port)
    writer.close()
    await writer.wait_closed()
    assert (await lab.client.stop_node(lab.project_id, node.node_id)).status == "stopped"


async def test_a_node_that_ends_at_once_is_told_with_its_log(lab: Lab) -> None:
    node = await lab.client.create_node(lab.project_id, lab.template.template_id, name="broken")
    properties = {"options": "-cpu Nehalem -device loader,file=missing.bin"}
    await lab.client.update_node(lab.project_id, node.node_id, properties=properties)
    with pytest.raises(NodeError, match=r"missing\.bin") as caught:
        await lab.client.start_node(lab.project_id, node.node_id)
    assert caught.value.hint


async def test_a_node_that_dies_while_it_is_watched_is_a_node_error(lab: Lab) -> None:
    node = await lab.client.create_node(lab.project_id, lab.template.template_id, name="dies")
    properties = {"options": "-cpu Nehalem -no-reboot"}
    await lab.client.update_node(lab.project_id, node.node_id, properties=properties)
    with pytest.raises(
        NodeError, match=r"'dies' was started but is already stopped; its qemu\.log ends with"
    ) as caught:
        await lab.client.start_node(lab.project_id, node.node_id, watch_s=20)
    assert "-no-reboot" in caught.value.message


async def test_a_nodes_properties_and_name_can_be_changed(lab: Lab) -> None:
    node = await lab.client.create_node(lab.project_id, lab.template.template_id, name="one")
    changed = await lab.client.update_node(
        lab.project_id, node.node_id, name="two", properties={"ram": 48, "kernel_command_line": "x=1"}
    )
    assert (changed.name, changed.properties["ram"], changed.properties["kernel_command_line"]) == ("two", 48, "x=1")
    assert changed.properties["options"] == "-cpu Nehalem"
    with pytest.raises(UsageError, match=r"properties\.qemu_path"):
        await lab.client.update_node(lab.project_id, node.node_id, properties={"qemu_path": "/bin/false"})


async def test_a_nodes_files_are_written_and_read(lab: Lab) -> None:
    node = await lab.client.create_node(lab.project_id, lab.template.template_id, name="files")
    data = bytes(range(256)) * 400
    await lab.client.write_node_file(lab.project_id, node.node_id, "payload.bin", data)
    assert await lab.client.read_node_file(lab.project_id, node.node_id, "payload.bin") == data
    with pytest.raises(NotFoundError):
        await lab.client.read_node_file(lab.project_id, node.node_id, "nothing")
    for path in ("../x", "/etc/passwd", ".hidden", "a/../../x"):
        with pytest.raises(UsageError, match="not inside the node's directory"):
            await lab.client.read_node_file(lab.project_id, node.node_id, path)


async def test_two_nodes_are_linked_by_their_adapters(lab: Lab) -> None:
    left, right = [
        await lab.client.create_node(lab.project_id, lab.template.template_id, name=name) for name in ("left", "right")
    ]
    ends = (LinkEnd(left.node_id, 0), LinkEnd(right.node_id, 1))
    link = await lab.client.create_link(lab.project_id, ends)
    assert link.ends == ends
    assert await lab.client.links(lab.project_id) == [link]
    with pytest.raises(ConflictError, match="already used"):
        await lab.client.create_link(lab.project_id, ends)
    assert await lab.client.links(lab.project_id) == [link]
    await lab.client.delete_link(lab.project_id, link.link_id)
    assert await lab.client.links(lab.project_id) == []


async def test_a_deleted_node_is_gone(lab: Lab) -> None:
    node = await lab.client.create_node(lab.project_id, lab.template.template_id)
    await lab.client.start_node(lab.project_id, node.node_id, watch_s=0)
    await lab.client.delete_node(lab.project_id, node.node_id)
    assert await lab.client.nodes(lab.project_id) == []
