"""How long an image takes to become a disk, beside the tools that people use and beside the least that it could take.

    python benchmarks/convert.py [--image debian,layers,tree] [--source engine,oci] [--repeats 3] [--json]

Contestants run in turn, round after round and each round from another one on, so that other work on this computer and
what is in its memory already meet all alike.  Ours and both pipelines end when the disk is on the drive (fsync) and
their temporary files are gone; before each run, what others have written is waited for (sync):

ours                 gns3-minivm convert, with an empty cache, the interpreter's start included
pipeline             docker export (of a container made for it), tar -x, mke2fs -d, qemu-img convert -c; without an
                     engine skopeo copy to an OCI folder (where it is none), umoci unpack, then mke2fs and qemu-img
pipeline at its best the same with no tar file between, and zstd on two threads
floor                docker save to nothing, then zstd level 3 of the same bytes on all cores

Images are names of the engine, or debian (debian:bookworm-slim, which the engine must have), layers (about 300 MB in
several layers, built from benchmarks/layers) and tree (65,000 files, 1.3 GB).  Sources are engine, docker-archive, oci
(a folder) and registry (Debian's docker-registry on the loopback interface).

Then the memory at its peak is set beside what is promised, a second convert is timed, and so are trees of 10,000 to
300,000 files (--linear).  A ratio is the median of the single rounds', whose range is told too; a target that does not
hold is told, and is no failure.

Needs root, a Docker engine, skopeo, umoci, docker-registry, e2fsprogs, qemu-img and zstd.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from contestants import BEST, FLOOR, OURS, PIPELINE, SOURCES, Ways
from inputs import Input, prepare, running_registry, write_tree
from measuring import FailedError, Sample, interpreter_start, run_ours

IMAGES = ("debian", "layers", "tree")
LINEAR_FILES = (10_000, 30_000, 100_000, 300_000)
LINEAR_MEAN_SIZE = 4000
MEMORY_BASE_KIB, MEMORY_FILE_KIB = 150_000_000 / 1024, 1
ENGINE_FACTOR, ENGINE_BEST_FACTOR, FLOOR_FACTOR, NO_ENGINE_FACTOR = 5, 2, 1.4, 8
LINEAR_FACTOR = 1.25
"""What a file may cost in the largest tree, times its cost in the smallest one from which start-up is taken off."""
CACHED_LIMIT_S = 0.5
START_REPEATS = 7


@dataclass(frozen=True)
class Row:
    """All samples of one contestant."""

    image: str
    source: str
    way: str
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    peak_kib: int | None


@dataclass(frozen=True)
class Target:
    """One promise; ``at_least`` tells on which side of ``limit`` the value has to be."""

    about: str
    value: float
    limit: float
    at_least: bool = False
    rounds: tuple[float, ...] = ()
    """The values of the single rounds, of which ``value`` is the median."""

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def row(image: str, source: str, way: str, samples: Sequence[Sample]) -> Row:
    peaks = [sample.peak_kib for sample in samples if sample.peak_kib is not None]
    return Row(
        image,
        source,
        way,
        tuple(round(sample.wall_s, 3) for sample in samples),
        tuple(round(sample.cpu_s, 3) for sample in samples),
        max(peaks) if peaks else None,
    )


def compare(ways: Ways, repeats: int) -> list[Row]:
    """All contestants, in turn."""
    samples: dict[str, list[Sample]] = {name: [] for name in ways.names}
    for number in range(repeats):
        first = number % len(ways.names)
        for name in (*ways.names[first:], *ways.names[:first]):
            samples[name].append(ways.measure(name))
            say(f"{ways.image.name} from {ways.source}: {name} {samples[name][-1].wall_s:.2f} s")
    return [row(ways.image.name, ways.source, name, found) for name, found in samples.items()]


def speed_targets(rows: Sequence[Row], start_s: float) -> Iterator[Target]:
    """The promises about one image from one source."""
    wall_s = {row.way: row.wall_s for row in rows}
    about = f"{rows[0].image} from {rows[0].source}"
    from_engine = rows[0].source == "engine"
    factors = {PIPELINE: ENGINE_FACTOR if from_engine else NO_ENGINE_FACTOR}
    if from_engine:
        factors[BEST] = ENGINE_BEST_FACTOR
    for way, factor in factors.items():
        rounds = tuple(theirs / ours for theirs, ours in zip(wall_s[way], wall_s[OURS], strict=True))
        yield Target(f"{about}: times faster than the {way}", statistics.median(rounds), factor, True, rounds)
    if from_engine:
        rounds = tuple((ours - start_s) / floor for floor, ours in zip(wall_s[FLOOR], wall_s[OURS], strict=True))
        what = f"{about}: times the floor, beside the interpreter's start"
        yield Target(what, statistics.median(rounds), FLOOR_FACTOR, rounds=rounds)


def files_of(folder: Path) -> int:
    """How many inodes the disk has that was converted last, as its manifest says."""
    (manifest,) = folder.glob("disks/*/manifest.json")
    counts = json.loads(manifest.read_text())["counts"]
    return sum(count for name, count in counts.items() if name != "content_bytes")


def kept(ways: Ways, repeats: int) -> tuple[Row, list[Target]]:
    """Convert once, then again from the cache; memory in proportion to the files, and the second run's time."""
    with tempfile.TemporaryDirectory(dir=ways.folder) as work:
        words = ways.our_words("cache")
        first = run_ours(words, Path(work))
        files = files_of(Path(work) / "cache")
        samples = [run_ours(words, Path(work)) for _ in range(repeats)]
    assert first.peak_kib is not None
    about = f"{ways.image.name} from {ways.source}"
    found = row(ways.image.name, ways.source, "ours, from the cache", samples)
    say(f"{about}: from the cache {min(found.wall_s):.2f} s")
    return found, [
        Target(f"{about}: MiB at the peak, {files} files", first.peak_kib / 1024, memory_limit_kib(files) / 1024),
        Target(
            f"{about}: seconds from the cache", statistics.median(found.wall_s), CACHED_LIMIT_S, rounds=found.wall_s
        ),
    ]


