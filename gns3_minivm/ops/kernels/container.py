"""Compiling a kernel in a container: Debian's own tools, on machines that lack them or have no apt at all.

The container uses this machine's network, so that apt inside it finds its servers where containers have no way out.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from gns3_minivm.base.errors import EngineError, ImageNotFoundError, PackageError, ToolError
from gns3_minivm.base.events import Events, Step
from gns3_minivm.bundle.model import PackageRecord
from gns3_minivm.bundle.packages.apt import Apt, AptPackages, choose_from, download_progress
from gns3_minivm.bundle.packages.package_set import KernelPart, PackageSource, ResolvedPackages
from gns3_minivm.bundle.source.toolchain import HEADERS, LINUX, PROGRAMS, OnLine, Toolchain, Workplace, identity
from gns3_minivm.images.engine.client import Engine, connect
from gns3_minivm.images.engine.container import Container

CONTAINER_IMAGE = "debian:bookworm-slim"
"""Where a kernel is compiled unless another image is named: the release that monolithic.config is written for."""
_FOLDER = "/root"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CLEAN = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", f"HOME={_FOLDER}")
_APT_HINT = (
    "The container uses this machine's network to reach the Debian servers of its image. Choose another image with "
    "--container IMAGE."
)


class ContainerTools(Toolchain):
    """Tools that apt installs in a container of ``image``, which has to be Debian's or made from it."""

    def __init__(self, image: str = CONTAINER_IMAGE) -> None:
        self._image = image

    @contextmanager
    def open(self, _scratch: Path, events: Events) -> Iterator[Workplace]:
        environment = {name: os.environ[name] for name in _PROXIES if name in os.environ}
        with connect() as engine:
            _fetch(engine, self._image, events)
            with engine.container(self._image, network="host", environment=environment) as container:
                apt = _ContainerApt(container)
                with events.step("Installing compiler and tools in a container", total=200) as step:
                    complaint = apt.update(step)
                    apt.install(sorted({*PROGRAMS.values(), *HEADERS.values(), "xz-utils", "tar"}), step)
                    step.detail = self._image
                yield _InContainer(container, _ContainerPackages(apt, complaint))


def _fetch(engine: Engine, image: str, events: Events) -> None:
    try:
        engine.inspect(image)
    except ImageNotFoundError:
        with events.step(f"Getting {image}"), closing(engine.pull(image)) as messages:
            for message in messages:
                if "error" in message:
                    raise EngineError(
                        f"the Docker engine at {engine} cannot get {image}: {message['error']}",
                        hint=f"`docker pull {image}` shows why; choose another image with --container IMAGE.",
                    ) from None


class _InContainer(Workplace):
    def __init__(self, container: Container, packages: PackageSource) -> None:
        self._container = container
        self._packages = packages
        container.run(("mkdir", f"{_FOLDER}/{LINUX}"))
        self.compiler = identity(self.run)
        self.jobs = int(container.run(("nproc",)).strip())

    def packages(self) -> PackageSource:
        return self._packages

    def unpack(self, tarball: Path, events: Events) -> None:
        path = f"{_FOLDER}/{tarball.name}"
        with events.step("Unpacking the source in the container"), tarball.open("rb") as stream:
            self._container.write(path, stream, tarball.stat().st_size)
            self.run(("tar", "-xf", path, "--strip-components=1"))

    def write(self, name: str, data: bytes) -> None:
        self._container.write(f"{_FOLDER}/{name}", io.BytesIO(data), len(data))

    def read(self, name: str) -> bytes:
        return self._container.read(f"{_FOLDER}/{name}")

    def run(self, words: Sequence[str], *, on_line: OnLine | None = None, hint: str = "") -> str:
        return self._container.run((*_CLEAN, *words), folder=f"{_FOLDER}/{LINUX}", on_line=on_line, hint=hint)


class _ContainerApt(Apt):
    def __init__(self, container: Container) -> None:
        self._container = container

    def install(self, names: Sequence[str], step: Step) -> None:
        words = ("-q", "-y", "--no-install-recommends", "-o", "APT::Status-Fd=1", "install", *names)
        self._run("apt-get", *words, on_line=download_progress(step, 100))

    def download(self, records: list[PackageRecord], folder: Path, step: Step) -> None:
        wanted = [f"{record.name}={record.version}" for record in records]
        self._container.run(("mkdir", "-p", f"{_FOLDER}/debs"))
        total = sum(record.size_bytes for record in records)
        words = ("-q", "-o", "APT::Status-Fd=1", "-o", "APT::Sandbox::User=root", "download", *wanted)
        self._run("apt-get", *words, folder=Path(_FOLDER, "debs"), on_line=download_progress(step, total))
        for record in records:
            (folder / record.filename).write_bytes(self._container.read(f"{_FOLDER}/debs/{record.filename}"))

    def _run(
        self, program: str, *words: str, folder: Path | None = None, on_line: Callable[[str], bool] | None = None
    ) -> str:
        settings = ("env", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
        try:
            return self._container.run(
                (*settings, program, *words), folder=str(folder or "/"), on_line=on_line, hint=_APT_HINT
            )
        except ToolError as error:
            raise PackageError(error.message, hint=error.hint) from error


class _ContainerPackages(PackageSource):
    def __init__(self, apt: _ContainerApt, complaint: str) -> None:
        self._apt = apt
        self._complaint = complaint

    @contextmanager
    def resolve(self, _events: Events) -> Iterator[ResolvedPackages]:
        yield AptPackages(self._apt, choose_from(self._apt, self._complaint, kernel=KernelPart.SOURCE))
