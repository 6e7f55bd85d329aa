"""The Docker engine is found as the docker command finds it, and its troubles become our errors."""

from __future__ import annotations

import hashlib
import io
import json
import socketserver
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import (
    ArchitectureError,
    BuildError,
    DamagedImageError,
    EngineError,
    ImageNotFoundError,
)
from gns3_minivm.base.events import Event, Events, StepAdvanced
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images.engine import endpoints
from gns3_minivm.images.engine.build import Build, build_image
from gns3_minivm.images.engine.client import BuildOptions, Engine, connect
from gns3_minivm.images.engine.endpoints import find_endpoints
from gns3_minivm.images.engine.image import find_image
from gns3_minivm.images.engine.socket import EngineSocket, UnexpectedError
from tests.support.engine_store import Store
from tests.support.layers import file, tar_bytes

LAYER = b"a layer" * 1000
DIFF_ID = "sha256:" + hashlib.sha256(LAYER).hexdigest()
IMAGE_ID = "sha256:" + "ab12" * 16


def inspected(**changes: Any) -> dict[str, Any]:
    config = {"Cmd": ["bash"], "Env": ["A=b"], "Labels": {"y": "2", "x": "1"}, "Healthcheck": {"Test": ["NONE"]}}
    image = {
        "Id": IMAGE_ID,
        "RepoTags": ["team/app:1.2"],
        "Os": "linux",
        "Architecture": "amd64",
        "Size": len(LAYER),
        "RootFS": {"Type": "layers", "Layers": [DIFF_ID]},
        "Config": config,
    }
    return image | changes


def saved(layer: bytes = LAYER) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("x/layer.tar")
        info.size = len(layer)
        tar.addfile(info, io.BytesIO(layer))
    return stream.getvalue()


class Standin(socketserver.ThreadingUnixStreamServer):
    """Answers like an engine's API; ``answers`` maps a path's end to a status and a body (or chunks of one)."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.url = f"unix://{path}"
        self.answers: dict[str, tuple[int, Any]] = {
            "/version": (200, {"ApiVersion": "1.41", "Version": "20.10"}),
            "/images/team/app/json": (200, inspected()),
            "/images/json": (200, [{"RepoTags": ["team/app:1.2"]}, {"RepoTags": None}]),
            f"/images/{IMAGE_ID}/get": (200, [saved()]),
        }
        self.requests: list[str] = []
        self.hold = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Standin

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {self.path}")
        fitting = [answer for end, answer in self.server.answers.items() if path.endswith(end)]
        status, body = fitting[0] if fitting else (404, {"message": f"no such image: {path}"})
        self.send_response(status)
        if isinstance(body, list) and body and isinstance(body[0], bytes):
            self._chunked(body)
            return
        data = json.dumps(body).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def _chunked(self, chunks: list[bytes]) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            if chunk == b"DIE":
                self.close_connection = True
                return
            if chunk == b"HOLD":
                self.wfile.flush()
                self.server.hold.wait(30)
                continue
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: standard error is the test's."""


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Standin]:
    with Standin(tmp_path / "docker.sock") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.hold.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def engine(standin: Standin) -> Iterator[Engine]:
    with connect({"DOCKER_HOST": standin.url}) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without Docker settings, and no sockets of this machine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoints, "DOCKER_SOCKET", str(tmp_path / "none.sock"))
    return tmp_path


def make_context(home: Path, name: str, url: str) -> None:
    folder = home / ".docker" / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": url, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    config = home / ".docker" / "config.json"
    if not config.exists():
        config.write_text("{}")


# Layers of an engine on this machine


@pytest.mark.parametrize("is_damaged", [False, True], ids=["whole", "damaged"])
def test_layers_that_can_be_read_where_they_lie_are_not_sent(
    standin: Standin, engine: Engine, tmp_path: Path, is_damaged: bool
) -> None:
    layer = tar_bytes([file("hello", b"x" * 1000)])
    store = Store(tmp_path / "store", layer)
    standin.answers |= {
        "/images/team/app/json": (200, inspected(RootFS={"Layers": store.diff_ids}, **store.inspected())),
        f"/images/{IMAGE_ID}/get": (200, [saved(layer)]),
    }
    if is_damaged:
        (store.folders[0] / "hello").write_bytes(b"y" * 1000)
    (tmp_path / "spool").mkdir()
    arrived: list[int] = []
    [found] = find_image(engine, "team/app").fetch(tmp_path / "spool", arrived.append)
    assert found.path.read_bytes()[found.offset : found.offset + found.size] == layer
    assert any("/get" in request for request in standin.requests) == is_damaged
    assert sum(arrived) == len(saved(layer) if is_damaged else layer)


