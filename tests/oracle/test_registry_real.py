"""Real registries (docker-registry) with logins, certificates, mirrors and damage; the clients are real, too."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from gns3_minivm.appliances import Appliances
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import DamagedImageError, EngineError, ImageNotFoundError, RegistryError
from gns3_minivm.base.events import Events
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.images.engine.client import connect
from gns3_minivm.images.registry import client as registry_module
from gns3_minivm.images.registry.options import RegistryOptions
from gns3_minivm.images.resolve import Sources, resolve
from tests.support.disks import run
from tests.support.layers import file, tar_bytes
from tests.support.minivm import gns3_minivm
from tests.support.oci import archive, layout, make_image, saved, write_files
from tests.support.registry import running_registry
from tests.support.tools import require_tool

USER, PASSWORD = "tester", "pass:w0rd"
# bcrypt of PASSWORD, as htpasswd -B makes it.
HASHED = "$2y$05$abcdefghijklmnopqrstuuaawI20eFRuOzOn6yaWJoSGK0iychT2G"
LAYERS = [tar_bytes([file("a", random.Random(7).randbytes(500_000))]), tar_bytes([file("b", b"text " * 9000)])]
SMALL = DiskOptions(size_bytes=64 << 20)


def disk_of(name: str, folder: Path, options: RegistryOptions | None = None, docker_host: str = "") -> str:
    """The md5 of the disk of an image, made anew."""

    def engine() -> Any:
        if not docker_host:
            raise EngineError("there is no Docker engine")
        return connect({"DOCKER_HOST": docker_host})

    sources = Sources(
        appliances=lambda: Appliances(()), connect=engine, busybox=lambda: b"", registries=options or RegistryOptions()
    )
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    return convert(resolve(name, sources, Events()).image, SMALL, Cache(cache), Events()).md5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image as a folder, for skopeo."""
    return f"oci:{write_files(tmp_path_factory.mktemp('source') / 'image', layout(make_image(LAYERS)))}"


