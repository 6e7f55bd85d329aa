"""What each group of options of the monolithic kernel costs: the file's size, and the time to an init's first line.

    python benchmarks/monolithic_costs.py SOURCE [--images FOLDER] [--repeats 15] [--json]

SOURCE is an unpacked Linux source in which this may compile (Debian's linux-source package); FOLDER keeps the kernels,
so that boots can be repeated without compiling.  Two series, each kernel with the same initial RAM disk of one tiny
program:

groups       the whole configuration of kernel/monolithic.config, then without its last group, without the last two, and
             so on: each row is what the group adds to those above it in the file.  Groups are the file's headings below
             NEEDED_UP_TO; then hardening
compression  the whole configuration in the kernel's other forms of compression

All kernels are booted in turn, so that other work on this computer meets all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from boot import FLOOR_LINE, Way, collect, floor_initrd

from gns3_minivm.base import resources
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.command import run
from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.bundle.source.compile import read_configuration
from gns3_minivm.guest.contract import kernel_command_line, qemu_options
from gns3_minivm.qemu.command import GuestMachine, find_qemu
from gns3_minivm.qemu.probe import acceleration_works
from gns3_minivm.settings import Settings

NEEDED_UP_TO, ALSO_OPTIONAL = "Network: protocols", "Hardening"
"""What is above the first of these headings, or below it, a guest cannot do without; but for the second."""
COMPRESSIONS = ("ZSTD", "GZIP")
WHOLE = "everything"
BUILD = ("make", "ARCH=x86_64", "KBUILD_BUILD_TIMESTAMP=@0", "KBUILD_BUILD_USER=lab", "KBUILD_BUILD_HOST=lab")


@dataclass(frozen=True)
class Row:
    """A kernel of the series; the times are of all its boots."""

    name: str
    size_bytes: int
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]


def groups(path: Path) -> dict[str, str]:
    """The text below each heading of the configuration, in its order."""
    parts = re.split(r"^## (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def optional(headings: list[str]) -> list[str]:
    """The groups that can be left out, in the order in which they are; hardening, which is everywhere, comes last."""
    return [*reversed(headings[headings.index(NEEDED_UP_TO) + 1 :]), ALSO_OPTIONAL]


def kernels(configuration: Path) -> dict[str, str]:
    """The names of all kernels, which are their file names, and their configurations."""
    left = groups(configuration)
    whole = "".join(left.values())
    texts = {WHOLE: whole}
    for compression in COMPRESSIONS:
        texts[compression.lower()] = re.sub(r"CONFIG_KERNEL_\w+=y", f"CONFIG_KERNEL_{compression}=y", whole)
    for heading in optional(list(left)):
        del left[heading]
        texts[f"without {heading}"] = "".join(left.values())
    return texts


def _compile(source: Path, images: Path, name: str, text: str) -> None:
    target = images / name
    if target.exists():
        return
    print(f"compiling: {name}", file=sys.stderr, flush=True)
    commented, plain = images / "commented.config", images / "plain.config"
    commented.write_text(text)
    plain.write_text("".join(f"{line}\n" for line in read_configuration(commented)))
    hint = (
        "Is it the source of the linux-source package, and does "
        "`gns3-minivm kernel build --flavour monolithic` work here?"
    )
    run((*BUILD, "-s", f"KCONFIG_ALLCONFIG={plain.resolve()}", "allnoconfig"), folder=source, hint=hint)
    run(("nice", *BUILD, "-s", "-j2", "bzImage"), folder=source, hint=hint)
    part = target.with_suffix(".part")
    shutil.copy(source / "arch/x86/boot/bzImage", part)
    part.rename(target)


def boot_all(names: list[str], images: Path, repeats: int, qemu: str, accelerated: bool) -> list[Row]:
    """Boot all kernels in turn."""
    line = re.compile(FLOOR_LINE.encode())
    initrd = floor_initrd(images)
    ways = [
        Way(
            name,
            GuestMachine(
                name="lab",
                kernel=images / name,
                initrd=initrd,
                disks=(),
                append=kernel_command_line(),
                options=qemu_options(X86_64),
            ),
            line,
        )
        for name in names
    ]
    rows = collect(ways, (1,), repeats, qemu, accelerated)
    return [Row(row.way, (images / row.way).stat().st_size, row.wall_s, row.cpu_s) for row in rows]


def table(rows: list[Row]) -> str:
    """All kernels, and what each has less than the one above it (of compressions: than the whole)."""
    lines = [f"{'kernel':<48}KB     less    wall median    least     CPU median    least     less"]
    before = rows[0]
    for row in rows:
        if row.name == COMPRESSIONS[0].lower():
            before = rows[0]
        less_kb = (before.size_bytes - row.size_bytes) / 1000
        less_s = statistics.median(before.cpu_s) - statistics.median(row.cpu_s)
        lines.append(
            f"{row.name:42} {row.size_bytes / 1000:8.0f} {less_kb:8.0f}"
            f"      {statistics.median(row.wall_s):6.3f} s  {min(row.wall_s):6.3f} s"
            f"      {statistics.median(row.cpu_s):6.3f} s  {min(row.cpu_s):6.3f} s  {less_s:6.3f} s"
        )
        before = rows[0] if row.name in (WHOLE, *map(str.lower, COMPRESSIONS)) else row
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="an unpacked Linux source, in which this compiles")
    parser.add_argument("--images", type=Path, help="where the kernels are kept (default: in the cache)")
    parser.add_argument("--repeats", type=int, default=15, help="boots of each kernel that count (default: 15)")
    parser.add_argument("--only-boot", action="store_true", help="boot the kernels that are there, and compile none")
    parser.add_argument("--json", action="store_true", help="print one JSON document with all samples")
    chosen = parser.parse_args()
    cache = Settings.from_environment().cache_root
    images: Path = chosen.images or cache / "benchmarks" / "monolithic-costs"
    images.mkdir(parents=True, exist_ok=True)
    texts = kernels(resources.folder("kernel") / "monolithic.config")
    for name, text in texts.items():
        if not chosen.only_boot:
            _compile(chosen.source, images, name, text)
    qemu = find_qemu()
    accelerated = asyncio.run(acceleration_works(qemu, images / WHOLE, cache))
    names = [name for name in texts if (images / name).exists()]
    rows = boot_all(names, images, chosen.repeats, qemu, accelerated)
    if chosen.json:
        print(json.dumps({"accelerated": accelerated, "rows": [asdict(row) for row in rows]}))
    else:
        print(table(rows))


if __name__ == "__main__":
    try:
        main()
    except MiniVMError as error:
        raise SystemExit(f"error: {error.message}\nhint: {error.hint}") from error
