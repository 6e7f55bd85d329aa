"""What keeping many servers in step costs: the agent beside servers that cost nothing.

    python benchmarks/sync.py [--appliances 50] [--servers 20] [--upload-mb 1000] [--upload-servers 8] [--json]

Two real GNS3 servers (API v2 and v3, from $GNS3_MINIVM_SERVERS as in the tests) are synchronized through a proxy that
records what they answer; these answers are then given by as many servers as are asked for, in another process.

idle      a catalogue of appliances that every server has already: wall time of the whole command, requests per server
uploads   one large image that no server has, to several servers at once, in turn with curl doing nothing but the same
          uploads to the same replayed servers; peak memory of ours
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring import FailedError, Sample, interpreter_start, run, run_ours
from replaying import Recording, recording_proxy

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.gns3 import running_gns3

SEED = 1
KEPT = "replay"
"""The name under which servers have their templates; ids follow from names, so replayed answers fit all servers."""


@dataclass(frozen=True)
class Idle:
    """Seconds of the whole command, and of the interpreter alone; requests that one server gets."""

    servers: int
    appliances: int
    wall_s: list[float]
    interpreter_s: float
    requests_most: int


@dataclass(frozen=True)
class Uploads:
    """Seconds for the same files to the same servers."""

    servers: int
    size_bytes: int
    ours_s: list[float]
    curl_s: list[float]
    peak_kib: int

    @property
    def share(self) -> float:
        """Of the rate that curl reaches."""
        return statistics.median(self.curl_s) / statistics.median(self.ours_s)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class _Noise:
    """A readable stream that cannot be compressed: as fast as reading, one block of random bytes over and over."""

    def __init__(self, seed: int) -> None:
        self._block = random.Random(seed).randbytes(1 << 20)
        self._position = 0

    def read(self, size: int) -> bytes:
        start = self._position % len(self._block)
        self._position += size
        return (self._block * (size // len(self._block) + 2))[start : start + size]


def write_root(path: Path, size_bytes: int, seed: int) -> None:
    """A root of one file that cannot be compressed."""
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("data")
        member.size = size_bytes
        tar.addfile(member, _Noise(seed))  # type: ignore[arg-type]  # all that it is asked for is read()


def write_catalogue(path: Path, servers: Sequence[str], roots: Sequence[Path]) -> None:
    # JSON is YAML.
    document = {
        "servers": {f"s{i}": {"url": url, "username": "admin", "password_env": "BENCHMARK_PASSWORD"} for i, url in
                    enumerate(servers)},
        "appliances": [{"name": f"{KEPT}-{root.stem}", "image": f"rootfs:{root}"} for root in roots],
    }  # fmt: skip
    path.write_text(json.dumps(document))


def sync_words(catalogue: Path, cache: Path) -> list[str]:
    return ["sync", str(catalogue), "--cache", str(cache), "--json"]


async def record(folder: Path, cache: Path, roots: Sequence[Path], runs: int) -> Path:
    """Synchronize a real server of each generation ``runs`` times; the answers of the last run, as a file."""
    recordings: list[Recording] = []
    for generation in (2, 3):
        with running_gns3(2 if generation == 2 else 3, folder / f"v{generation}-{roots[0].stem}", auth=True) as server:
            for _ in range(runs):
                async with recording_proxy(server.bare_url) as (url, kept):
                    catalogue = folder / f"record-{generation}.yml"
                    write_catalogue(catalogue, [url], roots)
                    await asyncio.to_thread(run_ours, sync_words(catalogue, cache), folder)
            recordings.append(kept)
    target = folder / f"recording-{roots[0].stem}.json"
    target.write_text(json.dumps(recordings))
    return target


@contextmanager
def replayed(recording: Path, count: int, counts: dict[int, int]) -> Iterator[list[str]]:
    """Servers that replay; gives their URLs, and at the end adds to ``counts`` the requests of each."""
    ports = free_ports(count)
    words = [sys.executable, str(Path(__file__).with_name("replaying.py")), str(recording), *map(str, ports)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        for port in ports:
            wait_for(port)
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    counts |= {int(port): number for port, number in json.loads(said).items()}


def wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        subprocess.run(["sleep", "0.05"], check=True)
    raise FailedError(f"nothing answers on port {port}")


def idle(folder: Path, appliances: int, servers: int, repeats: int) -> Idle:
    roots = []
    for i in range(appliances):
        roots.append(folder / f"small{i}.tar")
        write_root(roots[-1], 4096, i)
    cache = folder / "cache"
    recording = asyncio.run(record(folder, cache, roots, runs=2))
    samples: list[Sample] = []
    counts: dict[int, int] = {}
    for _ in range(repeats):
        with replayed(recording, servers, counts) as urls:
            catalogue = folder / "idle.yml"
            write_catalogue(catalogue, urls, roots)
            samples.append(run_ours(sync_words(catalogue, cache), folder))
    return Idle(servers, appliances, [one.wall_s for one in samples], interpreter_start(5, folder),
                max(counts.values()))  # fmt: skip


def uploads(folder: Path, size_bytes: int, servers: int, repeats: int) -> Uploads:
    root = folder / "large.tar"
    write_root(root, size_bytes, SEED)
    cache = folder / "cache"
    recording = asyncio.run(record(folder, cache, [root], runs=1))
    known: list[Recording] = json.loads(recording.read_text())
    disk = max(cache.rglob("disk.qcow2"), key=lambda path: path.stat().st_size)
    # The large disk's upload is the one that both make; kernel and initrd are small.
    routes = [next(key for key in answers if key.startswith("POST ") and "/images/" in key and "qcow2" in key and
                   "modules" not in key).removeprefix("POST ") for answers in known]  # fmt: skip
    ours: list[Sample] = []
    curl: list[Sample] = []
    for _ in range(repeats):
        with replayed(recording, servers, {}) as urls:
            catalogue = folder / "uploads.yml"
            write_catalogue(catalogue, urls, [root])
            ours.append(run_ours(sync_words(catalogue, cache), folder))
        with replayed(recording, servers, {}) as urls:
            targets = [url + routes[i % len(routes)] for i, url in enumerate(urls)]
            jobs = [f"curl -sSf -o /dev/null -X POST -T '{disk}' '{target}' & pids+=($!)" for target in targets]
            script = "\n".join(["pids=()", *jobs, 'for pid in "${pids[@]}"; do wait "$pid"; done'])
            curl.append(run(["bash", "-c", script], folder))
    peak = max(one.peak_kib or 0 for one in ours)
    return Uploads(servers, disk.stat().st_size, [one.wall_s for one in ours], [one.wall_s for one in curl], peak)


def report(found: Idle | None, sent: Uploads | None) -> str:
    lines = []
    if found:
        lines.append(
            f"nothing to do, {found.appliances} appliances on {found.servers} servers: "
            f"{statistics.median(found.wall_s):.2f} s (least {min(found.wall_s):.2f} s; the interpreter alone "
            f"{found.interpreter_s:.2f} s), at most {found.requests_most} requests per server"
        )
    if sent:
        lines.append(
            f"{sent.size_bytes / 1e6:.0f} MB to {sent.servers} servers: {statistics.median(sent.ours_s):.2f} s, curl "
            f"{statistics.median(sent.curl_s):.2f} s: {sent.share:.0%} of its rate, peak {sent.peak_kib / 1024:.0f} MiB"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="What keeping many servers in step costs.")
    parser.add_argument("--appliances", type=int, default=50)
    parser.add_argument("--servers", type=int, default=20)
    parser.add_argument("--upload-mb", type=int, default=1000, help="0: no uploads")
    parser.add_argument("--upload-servers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ["BENCHMARK_PASSWORD"] = "admin"
    try:
        with tempfile.TemporaryDirectory(prefix="gns3-minivm-sync-") as name:
            folder = Path(name)
            found = idle(folder, given.appliances, given.servers, given.repeats) if given.appliances else None
            if not given.json:
                print(report(found, None), flush=True)
            size = given.upload_mb * 1_000_000
            sent = uploads(folder, size, given.upload_servers, given.repeats) if size else None
    except FailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if given.json:
        document: dict[str, Any] = {"idle": asdict(found) if found else None, "uploads": asdict(sent) if sent else None}
        print(json.dumps(document))
    else:
        print(report(None, sent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
