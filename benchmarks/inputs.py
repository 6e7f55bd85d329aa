"""What the benchmark converts: images of the engine, and the same images in an archive, a folder and a registry."""

from __future__ import annotations

import io
import os
import random
import shlex
import socket
import subprocess
import tarfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DEBIAN = "debian:bookworm-slim"
LAYERS = "gns3-minivm-benchmark:layers"
TREE = "gns3-minivm-benchmark:tree"
TREE_FILES, TREE_MEAN_SIZE = 65_000, 20_000
_FILE_SIZE_MAX = 8 << 20
_START_LIMIT_S = 30


@dataclass(frozen=True)
class Input:
    """One image in all its forms; ``registry`` is HOST:PORT/NAME:TAG."""

    name: str
    engine: str
    archive: Path
    oci: Path
    registry: str
    size_bytes: int


def call(*words: str | Path, folder: Path | None = None) -> str:
    """Run a program for its output."""
    return subprocess.run(words, cwd=folder, check=True, text=True, stdout=subprocess.PIPE).stdout


def find_image(name: str, folder: Path, build_network: str | None) -> str:
    """The engine's name of an image; ``layers`` and ``tree`` are made if the engine does not have them."""
    if name == "debian":
        return DEBIAN
    if name == "layers":
        network = ["--network", build_network] if build_network else []
        call("docker", "build", "-q", *network, "-t", LAYERS, HERE / "layers")
        return LAYERS
    if name == "tree":
        if not call("docker", "images", "-q", TREE):
            source = folder / "tree.tar"
            write_tree(source, TREE_FILES, TREE_MEAN_SIZE)
            call("docker", "import", source, TREE)
            source.unlink()
        return TREE
    return name


def prepare(name: str, folder: Path, registry: str, build_network: str | None, sources: Collection[str]) -> Input:
    """Make the image's other forms, those that ``sources`` need, with the tools that people have for it."""
    folder.mkdir()
    engine = find_image(name, folder, build_network)
    archive, oci = folder / "image.tar", folder / "oci"
    place = f"{registry}/benchmark/{folder.name}:1"
    call("docker", "save", "-o", archive, engine)
    if "oci" in sources or "registry" in sources:
        call("skopeo", "copy", "-q", f"docker-archive:{archive}", f"oci:{oci}:1")
    if "registry" in sources:
        call("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{oci}:1", f"docker://{place}")
    return Input(name, engine, archive, oci, place, archive.stat().st_size)


def write_tree(target: Path, files: int, mean_size: int) -> None:
    """A tar of ``files`` files in folders of 100: few large and many small ones, most of which compress as programs do.

    The text that they are cut from is too large to be found again in a compressor's window.  Its words are as unequally
    frequent as those of a language: zstd at level 3 makes 0.40 of it in clusters of 64 KiB; of /usr/bin on Debian 12
    0.42, of /usr/lib 0.37.
    """
    chance = random.Random(7)
    words = [chance.randbytes(chance.randint(3, 12)) for _ in range(4096)]
    text = b"".join(chance.choices(words, [1 / rank**1.1 for rank in range(1, 4097)], k=8_000_000))
    with tarfile.open(target, "w") as archive:
        for number in range(files):
            if number % 100 == 0:
                folder = tarfile.TarInfo(f"tree/{number // 10_000}/{number // 100}")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(folder)
            # The mean of a lognormal distribution is exp(mu + sigma^2 / 2) times its scale.
            size = min(_FILE_SIZE_MAX, int(mean_size * chance.lognormvariate(-1.125, 1.5)))
            start = chance.randint(0, len(text) - size)
            data = chance.randbytes(size) if number % 10 == 0 else text[start : start + size]
            info = tarfile.TarInfo(f"tree/{number // 10_000}/{number // 100}/file-{number}")
            info.size, info.mode = size, 0o644
            archive.addfile(info, io.BytesIO(data))


@contextmanager
def running_registry(folder: Path) -> Iterator[str]:
    """Debian's docker-registry on the loopback interface, at HOST:PORT."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_LIMIT_S
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the registry did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def quoted(value: str | os.PathLike[str]) -> str:
    """A word for a shell script."""
    return shlex.quote(os.fspath(value))