def memory_limit_kib(files: int) -> float:
    return MEMORY_BASE_KIB + MEMORY_FILE_KIB * files


def linear(folder: Path, repeats: int) -> tuple[list[Row], list[Target]]:
    """Trees of more and more files, from tar files."""
    sources = {}
    for files in LINEAR_FILES:
        sources[files] = folder / f"{files}.tar"
        write_tree(sources[files], files, LINEAR_MEAN_SIZE)
    samples: dict[int, list[Sample]] = {files: [] for files in LINEAR_FILES}
    for _ in range(repeats):
        for files, source in sources.items():
            with tempfile.TemporaryDirectory(dir=folder) as work:
                words = ["convert", f"rootfs:{source}", "--quiet", "--cache", "cache", "-o", "disk.qcow2"]
                samples[files].append(run_ours(words, Path(work)))
            say(f"{files} files: {samples[files][-1].wall_s:.2f} s")
    rows = [row(f"{files} files", "rootfs", OURS, found) for files, found in samples.items()]
    least = [min(one.cpu_s) for one in rows]
    # What a file costs in CPU time between two sizes, so that what every run costs does not count.
    costs = [
        (least[place + 1] - least[place]) / (LINEAR_FILES[place + 1] - LINEAR_FILES[place])
        for place in range(len(LINEAR_FILES) - 1)
    ]
    about = f"CPU time of a file, {LINEAR_FILES[-2]} to {LINEAR_FILES[-1]} files, times that of the first ones"
    targets = [Target(about, costs[-1] / costs[0], LINEAR_FACTOR)]
    for files, one in zip(LINEAR_FILES, rows, strict=True):
        assert one.peak_kib is not None
        targets.append(Target(f"MiB at the peak, {files} files", one.peak_kib / 1024, memory_limit_kib(files) / 1024))
    return rows, targets


def measure_images(options: argparse.Namespace, work: Path, start_s: float) -> tuple[list[Row], list[Target]]:
    rows: list[Row] = []
    targets: list[Target] = []
    with running_registry(work / "registry") as registry:
        for number, name in enumerate(options.image):
            say(f"preparing {name}")
            image: Input = prepare(name, work / f"image{number}", registry, options.build_network, options.source)
            for source in options.source:
                ways = Ways(image, source, work)
                found = compare(ways, options.repeats)
                targets += speed_targets(found, start_s)
                again, more = kept(ways, options.repeats)
                rows += [*found, again]
                targets += more
    return rows, targets


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield f"{'image':<14} {'source':<15} {'way':<22} {'wall s, least':>13} {'median':>7} {'CPU s':>7} {'peak MiB':>9}"
    for one in rows:
        peak = f"{one.peak_kib / 1024:.0f}" if one.peak_kib else ""
        times = f"{min(one.wall_s):>13.2f} {statistics.median(one.wall_s):>7.2f} {min(one.cpu_s):>7.2f}"
        yield f"{one.image:<14} {one.source:<15} {one.way:<22} {times} {peak:>9}"


def verdicts(targets: Sequence[Target]) -> Iterator[str]:
    for one in targets:
        sign, word = ("<>"[one.at_least]), "holds" if one.holds else "MISSED"
        spread = f", {min(one.rounds):.2f} to {max(one.rounds):.2f}" if len(one.rounds) > 1 else ""
        yield f"{word:<7}{one.about}: {one.value:.2f} ({sign}= {one.limit:.4g}{spread})"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _choice(allowed: Sequence[str] | None, text: str) -> list[str]:
    words = [word for word in text.split(",") if word]
    for word in words:
        if allowed is not None and word not in allowed:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(allowed)}")
    return words


def _arguments() -> argparse.Namespace:
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=lambda text: _choice(None, text), default=list(IMAGES), metavar="NAME,...")
    parser.add_argument(
        "--source", type=lambda text: _choice(SOURCES, text), default=list(SOURCES), metavar="SOURCE,..."
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--linear", action="store_true", help="also trees of 10,000 to 300,000 files")
    parser.add_argument("--build-network", metavar="MODE", help="as in docker build --network")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="where temporary files go (about 12 GB)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats takes a number from 1 on")
    return options


def main() -> int:
    options = _arguments()
    with tempfile.TemporaryDirectory(dir=options.work, prefix="benchmark-") as name:
        work = Path(name).absolute()
        try:
            start_s = interpreter_start(START_REPEATS, work)
            rows, targets = measure_images(options, work, start_s) if options.image else ([], [])
            if options.linear:
                more_rows, more_targets = linear(work, options.repeats)
                rows, targets = rows + more_rows, targets + more_targets
        except subprocess.CalledProcessError as error:
            say(f"error: {' '.join(map(str, error.cmd))} ended with {error.returncode}")
            return 1
        except (FailedError, OSError, RuntimeError) as error:
            say(f"error: {error}")
            return 1
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    if options.json:
        shown = [{**asdict(target), "holds": target.holds} for target in targets]
        document = {
            "machine": machine,
            "interpreter_start_s": round(start_s, 3),
            "rows": [asdict(one) for one in rows],
            "targets": shown,
        }
        print(json.dumps(document, indent=1))
        return 0
    print(*table(rows), "", f"interpreter's start: {start_s:.3f} s", *verdicts(targets), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
