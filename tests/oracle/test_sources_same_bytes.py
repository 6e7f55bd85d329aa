"""The same image through every source, as the real tools write and serve it, is the same disk, byte for byte."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
import zstandard

from gns3_minivm.appliances import Appliances
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import ArchitectureError, ImageNotFoundError
from gns3_minivm.base.events import Events
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.convert.recipe import DiskRecipe
from gns3_minivm.images.engine.build import Build, build_image
from gns3_minivm.images.engine.client import BuildOptions, connect
from gns3_minivm.images.engine.image import find_image
from gns3_minivm.images.registry.options import RegistryOptions
from gns3_minivm.images.resolve import Sources, resolve
from tests.support.layers import file, tar_bytes
from tests.support.registry import running_registry
from tests.support.tools import require_tool

USER, PASSWORD = "tester", "pass:w0rd"
# bcrypt of PASSWORD, as htpasswd -B makes it.
HASHED = "$2y$05$abcdefghijklmnopqrstuuaawI20eFRuOzOn6yaWJoSGK0iychT2G"
DOCKERFILE = """\
FROM debian:bookworm-slim
COPY salt /salt
RUN mkdir /gone && touch /gone/file && ln -s salt /link && chmod 4711 /salt
RUN rm -r /gone && rm /etc/motd && head -c 3000000 /dev/zero >/zeros
USER games:games
WORKDIR /srv
ENV A=1 B="two words"
EXPOSE 80/tcp 22
VOLUME /data
LABEL one=1
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id"]
"""


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def digest_of_disk(name: str, cache: Path, docker_host: str = "", options: RegistryOptions | None = None) -> Any:
    def engine() -> Any:
        assert docker_host, "no engine is needed here"
        return connect({"DOCKER_HOST": docker_host})

    sources = Sources(
        appliances=Appliances, connect=engine, busybox=lambda: b"", registries=options or RegistryOptions()
    )
    image = resolve(name, sources, Events()).image
    recipe = DiskRecipe(image.info, DiskOptions())
    disk = convert(image, DiskOptions(), Cache(cache / secrets.token_hex(4)), Events())
    digest = hashlib.sha256(disk.path.read_bytes()).hexdigest()
    assert digest == disk.sha256
    disk.path.unlink()
    return recipe.id, digest


@pytest.fixture(scope="module")
def image(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("context")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "salt").write_text(secrets.token_hex(16))
    with connect({"DOCKER_HOST": docker_host}) as engine:
        return build_image(engine, Build("oracle-sources", folder), BuildOptions(network="host"), Events())


@pytest.fixture(scope="module")
def saved(docker_host: str, image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image as the engine itself saves it."""
    path = tmp_path_factory.mktemp("saved") / "saved.tar"
    client: Any = docker.APIClient(base_url=docker_host)
    try:
        with path.open("wb") as stream:
            for piece in client.get_image(image):
                stream.write(piece)
    finally:
        client.close()
    return path


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def expected(docker_host: str, image: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return digest_of_disk(f"docker-daemon:{image}", tmp_path_factory.mktemp("cache"), docker_host)


def copy(source: Path, target: str, *options: str) -> None:
    """Copy a docker-archive with skopeo, without its policy file and with its own credentials only."""
    words = ["copy", "--dest-tls-verify=false", *options, f"docker-archive:{source}", target]
    run(require_tool("skopeo"), "--insecure-policy", *words)


@pytest.mark.parametrize(
    "options",
    [(), ("--dest-compress-format", "zstd", "--format", "oci"), ("--format", "v2s2"), ("--format", "oci")],
    ids=["as-it-is", "zstd", "schema2", "oci"],
)
def test_a_registry_gives_the_engines_bytes(
    saved: Path, expected: Any, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "registry").mkdir()
    # One for each: skopeo takes a layer that a registry has already, however that is compressed.
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry}/team/x"
        copy(saved, f"docker://{name}:1", *options)
        raw = run(require_tool("skopeo"), "inspect", "--tls-verify=false", "--raw", f"docker://{name}:1")
        assert ("zstd" in raw) == ("zstd" in options)
        assert digest_of_disk(f"docker://{name}:1", tmp_path) == expected
        digest = hashlib.sha256(raw.encode()).hexdigest()
        assert digest_of_disk(f"docker://{name}@sha256:{digest}", tmp_path) == expected


def test_the_engines_own_folders_give_what_it_sends(
    docker_host: str, image: str, expected: Any, tmp_path: Path
) -> None:
    client: Any = docker.APIClient(base_url=docker_host)
    try:
        readable = client.info()["Driver"] == "overlay2" and os.access(client.info()["DockerRootDir"], os.X_OK)
    finally:
        client.close()
    with connect({"DOCKER_HOST": docker_host}) as engine:
        found = find_image(engine, image)
        assert bool(found.folders) == readable
        for folders in (found.folders, []):
            found.folders = folders
            disk = convert(found, DiskOptions(), Cache(tmp_path / str(len(folders))), Events())
            assert disk.sha256 == expected[1]


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_files_of_skopeo_give_the_engines_bytes(transport: str, saved: Path, expected: Any, tmp_path: Path) -> None:
    target = (
        f"{transport}:{tmp_path}/image:team/x:1" if transport == "docker-archive" else f"{transport}:{tmp_path}/image:1"
    )
    copy(saved, target)
    assert digest_of_disk(target, tmp_path) == expected
    assert digest_of_disk(f"{transport}:{tmp_path}/image", tmp_path) == expected


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


