"""A real Docker engine for tests, and in it ``debian:bookworm-slim``.

The one that ``DOCKER_HOST`` names or that runs on this machine is used if it has that image or can pull it.  Else,
as root, a dockerd of our own is started below a temporary folder and given an image of the same name and content
policy (minbase, no documentation), made with mmdebstrap once per machine.  It has no bridge and leaves iptables alone,
so it runs beside another one and in a chroot; builds have to use the host's network (``network_mode="host"``).
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from tests.support.cache import cache_folder
from tests.support.tools import require_tool

BASE_IMAGE = "debian:bookworm-slim"

# Raise this when the recipe of the base image changes.
_BASE_FORMAT = 3
_START_LIMIT_S = 60
_STOP_LIMIT_S = 30

# The folders that Debian's official slim image leaves out.
_SLIM = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/lintian/*")
# What a build needs to know of this machine's way to the package archives.
_APT_SETTINGS = re.compile(r"Acquire::(https?::|Check-Valid-Until |Check-Date |Retries |ForceIPv)")
_CERTIFICATES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/usr/local/share/ca-certificates"))


@contextmanager
def running_engine() -> Iterator[str]:
    """Yield the ``DOCKER_HOST`` of an engine that has BASE_IMAGE; skip at home (fail in CI) where there can be none."""
    found = _engine_of_this_machine()
    if found:
        yield found
        return
    if os.geteuid() != 0:
        _missing("no Docker engine with debian:bookworm-slim answers, and starting one takes root")
    dockerd = require_tool("dockerd")
    base = _base_tarball()
    # Short, because the path of containerd's socket is limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="minivm-docker-"))
    try:
        with root_to_mount_below() as enter, running_dockerd([*enter, dockerd], folder) as host:
            _import_base(host, base)
            yield host
    finally:
        # dockerd leaves the host's network namespace mounted.
        for mount in mount_points():
            if mount.startswith(f"{folder}/"):
                subprocess.run(["umount", mount], check=True)
        shutil.rmtree(folder)


def _engine_of_this_machine() -> str | None:
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not _listens(host):
        return None
    try:
        client = docker.DockerClient(base_url=host, timeout=300)
    except DockerException:
        return None
    try:
        client.ping()
        try:
            client.images.get(BASE_IMAGE)
        except ImageNotFound:
            client.images.pull(BASE_IMAGE)
    except (DockerException, OSError):
        return None
    finally:
        client.close()
    return host


def _missing(message: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def root_to_mount_below() -> Iterator[list[str]]:
    """Yield the start of a command line that gives the rest of it a root that is a mount point.

    dockerd changes the propagation of "/", which works on mount points only, and the root of a chroot is none.  And
    what enters a container later (``docker exec``) gets the root of its mount namespace, which is not that of a chroot.
    So in a chroot the rest gets a mount namespace of its own, with this root as that of the namespace: joining the
    namespace anew leads out of the chroot, to where pivot_root(2) works.
    """
    if "/" in mount_points():
        yield []
        return
    # Never a folder that is deleted with its content: what is mounted there for a moment is everything.
    old = tempfile.mkdtemp(prefix="minivm-root-")
    script = (
        'here=$(pwd -P) && mount --make-rprivate / && mount --rbind "$here" "$here" && cd "$here" && '
        'pivot_root . ".$0" && cd / && umount --lazy "$0" && exec "$@"'
    )
    anew = ["nsenter", "--mount=/proc/self/ns/mnt", "--wd=/", "sh", "-c", script, old]
    try:
        yield ["unshare", "--mount", "--propagation=unchanged", *anew]
    finally:
        Path(old).rmdir()


def mount_points() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


@contextmanager
def running_dockerd(dockerd: list[str], folder: Path, configuration: str = "{}") -> Iterator[str]:
    host = f"unix://{folder}/docker.sock"
    # A configuration file of its own: the machine's may contradict these options.
    (folder / "daemon.json").write_text(configuration)
    command = [*dockerd, "--config-file", f"{folder}/daemon.json", "--data-root", f"{folder}/data"]
    command += ["--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", "--host", host]
    command += ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    # Debian keeps dockerd's own helpers outside an ordinary user's PATH.
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        _wait_until_it_answers(process, host, folder / "log")
        yield host
    finally:
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # A session of its own, so this reaches its containerd and nobody else's.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait_until_it_answers(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if not _listens(host):
            time.sleep(0.2)
            continue
        client = None
        try:
            client = docker.DockerClient(base_url=host)
            client.ping()
            return
        except (DockerException, OSError):
            time.sleep(0.2)
        finally:
            if client:
                client.close()
    raise RuntimeError(f"dockerd did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _listens(host: str) -> bool:
    """Whether a unix socket takes connections; the docker package leaves its socket open if it does not."""
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True


def _import_base(host: str, base: Path) -> None:
    repository, _, tag = BASE_IMAGE.partition(":")
    changes = ['CMD ["bash"]']
    if _has_certificates():
        changes.append(f"ENV PIP_CERT={_CERTIFICATES[0]} SSL_CERT_FILE={_CERTIFICATES[0]}")
    client = docker.DockerClient(base_url=host, timeout=300)
    try:
        client.api.import_image(src=str(base), repository=repository, tag=tag, changes=changes)
        client.images.get(BASE_IMAGE)
    finally:
        client.close()


def _has_certificates() -> bool:
    """Whether this machine's users are told to trust a certificate bundle of its own."""
    named = any(os.environ.get(name) for name in ("PIP_CERT", "SSL_CERT_FILE"))
    return named and _CERTIFICATES[0].is_file()


def _base_tarball() -> Path:
    """The root of BASE_IMAGE as a tar file in the cache; made by whoever comes first."""
    target = cache_folder() / f"debian-bookworm-slim-{_BASE_FORMAT}.tar"
    with (cache_folder() / "debian-bookworm-slim.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            part = target.with_suffix(".part")
            try:
                _make_base(part)
                part.rename(target)
            finally:
                part.unlink(missing_ok=True)
    return target


def _make_base(target: Path) -> None:
    apt = target.with_suffix(".apt")
    command = [require_tool("mmdebstrap"), "--quiet", "--variant=minbase", "--format=tar", f"--aptopt={apt}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _SLIM]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright", "bookworm", str(target)]
    try:
        apt.write_text(apt_settings())
        made = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    finally:
        apt.unlink(missing_ok=True)
    if made.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{made.stderr[-3000:]}")
    if _has_certificates():
        with tarfile.open(target, "a") as archive:
            there = set(archive.getnames())
            for path in filter(Path.exists, _CERTIFICATES):
                # Docker would give folders that it has to make up the time of the import.
                for parent in [*reversed(path.parents)][1:]:
                    if f".{parent}" not in there:
                        archive.add(parent, f".{parent}", recursive=False, filter=_owned_by_root)
                        there.add(f".{parent}")
                archive.add(path.resolve(), f".{path}", filter=_owned_by_root)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def apt_settings() -> str:
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in dump.splitlines() if _APT_SETTINGS.match(line) and not line.endswith(' "";')]
    return "".join(f"{line}\n" for line in lines)
