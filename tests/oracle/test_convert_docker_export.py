"""The tree on a converted disk equals what ``docker export`` says of the same image."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import docker
import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.guest.contract import decode_config
from gns3_minivm.images.engine.build import Build, build_image
from gns3_minivm.images.engine.client import BuildOptions, Engine, connect
from gns3_minivm.images.engine.image import EngineImage, find_image
from tests.support.disks import Found, judge, read_back

# Effective and permitted CAP_NET_RAW, version 2, as `setcap cap_net_raw+ep` writes it.
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)

DOCKERFILE = r"""
FROM debian:bookworm-slim
ADD capable.tar /
RUN mkdir -p /opt/real/deep /opt/gone/below /opt/opaque /opt/kind /opt/many /opt/empty \
 && echo keep > /opt/real/keep && ln /opt/real/keep /opt/real/keep2 && ln -s keep /opt/real/link \
 && ln /opt/real/link /opt/real/link2 && ln -s real /opt/way \
 && echo x > /opt/gone/below/file && echo x > /opt/opaque/old && echo x > /opt/kind/file && mkdir /opt/kind/dir \
 && echo x > /opt/kind/dir/inside && ln -s nowhere /opt/kind/symlink && echo x > /opt/gone.file \
 && ln -s "/$(printf %0100d 7)" /opt/long-link && echo owned > /opt/owned && chown 123456:70000 /opt/owned \
 && echo s > /opt/setuid && chmod 6755 /opt/setuid && mkdir -m 1777 /opt/sticky \
 && mkfifo -m 640 /opt/fifo && mknod /opt/char c 1 3 && mknod -m 600 /opt/block b 259 70000 \
 && touch -d 1999-12-31T23:59:59Z /opt/old && touch -d 2040-02-03T04:05:06Z /opt/late && touch -h -d @1 /opt/long-link \
 && seq 1 200000 > /opt/big && truncate -s 3M /opt/big && seq 1 9 >> /opt/big \
 && for i in $(seq 1 3000); do echo $i > "/opt/many/a name that makes the directory large $i"; done \
 && echo n > "/opt/$(printf %0255d 1)" && echo u > "/opt/äöü ☃"