def test_the_old_layout_of_docker_save_gives_the_engines_bytes(saved: Path, expected: Any, tmp_path: Path) -> None:
    old = saved
    if "index.json" in names_in(saved):
        old = tmp_path / "old.tar"
        to_old(saved, old)
    assert "index.json" not in names_in(old)
    assert digest_of_disk(f"docker-archive:{old}", tmp_path) == expected
    packed = tmp_path / "saved.tar.gz"
    packed.write_bytes(gzip.compress(saved.read_bytes(), 1))
    assert digest_of_disk(f"docker-archive:{packed}", tmp_path) == expected


def to_old(source: Path, target: Path) -> None:
    """Write what ``docker save`` wrote before Docker 25."""
    with tarfile.open(source) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = archive.extractfile(entry["Config"]).read()  # type: ignore[union-attr]
        layers = [member_of(archive, name) for name in entry["Layers"]]
    names = [f"{number:064x}/layer.tar" for number in range(len(layers))]
    members = dict(zip(names, layers, strict=True))
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [entry | {"Config": name, "Layers": names}]
    members |= {name: config, "manifest.json": json.dumps(manifest).encode()}
    target.write_bytes(tar_bytes([file(name, data) for name, data in members.items()]))


def member_of(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    assert stream is not None
    data = stream.read()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_a_list_of_platforms_gives_ours(registry: str, saved: Path, expected: Any, tmp_path: Path) -> None:
    copy(saved, f"docker://{registry}/team/list:ours", "--format", "oci")
    skopeo = require_tool("skopeo")
    raw = run(skopeo, "inspect", "--tls-verify=false", "--raw", f"docker://{registry}/team/list:ours").encode()
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:" + hashlib.sha256(raw).hexdigest(),
        "size": len(raw),
    }
    for tag, platforms in (("both", ("arm64", "amd64")), ("foreign", ("arm64", "s390x"))):
        entries = [entry | {"platform": {"os": "linux", "architecture": name}} for name in platforms]
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        put_manifest(registry, "team/list", tag, index)
    assert digest_of_disk(f"docker://{registry}/team/list:both", tmp_path) == expected
    with pytest.raises(ArchitectureError, match="made for linux/arm64, linux/s390x; only linux/amd64 can run"):
        digest_of_disk(f"docker://{registry}/team/list:foreign", tmp_path)


def put_manifest(registry: str, path: str, tag: str, manifest: dict[str, Any]) -> None:
    import http.client

    connection = http.client.HTTPConnection(registry)
    try:
        headers = {"Content-Type": manifest["mediaType"]}
        connection.request("PUT", f"/v2/{path}/manifests/{tag}", json.dumps(manifest), headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
    finally:
        connection.close()


def test_plain_names_are_looked_for_in_the_registry_that_the_user_names(
    registry: str, saved: Path, expected: Any, docker_host: str, tmp_path: Path
) -> None:
    copy(saved, f"docker://{registry}/oracle-plain:1")
    copy(saved, f"docker://{registry}/library/oracle-official:1")
    options = RegistryOptions(default=registry)
    assert digest_of_disk("oracle-plain:1", tmp_path, docker_host, options) == expected
    assert digest_of_disk("oracle-official:1", tmp_path, docker_host, options) == expected
    mirrored = RegistryOptions.parse("", (f"registry.invalid={registry}",), ())
    assert digest_of_disk("docker://registry.invalid/oracle-plain:1", tmp_path, options=mirrored) == expected
    with pytest.raises(ImageNotFoundError, match="has no image oracle-nothing"):
        digest_of_disk("docker://oracle-nothing:1", tmp_path, options=options)


def test_a_rootfs_is_the_same_disk_however_it_is_compressed(docker_host: str, tmp_path: Path) -> None:
    client: Any = docker.APIClient(base_url=docker_host)
    root = tmp_path / "root.tar"
    try:
        container = client.create_container("debian:bookworm-slim", ["true"])
        try:
            with root.open("wb") as stream:
                for piece in client.export(container):
                    stream.write(piece)
        finally:
            client.remove_container(container)
    finally:
        client.close()
    expected = digest_of_disk(f"rootfs:{root}", tmp_path)
    for suffix, pack in (
        (".zst", zstandard.ZstdCompressor().compress),
        (".gz", partial(gzip.compress, compresslevel=1)),
    ):
        packed = tmp_path / f"root.tar{suffix}"
        packed.write_bytes(pack(root.read_bytes()))
        assert digest_of_disk(f"rootfs:{packed}", tmp_path) == expected
