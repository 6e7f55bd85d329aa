"""A real Docker engine: images are built once, inspected and fetched as it really answers."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from gns3_minivm.appliances import Appliances
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import ArchitectureError, BuildError, ImageNotFoundError
from gns3_minivm.base.events import Event, Events
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.images.engine.build import Build, build_image
from gns3_minivm.images.engine.client import BuildOptions, Engine, connect
from gns3_minivm.images.engine.image import find_image
from gns3_minivm.images.resolve import Sources, resolve
from tests.support.disks import debugfs, judge

HOST = BuildOptions(network="host")


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[Engine]:
    with connect({"DOCKER_HOST": docker_host}) as found:
        yield found


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    # Not in any engine's cache yet.
    (folder / "salt").write_text(secrets.token_hex(16))
    (folder / "Dockerfile").write_text(
        'FROM debian:bookworm-slim\nCOPY salt /salt\nRUN cat /salt > /copy\nCMD ["bash"]\n'
    )
    return folder


def load(docker_host: str, name: str, architecture: str) -> None:
    """Give the engine an image of one small layer that says it is for ``architecture``."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    diff_id = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
    config = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        members = {"config.json": config, "manifest.json": manifest, "layer.tar": layer.getvalue()}
        for member, content in members.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    client: Any = docker.DockerClient(base_url=docker_host)
    try:
        client.images.load(archive.getvalue())
    finally:
        client.close()


def test_a_context_is_built_once_and_found_afterwards(engine: Engine, context: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    tag = build_image(engine, Build("oracle-once", context), HOST, Events(seen.append))
    assert seen
    seen.clear()
    assert build_image(engine, Build("oracle-once", context), HOST, Events(seen.append)) == tag
    assert seen == []
    image = find_image(engine, tag)
    assert image.info.config.cmd == ("bash",)
    spool = tmp_path / "spool"
    spool.mkdir()
    layers = image.fetch(spool, lambda _: None)
    assert tuple(layer.diff_id for layer in layers) == image.info.diff_ids
    for layer in layers:
        with layer.path.open("rb") as stream:
            stream.seek(layer.offset)
            assert "sha256:" + hashlib.sha256(stream.read(layer.size)).hexdigest() == layer.diff_id


def test_a_failing_step_is_named_with_what_it_said(engine: Engine, context: Path) -> None:
    with (context / "Dockerfile").open("a") as stream:
        stream.write("RUN echo about to fail; exit 7\n")
    with pytest.raises(BuildError) as caught:
        build_image(engine, Build("oracle-fails", context), HOST, Events())
    assert 'failed in step 5 of 5, "RUN echo about to fail; exit 7"' in caught.value.message
    assert "returned a non-zero code: 7" in caught.value.message
    assert "\n  | about to fail" in caught.value.message


def test_an_image_for_another_architecture_is_refused(engine: Engine, docker_host: str) -> None:
    load(docker_host, "gns3-minivm/oracle-arm64:1", "arm64")
    with pytest.raises(ArchitectureError, match="made for linux/arm64; only linux/amd64 can run"):
        find_image(engine, "gns3-minivm/oracle-arm64:1")


@pytest.mark.parametrize(
    "name", ["gns3-minivm/not-there", "gns3-minivm/not-there:1", "UPPER/case", "a b", "x@sha256:5"]
)
def test_what_the_engine_does_not_know_is_not_found(engine: Engine, name: str) -> None:
    with pytest.raises(ImageNotFoundError):
        find_image(engine, name)


def test_the_debian_appliance_is_built_and_converted(engine: Engine, tmp_path: Path) -> None:
    found = resolve(
        "debian-minivm",
        Sources(appliances=Appliances, connect=lambda: engine, busybox=lambda: b"", build=HOST),
        Events(),
    )
    assert found.appliance is not None
    assert found.image.info.config.cmd == ("/etc/init.sh",)
    disk = tmp_path / "disk.qcow2"
    disk.symlink_to(convert(found.image, DiskOptions(), Cache(tmp_path / "cache"), Events()).path)
    raw = judge(disk)
    script, button, hosts, ping = debugfs(
        raw,
        ["stat /etc/init.sh", "stat /etc/acpi/PWRF/00000080", "cat /etc/hosts", "ea_list /usr/bin/ping"],
        tmp_path,
    )
    assert "Mode:  0755" in script and "Mode:  0755" in button
    assert "127.0.0.1\tlocalhost" in hosts
    assert "security.capability" in ping
    raw.unlink()