RUN rm -r /opt/gone /opt/gone.file /opt/many/*7 && rm -r /opt/opaque && mkdir /opt/opaque \
    && echo new > /opt/opaque/new \
 && rm /opt/kind/file && mkdir /opt/kind/file && rm -r /opt/kind/dir && echo f > /opt/kind/dir \
 && rm /opt/kind/symlink && mkdir /opt/kind/symlink && echo through > /opt/way/deep/through \
 && ln /opt/real/keep /opt/real/keep3 && chmod 700 /opt/real && chown 5:6 /opt/empty && chmod 400 /opt/owned \
 && rm /etc/shells && echo changed >> /etc/issue
COPY --chown=33:33 copied /opt/way/deep/copied
WORKDIR /opt/real
ENV ONE=1 TWO="2 and more"
USER www-data
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id"]
"""

# What Docker puts into a container of its own accord, and the folders whose time changes by that.
RUN_TIME = {
    ".dockerenv",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
}
TOUCHED = {"", "dev", "etc", "proc", "sys"}
# What we add.
OURS = {".minivm", ".minivm/config", "lost+found"}


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[Engine]:
    with connect({"DOCKER_HOST": docker_host}) as found:
        yield found


@pytest.fixture(scope="module")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> EngineImage:
    context = tmp_path_factory.mktemp("context")
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "copied").write_bytes(b"copied\n")
    with tarfile.open(context / "capable.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("opt/capable")
        info.mode, info.size = 0o755, 4
        info.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
        tar.addfile(info, io.BytesIO(b"ping"))
    tag = build_image(engine, Build("convert-oracle", context), BuildOptions(network="host"), Events())
    return find_image(engine, tag)


@dataclass
class Disk:
    tree: dict[str, Found]
    notes: list[Event]


@pytest.fixture(scope="module")
def disk(image: EngineImage, tmp_path_factory: pytest.TempPathFactory) -> Disk:
    folder = tmp_path_factory.mktemp("disk")
    seen: list[Event] = []
    artifact = convert(image, DiskOptions(), Cache(folder / "cache"), Events(seen.append))
    qcow2 = folder / "disk.qcow2"
    qcow2.symlink_to(artifact.path)
    raw = judge(qcow2)
    tree = read_back(raw, folder / "scratch")
    raw.unlink()
    return Disk(tree, [event for event in seen if isinstance(event, Note)])


@pytest.fixture(scope="module")
def exported(
    image: EngineImage, docker_host: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tarfile.TarInfo]:
    """The entries of ``docker export`` by path; a file's ``sha256`` is in its pax_headers."""
    client = docker.DockerClient(base_url=docker_host)
    path = tmp_path_factory.mktemp("export") / "export.tar"
    try:
        container = client.containers.create(image.image_id)
        try:
            with path.open("wb") as stream:
                chunks: Any = container.export()
                stream.writelines(chunks)
        finally:
            container.remove()
    finally:
        client.close()
    entries = {}
    with tarfile.open(path) as tar:
        for info in tar:
            if info.isreg():
                member = tar.extractfile(info)
                assert member is not None
                info.pax_headers = dict(info.pax_headers) | {"sha256": hashlib.sha256(member.read()).hexdigest()}
            entries[info.name.rstrip("/")] = info
    path.unlink()
    return {name: info for name, info in entries.items() if name not in RUN_TIME}


def test_the_same_names_are_there(disk: Disk, exported: dict[str, tarfile.TarInfo]) -> None:
    assert set(disk.tree) - OURS - RUN_TIME - TOUCHED == set(exported) - TOUCHED
    assert len(exported) > 8000, "the image is large enough to say something"


KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def resolved(name: str, exported: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo:
    """The entry that holds what a name means: its own, or the one that it is a hard link to."""
    info = exported[name]
    return exported[info.linkname] if info.islnk() else info


def test_kinds_modes_owners_times_and_contents_are_the_same(disk: Disk, exported: dict[str, tarfile.TarInfo]) -> None:
    differing = []
    for name in exported:
        if name in TOUCHED:
            continue
        info, found = resolved(name, exported), disk.tree[name]
        wanted: list[Any] = [KINDS[info.type] | info.mode, info.uid, info.gid, int(info.mtime)]
        got: list[Any] = [found.mode, found.uid, found.gid, found.mtime_ns // 1_000_000_000]
        if info.isreg():
            wanted += [info.size, info.pax_headers["sha256"]]
            got += [found.size, hashlib.sha256(found.content).hexdigest()]
        elif info.issym():
            wanted.append(info.linkname)
            got.append(found.target.decode("utf-8", "surrogateescape"))
        elif info.isdev() and not info.isfifo():
            wanted += [info.devmajor, info.devminor]
            got += list(found.device)
        if wanted != got:
            differing.append((name, wanted, got))
    assert not differing, f"{len(differing)} differ: {differing[:10]}"


def test_the_same_names_share_an_inode(disk: Disk, exported: dict[str, tarfile.TarInfo]) -> None:
    groups: dict[str, set[str]] = defaultdict(set)
    for name, info in exported.items():
        if not info.isdir():
            groups[info.linkname if info.islnk() else name].add(name)
    expected = {frozenset(group) for group in groups.values() if len(group) > 1}
    inodes: dict[int, set[str]] = defaultdict(set)
    for name, found in disk.tree.items():
        if not stat.S_ISDIR(found.mode):
            inodes[found.ino].add(name)
    assert {frozenset(group) for group in inodes.values() if len(group) > 1} == expected
    # Whether keep2, of the lower layer, still belongs to them is the engine's storage driver's choice.
    assert any({"opt/real/keep", "opt/real/keep3"} <= group for group in expected)
    assert frozenset({"opt/real/link", "opt/real/link2"}) in expected
    assert disk.tree["opt/real/link"].links == 2


def test_extended_attributes_are_the_same(disk: Disk, exported: dict[str, tarfile.TarInfo]) -> None:
    prefix = "SCHILY.xattr."
    expected = {}
    for name in exported:
        headers = resolved(name, exported).pax_headers
        xattrs = {
            key.removeprefix(prefix): value.encode("utf-8", "surrogateescape")
            for key, value in headers.items()
            if key.startswith(prefix)
        }
        if xattrs:
            expected[name] = xattrs
    assert {name: found.xattrs for name, found in disk.tree.items() if found.xattrs} == expected
    assert expected["opt/capable"] == {"security.capability": CAPABILITY}


def test_the_guest_finds_how_the_image_wants_to_be_run(disk: Disk, image: EngineImage) -> None:
    config, diff_ids = decode_config(disk.tree[".minivm/config"].content)
    assert diff_ids == image.info.diff_ids
    assert config == image.info.config
    assert (config.entrypoint, config.cmd, config.user) == (("/bin/sh", "-c"), ("id",), "www-data")
    assert config.working_dir == "/opt/real"
    assert {"ONE=1", "TWO=2 and more"} <= set(config.env)
    found = disk.tree[".minivm/config"]
    assert (found.mode, found.uid, found.gid) == (stat.S_IFREG | 0o644, 0, 0)


def test_nothing_of_the_image_was_left_out(disk: Disk) -> None:
    assert disk.notes == []
