"""What GNS3 itself does with appliance files: the servers' API, and the steps of the GUI's import on API v2.

Server 2.2 only lists appliances; the GUI makes the template.  Its steps are those of gns3-gui's
``gns3/registry/appliance.py`` and ``appliance_to_template.py``, told here in our words.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gns3_minivm.base.errors import ConflictError
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from tests.support.gns3 import GNS3Process

_INSTALL_ATTEMPTS = 10
"""More than there are images, of which each may be found at a bad moment."""
_INSTALL_LIMIT_S = 300


async def ask(process: GNS3Process, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to the server's API, and the JSON object that it answers."""
    async with await connect(parse_address(process.url)) as server:
        return dict(await server._object(method, path, f"{method} {path}", body))


async def ask_for_list(process: GNS3Process, path: str) -> list[dict[str, Any]]:
    async with await connect(parse_address(process.url)) as server:
        return [dict(item) for item in await server._list(path, f"list {path}")]


async def install(process: GNS3Process, appliance_id: str, version: str) -> None:
    """Let a server of API v3 make the template.

    It looks for new images by itself, too; what it finds between two steps of its own installation is a 409.
    """
    async with await connect(parse_address(process.url)) as server:
        path = f"/appliances/{appliance_id}/install?version={quote(version)}"
        for _ in range(_INSTALL_ATTEMPTS):
            try:
                return await server._command("POST", path, f"install {appliance_id}", timeout_s=_INSTALL_LIMIT_S)
            except ConflictError as error:
                if "same checksum already exists" not in error.message:
                    raise
                await asyncio.sleep(1)
        raise AssertionError(f"{appliance_id} was not installed in {_INSTALL_ATTEMPTS} attempts")


def put_on_server(process: GNS3Process, folder: Path) -> None:
    """Copy what ``export`` wrote to where an administrator puts it."""
    places = {".gns3a": process.directory / "appliances", ".svg": process.directory / "symbols"}
    for path in folder.iterdir():
        shutil.copy(path, places.get(path.suffix, process.images))


async def listed(process: GNS3Process, name: str) -> dict[str, Any]:
    """An appliance as the server's own machinery has loaded it."""
    [found] = [item for item in await ask_for_list(process, "/appliances") if item["name"] == name]
    return found


async def template_named(process: GNS3Process, name: str) -> dict[str, Any]:
    """A template as the server gives it."""
    [found] = [item for item in await ask_for_list(process, "/templates") if item["name"] == name]
    return found


async def import_with_gui(process: GNS3Process, appliance: Mapping[str, Any], version: str, folder: Path) -> str:
    """Do what the GUI of 2.2 does with an appliance that its server lists; the id of the template.

    It looks for each image by name and md5 in the folder of the file, sends it to the server, and makes the template of
    the appliance's settings; the version becomes part of the name.
    """
    images = {image["filename"]: image for image in appliance["images"]}
    [chosen] = [item for item in appliance["versions"] if item["name"] == version]
    for filename in chosen["images"].values():
        data = (folder / filename).read_bytes()
        assert hashlib.md5(data).hexdigest() == images[filename]["md5sum"]
        assert len(data) == images[filename]["filesize"]
        (process.images / filename).write_bytes(data)
    settings = {key: value for key, value in appliance["qemu"].items() if key not in ("kvm", "arch")}
    category = appliance["category"]
    outer = ("first_port_name", "port_name_format", "port_segment_size", "linked_clone", "usage", "symbol")
    template = {
        "name": f"{appliance['name']} {version}",
        "template_type": "qemu",
        "compute_id": "local",
        "category": "switch" if category == "multilayer_switch" else category,
        "qemu_path": f"qemu-system-{appliance['qemu']['arch']}",
        **{key: appliance[key] for key in outer if key in appliance},
        **settings,
        **chosen["images"],
    }
    made = await ask(process, "POST", "/templates", template)
    return str(made["template_id"])
