"""The code keeps to the table of its rooms (tests/support/house.py)."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

import pytest

from tests.support.house import PACKAGE, ROOMS, imports_of, may_import, modules, name_of, room_of

MODULES = modules()
DISTRIBUTIONS = {"yaml": "pyyaml", "zlib_ng": "zlib-ng", "gns3fy_next": "gns3fy-next"}
"""Names of distributions that differ from what is imported."""


def test_every_module_is_in_a_room_and_every_room_has_modules() -> None:
    assert {room_of(name_of(path)) for path in MODULES} == set(ROOMS)


def test_the_table_names_only_what_is_there() -> None:
    names = {name_of(path) for path in MODULES}
    assert not [item for room in ROOMS.values() for item in room.may_import if item not in names]


def test_nothing_in_the_table_is_unused() -> None:
    used: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in MODULES:
        for found in imports_of(path):
            used[room_of(name_of(path))] |= {found.target, room_of(found.target)} if found.ours else {found.target}
    for name, room in ROOMS.items():
        assert not [item for item in (*room.may_import, *room.libraries) if item not in used[name]], name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(name_of(path))
    for found in imports_of(path):
        if found.ours:
            assert may_import(room, found.target), f"{path}:{found.line}: {room} imports {found.target}"
        else:
            allowed = found.target in sys.stdlib_module_names or found.target in ROOMS[room].libraries
            assert allowed, f"{path}:{found.line}: {room} imports {found.target}"


def test_there_are_fewer_than_25_rooms_at_the_top() -> None:
    assert len({name.split(".")[0] for name in ROOMS}) < 25


def test_no_room_imports_itself_through_others() -> None:
    """No circles between top-level rooms."""
    above = {name.split(".")[0]: set[str]() for name in ROOMS}
    for name, room in ROOMS.items():
        top = name.split(".")[0]
        above[top] |= {item.split(".")[0] for item in room.may_import} - {top}
    while leaves := [name for name, targets in above.items() if not targets & set(above)]:
        for name in leaves:
            del above[name]
    assert not above


def test_the_two_disk_formats_do_not_know_each_other() -> None:
    assert "formats.qcow2" not in ROOMS["formats.ext4"].may_import
    assert "formats.ext4" not in ROOMS["formats.qcow2"].may_import


def test_what_differs_between_the_api_versions_stays_below_gns3() -> None:
    outside = [room for name, room in ROOMS.items() if name.split(".")[0] != "gns3"]
    assert not [item for room in outside for item in room.may_import if item.startswith(("gns3.v2", "gns3.v3"))]


def test_every_library_is_declared() -> None:
    settings = configparser.ConfigParser()
    settings.read(PACKAGE.parent / "setup.cfg", encoding="utf-8")
    lines = settings["options"]["install_requires"] + settings["options.extras_require"]["gns3fy"]
    declared = {re.split(r"[ <>=!~]", line)[0].lower() for line in lines.split("\n") if line}
    imported = {DISTRIBUTIONS.get(name, name) for room in ROOMS.values() for name in room.libraries}
    assert imported <= declared


def test_every_folder_of_modules_is_in_the_wheel() -> None:
    settings = (PACKAGE.parent / "setup.cfg").read_text(encoding="utf-8")
    folders = {path.parent.relative_to(PACKAGE.parent).as_posix().replace("/", ".") for path in MODULES}
    named = {line.strip() for line in settings.splitlines()}
    # In an installed wheel the kernel's and the appliances' folders are below the package.
    assert {folder for folder in folders if "._" not in folder} <= named