@pytest.fixture(scope="module")
def expected(source: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return disk_of(source, tmp_path_factory.mktemp("expected"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any credentials."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    return folder


def push(source: str, name: str, *options: str) -> None:
    skopeo = require_tool("skopeo")
    run(skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", *options, source, f"docker://{name}")


@pytest.fixture(scope="module")
def private(source: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that asks for a login, with the image as team/x:1."""
    with running_registry(tmp_path_factory.mktemp("private"), {USER: HASHED}) as host:
        push(source, f"{host}/team/x:1", "--dest-creds", f"{USER}:{PASSWORD}")
        yield host


def docker_config(host: str, home: Path, password: str) -> None:
    words = base64.b64encode(f"{USER}:{password}".encode()).decode()
    write_files(home / ".docker", {"config.json": json.dumps({"auths": {host: {"auth": words}}}).encode()})


def credential_helper(host: str, home: Path, password: str) -> None:
    write_files(home / ".docker", {"config.json": json.dumps({"credHelpers": {host: "file"}}).encode()})
    answer = json.dumps({"ServerURL": host, "Username": USER, "Secret": password})
    program = home / "docker-credential-file"
    program.write_text(f"#!/bin/sh\nread -r name\n[ \"$1 $name\" = 'get {host}' ] && echo '{answer}'\n")
    program.chmod(0o755)
    os.environ["PATH"] = f"{home}:{os.environ['PATH']}"


def skopeo_login(host: str, home: Path, password: str) -> None:
    """As skopeo and podman themselves write it."""
    path = home / "run" / "containers" / "auth.json"
    words = ["login", "--tls-verify=false", "--username", USER, "--password", PASSWORD, "--authfile", str(path), host]
    run(require_tool("skopeo"), *words)
    if password != PASSWORD:
        good = base64.b64encode(f"{USER}:{PASSWORD}".encode())
        bad = base64.b64encode(f"{USER}:{password}".encode())
        path.write_bytes(path.read_bytes().replace(good, bad))


@pytest.mark.parametrize("log_in", [docker_config, credential_helper, skopeo_login])
def test_a_login_is_taken_from_where_the_users_tools_keep_it(
    private: str,
    expected: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_in: Callable[[str, Path, str], None],
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    name = f"docker://{private}/team/x:1"
    with pytest.raises(RegistryError, match="asks for a name and password"):
        disk_of(name, tmp_path)
    log_in(private, home, PASSWORD)
    assert disk_of(name, tmp_path) == expected
    log_in(private, home, "wr0ng")
    with pytest.raises(RegistryError, match="refuses access") as caught:
        disk_of(name, tmp_path)
    assert "wr0ng" not in f"{caught.value.message} {caught.value.hint}"


def test_a_certificate_is_checked_unless_the_registry_is_called_insecure(
    source: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    run(require_tool("openssl"), *words)
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry", certificate=(certificate, key)) as host:
        name = f"docker://{host}/tls/x:1"
        push(source, f"{host}/tls/x:1")
        # On this machine's own addresses any certificate will do.
        assert disk_of(name, tmp_path) == expected
        monkeypatch.setattr(registry_module, "is_loopback", lambda _: False)
        with pytest.raises(RegistryError, match="cannot be trusted") as caught:
            disk_of(name, tmp_path)
        assert "--insecure-registry" in caught.value.hint
        assert disk_of(name, tmp_path, RegistryOptions(insecure=frozenset({host}))) == expected
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert disk_of(name, tmp_path) == expected


def stored(registry: Path, digest: str) -> Path:
    """Where docker-registry keeps a blob."""
    return registry / "data/docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"


@pytest.mark.parametrize("fault", ["damaged", "missing", "empty"])
@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_what_is_wrong_in_a_mirrors_storage_comes_from_the_registry(
    source: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, fault: str
) -> None:
    monkeypatch.setattr(registry_module, "_PAUSE_S", 0.0)
    for name in ("mirror", "own"):
        (tmp_path / name).mkdir()
    with running_registry(tmp_path / "mirror") as mirror, running_registry(tmp_path / "own") as own:
        for host in (mirror, own):
            push(source, f"{host}/team/x:1", "--preserve-digests")
        image = make_image(LAYERS)
        digests = {
            "manifest": image.top["digest"],
            "config": image.manifest["config"]["digest"],
            "layer": image.manifest["layers"][1]["digest"],
        }
        path = stored(tmp_path / "mirror", digests[part])
        data = path.read_bytes()
        path.unlink()
        if fault != "missing":
            path.write_bytes(b"" if fault == "empty" else data[:-5] + bytes([data[-5] ^ 4]) + data[-4:])
        with pytest.raises((DamagedImageError, ImageNotFoundError, RegistryError)):
            disk_of(f"docker://{mirror}/team/x:1", tmp_path)
        options = RegistryOptions.parse("", (f"{own}={mirror}",), ())
        assert disk_of(f"docker://{own}/team/x:1", tmp_path, options) == expected


async def test_the_command_needs_no_docker_at_all_for_a_registry(
    source: str, expected: str, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry") as host:
        push(source, f"{host}/x:latest")
        output = tmp_path / "disk.qcow2"
        # Neither programs nor a socket: the user has an empty home and nothing on PATH.
        environment = {"PATH": str(home), "DOCKER_HOST": "", "HOME": str(home)}
        words = ("convert", f"docker://{host}/x", "-o", str(output), "--size", "64M", "--json")
        finished = await gns3_minivm(*words, cache=tmp_path / "cache", environment=environment)
    disk = finished.result()["disk"]
    data = output.read_bytes()
    assert disk["md5"] == hashlib.md5(data, usedforsecurity=False).hexdigest() == expected
    assert disk["sha256"] == hashlib.sha256(data).hexdigest()
    assert disk["size_bytes"] == len(data)


def test_a_bare_name_means_the_engines_image_before_the_registrys(
    source: str, expected: str, docker_host: str, tmp_path: Path
) -> None:
    other = archive(saved(make_image([tar_bytes([file("other", b"other")])]), "gns3-minivm/bare:1"))
    (tmp_path / "other.tar").write_bytes(other)
    others_disk = disk_of(f"docker-archive:{tmp_path}/other.tar", tmp_path)
    (tmp_path / "registry").mkdir()
    client: Any = docker.APIClient(base_url=docker_host)
    try:
        with running_registry(tmp_path / "registry") as host:
            name = f"{host}/bare:1"
            push(source, name)
            assert disk_of(name, tmp_path, docker_host=docker_host) == expected
            list(client.load_image(other))
            client.tag("gns3-minivm/bare:1", f"{host}/bare", "1")
            try:
                assert disk_of(name, tmp_path, docker_host=docker_host) == others_disk
                assert disk_of(f"docker://{name}", tmp_path, docker_host=docker_host) == expected
            finally:
                client.remove_image(name)
                client.remove_image("gns3-minivm/bare:1")
            assert disk_of(name, tmp_path) == expected
    finally:
        client.close()
