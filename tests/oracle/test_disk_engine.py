"""Generated stacks of layers give the disk that a Docker engine would make of them: ``docker load``, ``docker export``.

Left out is what Docker's storage driver is known to do differently (tests/support/stacks.py) and what an export adds or
does not tell: the engine's own files, the times of folders, attributes other than capabilities.
"""

from __future__ import annotations

import io
import secrets
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from hypothesis import example, given, settings

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Events
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.images.files.docker_archive import find_in_docker_archive
from tests.support.disks import Found, judge, read_back
from tests.support.layers import Item, directory, file, hard_link, tar_bytes
from tests.support.new_engine import running_new_engine
from tests.support.oci import archive, make_image, saved
from tests.support.stacks import SETTINGS, STACKS, comparable, entries_for_engine

# What the engine puts into every container, and what we put onto every disk.
THEIRS = {".dockerenv", "dev", "etc", "proc", "sys"}
OURS = {"", "lost+found", ".minivm"}
SIZE = DiskOptions(size_bytes=64 << 20)
CAPABILITY = "SCHILY.xattr.security.capability"
KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


@pytest.fixture(scope="module")
def client(docker_host: str) -> Iterator[Any]:
    found = docker.APIClient(base_url=docker_host)
    yield found
    found.close()


def exported(client: Any, saved_image: bytes, tag: str) -> dict[str, Found]:
    """What a container of the image would see."""
    for message in client.load_image(saved_image):
        assert "error" not in message, message
    try:
        container = client.create_container(tag, ["nothing"])
        try:
            data = b"".join(client.export(container))
        finally:
            client.remove_container(container)
    finally:
        client.remove_image(tag)
    found: dict[str, Found] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for number, info in enumerate(tar, 1):
            name = info.name.rstrip("/")
            if info.islnk():
                found[name] = found[info.linkname]
                continue
            one = found[name] = Found(KINDS[info.type] | info.mode, info.uid, info.gid, ino=number)
            one.mtime_ns = int(info.mtime) * 1_000_000_000
            if info.isreg():
                one.content = tar.extractfile(info).read()  # type: ignore[union-attr]
            elif info.issym():
                one.target = info.linkname.encode()
            elif info.ischr():
                one.device = (info.devmajor, info.devminor)
            if CAPABILITY in info.pax_headers:
                value = info.pax_headers[CAPABILITY].encode("utf-8", "surrogateescape")
                one.xattrs = {"security.capability": value}
    return {name: one for name, one in found.items() if name.partition("/")[0] not in THEIRS}


def converted(saved_image: bytes) -> dict[str, Found]:
    """What is on our disk of the image."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "saved.tar").write_bytes(saved_image)
        image = find_in_docker_archive(str(folder / "saved.tar"))
        disk = convert(image, SIZE, Cache(folder / "cache"), Events())
        (folder / "disk.qcow2").symlink_to(disk.path)
        tree = read_back(judge(folder / "disk.qcow2"), folder / "scratch")
    return {path: one for path, one in tree.items() if path.partition("/")[0] not in OURS}


def assert_same(client: Any, layers: list[list[Item]]) -> None:
    tag = f"gns3-minivm/stack:{secrets.token_hex(6)}"
    data = archive(saved(make_image([tar_bytes(entries) for entries in layers]), tag))
    assert comparable(converted(data)) == comparable(exported(client, data, tag))


FILE: dict[str, Any] = {"mode": 0o644, "uid": 1, "gid": 2, "mtime": 1000}
OTHER: dict[str, Any] = {"mode": 0o4750, "uid": 3, "gid": 4, "mtime": 2000}
CAPABLE = {"security.capability": b"\1\0\0\2" + bytes(16)}


@settings(SETTINGS, max_examples=12)
@given(STACKS)
@example([[("file", "a/b", FILE, {}, 600)], [("whiteout", "a"), ("directory", "a", FILE, {})]])
@example([[("file", "a/b", FILE, {}, 600)], [("symlink", "a", FILE, "b")], [("directory", "a", FILE, {})]])
@example([[("file", "a/b", FILE, {}, 1)], [("opaque", "a"), ("file", "a/b/c", FILE, {}, 1)], [("whiteout", "a/b")]])
@example([[("file", "a", FILE, {}, 600), ("hard link", "b", "a", OTHER)]])
@example([[("symlink", "a", FILE, "b"), ("hard link", "c", "a", OTHER)]])
@example([[("file", "a", FILE, CAPABLE, 600), ("hard link", "b", "a", OTHER)]])
def test_generated_layers_give_what_the_engine_exports(client: Any, stack: list[list[Any]]) -> None:
    assert_same(client, entries_for_engine(stack))


@pytest.mark.long
@settings(SETTINGS, max_examples=150)
@given(STACKS)
def test_many_generated_layers_give_what_the_engine_exports(client: Any, stack: list[list[Any]]) -> None:
    assert_same(client, entries_for_engine(stack))


@pytest.fixture(scope="module")
def new_client() -> Iterator[Any]:
    with running_new_engine() as host:
        found = docker.APIClient(base_url=host)
        yield found
        found.close()


@pytest.mark.long
@settings(SETTINGS, max_examples=100)
@given(STACKS)
def test_generated_layers_give_what_a_newer_engine_exports(new_client: Any, stack: list[list[Any]]) -> None:
    assert_same(new_client, entries_for_engine(stack))


def test_links_and_replaced_names_are_as_in_the_engine(client: Any) -> None:
    lower = [directory("d"), file("d/one", b"1"), hard_link("d/two", "d/one"), hard_link("three", "d/one")]
    upper = [directory("d"), file("d/.wh.two"), file("three", b"3"), file("new", b"n"), hard_link("d/new", "new")]
    assert_same(client, [lower, upper])