# Finding it


def test_docker_host_comes_before_contexts_as_in_the_docker_command(home: Path) -> None:
    make_context(home, "far", "tcp://far:2375")
    found = find_endpoints({"DOCKER_HOST": "tcp://near:2375", "DOCKER_CONTEXT": "far"})
    assert [(endpoint.url, endpoint.origin) for endpoint in found] == [("tcp://near:2375", "DOCKER_HOST")]


def test_docker_context_names_a_context(home: Path) -> None:
    make_context(home, "far", "tcp://far:2375")
    assert [endpoint.url for endpoint in find_endpoints({"DOCKER_CONTEXT": "far"})] == ["tcp://far:2375"]


def test_docker_context_is_found_where_there_is_no_config_file(home: Path) -> None:
    make_context(home, "far", "tcp://far:2375")
    (home / ".docker" / "config.json").unlink()
    assert [endpoint.url for endpoint in find_endpoints({"DOCKER_CONTEXT": "far"})] == ["tcp://far:2375"]
    with pytest.raises(EngineError, match="'near' does not exist"):
        find_endpoints({"DOCKER_CONTEXT": "near"})
    next((home / ".docker" / "contexts").rglob("meta.json")).write_text("{")
    with pytest.raises(EngineError, match="'far' cannot be read"):
        find_endpoints({"DOCKER_CONTEXT": "far"})


def test_the_current_context_of_the_configuration_is_used(home: Path) -> None:
    make_context(home, "far", "unix:///far.sock")
    (home / ".docker" / "config.json").write_text('{"currentContext": "far"}')
    assert [endpoint.url for endpoint in find_endpoints({})] == ["unix:///far.sock"]
    assert len(find_endpoints({"DOCKER_CONTEXT": "default"})) == 4


@pytest.mark.usefixtures("home")
def test_a_context_that_is_not_there_is_an_error() -> None:
    with pytest.raises(EngineError, match="the Docker context 'nowhere' does not exist") as caught:
        find_endpoints({"DOCKER_CONTEXT": "nowhere"})
    assert "docker context ls" in caught.value.hint


def test_a_damaged_context_is_an_error(home: Path) -> None:
    make_context(home, "far", "tcp://far:2375")
    next((home / ".docker" / "contexts").rglob("meta.json")).write_text("{")
    with pytest.raises(EngineError, match="'far' cannot be read"):
        find_endpoints({"DOCKER_CONTEXT": "far"})


def test_without_settings_the_usual_sockets_are_tried_and_all_are_named(home: Path) -> None:
    with pytest.raises(EngineError) as caught:
        connect({"XDG_RUNTIME_DIR": str(home)})
    assert f"{home}/docker.sock (rootless Docker): no such socket" in caught.value.message
    assert f"{home}/podman/podman.sock (Podman of this user): no such socket" in caught.value.message
    assert "systemctl start docker" in caught.value.hint


@pytest.mark.usefixtures("home")
def test_rootless_docker_is_found(standin: Standin) -> None:
    # The stand-in's socket is named docker.sock, in the folder that is XDG_RUNTIME_DIR here.
    with connect({"XDG_RUNTIME_DIR": standin.url.removeprefix("unix://").rpartition("/")[0]}) as engine:
        assert "rootless Docker" in str(engine)
        assert engine.version()["Version"] == "20.10"


@pytest.mark.usefixtures("home")
def test_a_socket_that_may_not_be_used_is_told_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object, _address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(EngineError, match="permission denied") as caught:
        connect({"DOCKER_HOST": "unix:///var/run/docker.sock"})
    assert "usermod -aG docker" in caught.value.hint


def test_a_dead_socket_is_told(tmp_path: Path) -> None:
    Standin(tmp_path / "dead.sock").server_close()
    with pytest.raises(EngineError, match="nothing listens there"):
        connect({"DOCKER_HOST": f"unix://{tmp_path}/dead.sock"})


def test_an_engine_over_tcp_that_is_not_there_is_told() -> None:
    with pytest.raises(EngineError, match=r"tcp://127\.0\.0\.1:1 \(DOCKER_HOST\): nothing listens there"):
        connect({"DOCKER_HOST": "tcp://127.0.0.1:1"})


def test_an_engine_that_is_too_old_is_told(standin: Standin) -> None:
    standin.answers["/version"] = (200, {"ApiVersion": "1.20"})
    with pytest.raises(EngineError, match="too old") as caught:
        connect({"DOCKER_HOST": standin.url})
    assert "docker version" in caught.value.hint


@pytest.mark.parametrize("answer", [(200, {}), (200, ["x"]), (500, {"message": "broken"}), (404, {"message": "?"})])
def test_something_else_that_answers_is_told(standin: Standin, answer: tuple[int, Any]) -> None:
    standin.answers["/version"] = answer
    with pytest.raises(EngineError, match="no Docker engine answers at") as caught:
        connect({"DOCKER_HOST": standin.url})
    assert "docker info" in caught.value.hint


def test_certificates_that_are_not_there_are_told(tmp_path: Path) -> None:
    settings = {"DOCKER_HOST": "tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(EngineError, match="DOCKER_CERT_PATH"):
        connect(settings)


# Images


def test_what_the_engine_says_of_an_image_is_read(engine: Engine) -> None:
    info = find_image(engine, "team/app").info
    assert (info.name, info.version, info.architecture, info.size_bytes) == ("app", "latest", "amd64", len(LAYER))
    assert info.diff_ids == (DIFF_ID,)
    assert info.config == GuestConfig(cmd=("bash",), env=("A=b",), labels={"x": "1", "y": "2"})


def test_an_image_named_by_its_id_takes_the_name_of_a_tag(engine: Engine, standin: Standin) -> None:
    standin.answers["/images/ab12ab12/json"] = (200, inspected())
    info = find_image(engine, "ab12ab12").info
    assert (info.name, info.version) == ("app", "ab12ab12ab12")


def test_an_unknown_image_is_told_with_how_to_get_it(engine: Engine) -> None:
    with pytest.raises(ImageNotFoundError, match="has no image 'nothing:1'") as caught:
        find_image(engine, "nothing:1")
    assert "docker pull nothing:1" in caught.value.hint


def test_another_architecture_is_refused_with_both_names(engine: Engine, standin: Standin) -> None:
    standin.answers["/images/team/app/json"] = (200, inspected(Architecture="arm64"))
    with pytest.raises(ArchitectureError, match="made for linux/arm64; only linux/amd64") as caught:
        find_image(engine, "team/app")
    assert "docker pull --platform linux/amd64 team/app" in caught.value.hint


def test_a_windows_image_is_refused(engine: Engine, standin: Standin) -> None:
    standin.answers["/images/team/app/json"] = (200, inspected(Os="windows"))
    with pytest.raises(ArchitectureError, match="windows/amd64"):
        find_image(engine, "team/app")


@pytest.mark.parametrize("layers", [[], None, ["md5:1"], [5]])
def test_an_image_without_proper_diff_ids_is_damaged(engine: Engine, standin: Standin, layers: Any) -> None:
    standin.answers["/images/team/app/json"] = (200, inspected(RootFS={"Layers": layers}))
    with pytest.raises(DamagedImageError):
        find_image(engine, "team/app")


def test_the_layers_are_fetched(engine: Engine, tmp_path: Path) -> None:
    (layer,) = find_image(engine, "team/app").fetch(tmp_path, lambda _: None)
    assert layer.path.read_bytes()[layer.offset :][: layer.size] == LAYER


def test_the_layers_are_fetched_without_loading_the_docker_package(standin: Standin, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from gns3_minivm.images.engine.client import connect
from gns3_minivm.images.engine.image import find_image
from gns3_minivm.images.engine.socket import EngineSocket, UnexpectedError
with connect({{"DOCKER_HOST": {standin.url!r}}}) as engine:
    (layer,) = find_image(engine, "team/app").fetch(Path({str(tmp_path)!r}), lambda amount: None)
print(layer.diff_id, "docker" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == [DIFF_ID, "False"]
    assert standin.requests == ["GET /version", "GET /v1.41/images/team/app/json", f"GET /v1.41/images/{IMAGE_ID}/get"]


def test_an_engine_with_an_unusual_answer_is_asked_through_the_docker_package(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unusual(*_: Any) -> Any:
        raise UnexpectedError("HTTP/3")

    monkeypatch.setattr(EngineSocket, "document", unusual)
    monkeypatch.setattr(EngineSocket, "stream", unusual)
    (layer,) = find_image(engine, "team/app").fetch(tmp_path, lambda _: None)
    assert layer.diff_id == DIFF_ID
    assert engine.version()["Version"] == "20.10"


def test_an_engine_that_dies_midway_is_an_engine_error(engine: Engine, standin: Standin, tmp_path: Path) -> None:
    standin.answers[f"/images/{IMAGE_ID}/get"] = (200, [saved()[:3000], b"DIE"])
    with pytest.raises(EngineError, match="stopped answering while reading"):
        find_image(engine, "team/app").fetch(tmp_path, lambda _: None)


def test_an_engine_that_refuses_is_quoted(engine: Engine, standin: Standin, tmp_path: Path) -> None:
    standin.answers[f"/images/{IMAGE_ID}/get"] = (500, {"message": "no space left on device"})
    with pytest.raises(EngineError, match="no space left on device") as caught:
        find_image(engine, "team/app").fetch(tmp_path, lambda _: None)
    assert "docker system prune" in caught.value.hint


async def test_waiting_for_a_silent_engine_can_be_given_up(engine: Engine, standin: Standin, tmp_path: Path) -> None:
    import asyncio

    standin.answers[f"/images/{IMAGE_ID}/get"] = (200, [saved()[:600], b"HOLD", saved()[600:]])
    image = find_image(engine, "team/app")
    task = asyncio.create_task(run_blocking(image.fetch, tmp_path, lambda _: None))
    await asyncio.sleep(0.2)
    task.cancel()
    before = asyncio.get_running_loop().time()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - before < 3


# Building


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM x\n")
    return folder


def messages(*items: dict[str, Any]) -> list[bytes]:
    return [json.dumps(item).encode() + b"\r\n" for item in items]


def test_a_context_is_built_once_for_each_state(engine: Engine, standin: Standin, context: Path) -> None:
    standin.answers["/build"] = (200, messages({"stream": "Step 1/2 : FROM x\n"}, {"stream": "Step 2/2 : RUN y\n"}))
    seen: list[Event] = []
    tag = build_image(engine, Build("mine", context), BuildOptions(network="host"), Events(seen.append))
    assert tag.startswith("gns3-minivm/mine:") and len(tag) == len("gns3-minivm/mine:") + 12
    built = [request for request in standin.requests if request.startswith("POST")]
    assert len(built) == 1 and "networkmode=host" in built[0] and "nocache=False" in built[0]
    assert any(isinstance(event, StepAdvanced) and event.total == 2 for event in seen)

    standin.answers[f"/images/{tag}/json"] = (200, inspected())
    assert build_image(engine, Build("mine", context), BuildOptions(), Events()) == tag
    assert len([request for request in standin.requests if request.startswith("POST")]) == 1

    build_image(engine, Build("mine", context), BuildOptions(rebuild=True), Events())
    assert "nocache=True" in standin.requests[-1]


def test_a_failed_build_names_the_step_and_shows_its_last_lines(
    engine: Engine, standin: Standin, context: Path
) -> None:
    lines = [{"stream": f"\x1b[91mline {number}\x1b[0m\n"} for number in range(30)]
    standin.answers["/build"] = (
        200,
        messages({"stream": "Step 2/5 : RUN  false\n"}, *lines, {"error": "the command returned 1"}),
    )
    with pytest.raises(BuildError) as caught:
        build_image(engine, Build("mine", context), BuildOptions(), Events())
    first, *shown = caught.value.message.splitlines()
    assert first == 'building the appliance mine failed in step 2 of 5, "RUN false": the command returned 1'
    assert shown == [f"  | line {number}" for number in range(18, 30)]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("Temporary failure resolving 'mirror.example'", "--build-network host"),
        ("Get https://registry.example/v2/: dial tcp: i/o timeout", "docker pull"),
        ("write /x: no space left on device", "docker system prune"),
    ],
)
def test_a_build_that_lacks_something_says_what_helps(
    engine: Engine, standin: Standin, context: Path, words: str, hint: str
) -> None:
    standin.answers["/build"] = (200, messages({"stream": words + "\n"}, {"error": "failed"}))
    with pytest.raises(BuildError) as caught:
        build_image(engine, Build("mine", context), BuildOptions(), Events())
    assert hint in caught.value.hint


def test_an_engine_that_dies_during_a_build_is_an_engine_error(engine: Engine, standin: Standin, context: Path) -> None:
    standin.answers["/build"] = (200, [*messages({"stream": "Step 1/2 : FROM x\n"}), b"DIE"])
    with pytest.raises(EngineError, match="stopped answering while building"):
        build_image(engine, Build("mine", context), BuildOptions(), Events())
