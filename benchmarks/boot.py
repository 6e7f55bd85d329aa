"""How long a guest takes from the start of QEMU to a shell that answers, beside what it could take at the least.

    python benchmarks/boot.py [--adapters 1,16] [--repeats 7] [--image busybox-minivm] [--kernel NAME]
                              [--ways plain,minivm,debian,monolithic] [--json]

Ways to start the same disk on the same machine, in turn, so that other work on this computer meets all alike:

minivm   our bundle, with the template's own kernel command line, to the answer of a shell
debian   the same kernel and disk with the initial RAM disk that Debian's initramfs-tools makes (defaults), and
         init=/bin/sh: to the answer of a shell that has no settings, no network and no job control
floor    the same kernel with an initial RAM disk that holds one tiny static program, to the line that it prints
monolithic  as minivm, with the bundle of the flavour monolithic (gns3-minivm kernel build --flavour monolithic)
plain    the floor without what our templates spare in QEMU's options and the kernel's words: only console=ttyS0 quiet

All but monolithic start the same kernel, and all but plain get the same QEMU command line but for kernel and initrd,
with the same number of adapters: the floor is what QEMU, its BIOS and the kernel cost on that machine, of which the
cards' PCI devices are a part, and their driver is not.

Wall time is from before QEMU is started; CPU time is QEMU's own, user and system, up to the same moment.  Debian's
initial RAM disk is made once, with mmdebstrap (as root, or where user namespaces are allowed), from the bundle's kernel
package.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import select
import shutil
import stat
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gns3_minivm.base.command import run
from gns3_minivm.base.errors import GuestError, MiniVMError, NotFoundError, ToolError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.formats.cpio import write_cpio
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.templates.sources import Workshop
from gns3_minivm.ops.templates.template import describe
from gns3_minivm.qemu.command import GuestMachine, command_line, find_qemu
from gns3_minivm.qemu.probe import acceleration_works
from gns3_minivm.settings import Settings
from gns3_minivm.template_settings.table import TemplateSettings

LIMIT_S = 180.0
RAM_MB = 256
"""For all three; in the 96 MB of busybox-minivm Debian's initial RAM disk ends in a kernel panic."""
PLAIN_WORDS = "console=ttyS0 quiet"
PLAIN_OPTIONS = "-cpu max,-arch-capabilities"
FLOOR_LINE = "the first line of an init"
FLOOR_SOURCE = f"""
static const char line[] = "{FLOOR_LINE}\\n";
void _start(void)
{{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(1), "D"(1), "S"(line), "d"(sizeof line - 1)
                     : "rcx", "r11", "memory");
    for (;;)
        __asm__ volatile("syscall" : "=a"(result) : "a"(34) : "rcx", "r11", "memory"); /* pause */
}}
"""
PROMPT = re.compile(rb"[#$] (?:\x1b\[6n)?$")
# What is typed is not what is printed, so that the echo is not taken for the answer.
QUESTION, ANSWER = b"echo $((6*7))-is-the-answer\r", re.compile(rb"42-is-the-answer")


@dataclass(frozen=True)
class Way:
    """A way to start the machine; ``line`` is what shows that it is up, None for a shell that answers."""

    name: str
    machine: GuestMachine
    line: re.Pattern[bytes] | None = None


@dataclass(frozen=True)
class Sample:
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Row:
    """All samples of one way with one number of adapters, and its ratios to the floor."""

    adapters: int
    way: str
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]


def measure(words: Sequence[str], way: Way) -> Sample:
    """Start QEMU, wait until the guest is up, end it."""
    started = time.monotonic()
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        _wait_until_up(process, way)
        wall_s = time.monotonic() - started
    finally:
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = -9
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
    return Sample(wall_s, usage.ru_utime + usage.ru_stime)


def _wait_until_up(process: subprocess.Popen[bytes], way: Way) -> None:
    assert process.stdin is not None and process.stdout is not None
    seen, asked, end = b"", False, time.monotonic() + LIMIT_S
    while not (way.line or ANSWER).search(seen):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
        data = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not data:
            shown = seen[-2000:].decode("utf-8", "replace")
            raise GuestError(f"{way.name} was not up within {LIMIT_S:g} s; its console shows:\n{shown}")
        seen += data
        if way.line is None and not asked and PROMPT.search(seen):
            asked = True
            process.stdin.write(QUESTION)
            process.stdin.flush()


async def template_machine(
    image: str, settings: Settings, events: Events, kernel: KernelChoice | None = None
) -> tuple[GuestMachine, Bundle]:
    """The machine that GNS3 would start for the template of an image."""
    workshop = Workshop(RunContext(settings=settings, events=events, kernel=kernel or KernelChoice()))
    try:
        bundle = await workshop.bundle()
        source = await workshop.find(image)
        disk = await workshop.disk(source)
        template = describe(source, bundle, TemplateSettings()).template
    finally:
        workshop.close()
    machine = GuestMachine(
        name=template.name,
        kernel=bundle.kernel.path,
        initrd=bundle.initrd.path if bundle.initrd else None,
        disks=(disk.path,),
        append=template.kernel_command_line,
        ram_mb=RAM_MB,
        cpus=template.cpus,
        adapter_type=template.adapter_type,
        disk_interface=template.hda_disk_interface,
        options=template.options,
    )
    return machine, bundle


def floor_initrd(folder: Path) -> Path:
    """An initial RAM disk with one program of a few hundred bytes."""
    source, program, target = folder / "floor.c", folder / "floor", folder / "floor.initrd"
    source.write_text(FLOOR_SOURCE)
    run(
        ("cc", "-Os", "-static", "-nostdlib", "-s", str(source), "-o", str(program)), hint="Run `sudo apt install gcc`."
    )
    tree = FileTree()
    tree.add_directory(b"dev")
    tree.add_node(b"dev/console", stat.S_IFCHR | 0o600, 5, 1)
    tree.add_file(b"init", program.read_bytes(), 0o755)
    archive = io.BytesIO()
    write_cpio(tree, archive)
    target.write_bytes(archive.getvalue())
    return target


def debian_initrd(bundle: Bundle, folder: Path) -> Path:
    """The initial RAM disk that the kernel package's own installation makes; kept for the next time."""
    package = next((record for record in bundle.packages if record.name.startswith("linux-image-")), None)
    if package is None:
        raise NotFoundError(
            f"the kernel {bundle.flavour} {bundle.kernel_version} is no package of Debian's with an initial RAM disk",
            hint="Leave debian out of --ways, or take another --kernel.",
        )
    target = folder / f"initramfs-tools-{bundle.kernel_version}-{package.version}"
    if target.exists():
        return target
    if shutil.which("mmdebstrap") is None:
        raise ToolError("mmdebstrap is not installed", hint="Run `sudo apt install mmdebstrap`.")
    made = folder / "debian"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    words = ["mmdebstrap", "--quiet", "--variant=apt", f"--include=initramfs-tools,{package.name}={package.version}"]
    words += [f"--customize-hook=copy-out /boot/vmlinuz-{bundle.kernel_version} {made}"]
    words += [f"--customize-hook=copy-out /boot/initrd.img-{bundle.kernel_version} {made}"]
    run(
        [*words, "bookworm", "/dev/null"],
        hint="Is the bundle's kernel Debian's newest? `gns3-minivm kernel build --rebuild`.",
    )
    if (made / f"vmlinuz-{bundle.kernel_version}").read_bytes() != bundle.kernel.path.read_bytes():
        raise ToolError(f"the package {package.filename} has another kernel image than the bundle {bundle.id[:12]}")
    (made / f"initrd.img-{bundle.kernel_version}").replace(target)
    shutil.rmtree(made)
    return target


def ways(
    names: Sequence[str], machine: GuestMachine, bundle: Bundle, folder: Path, monolithic: Bundle | None = None
) -> list[Way]:
    """The floor, and those of the other ways that are named; ``plain`` shows what options and words have spared.

    ``monolithic`` is a kernel with its initial RAM disk inside; the files of another one, such as
    the floor's, go before its own.
    """
    line = re.compile(FLOOR_LINE.encode())
    alone = replace(machine, initrd=floor_initrd(folder), disks=())
    found = [Way("floor", alone, line)]
    if "plain" in names:
        found.append(Way("plain", replace(alone, append=PLAIN_WORDS, options=PLAIN_OPTIONS), line))
    if "minivm" in names:
        found.append(Way("minivm", machine))
    if monolithic is not None:
        found.append(Way("monolithic", replace(machine, kernel=monolithic.kernel.path, initrd=None)))
    if "debian" in names:
        initrd = debian_initrd(bundle, folder)
        found.append(Way("debian", replace(machine, initrd=initrd, append=f"{machine.append} init=/bin/sh")))
    return found


def collect(found: Sequence[Way], adapters: Sequence[int], repeats: int, qemu: str, accelerated: bool) -> list[Row]:
    samples: dict[tuple[int, str], list[Sample]] = {(count, way.name): [] for count in adapters for way in found}
    for turn in range(repeats + 1):
        for count in adapters:
            for way in found:
                words = command_line(replace(way.machine, adapters=count), qemu=qemu, accelerated=accelerated)
                sample = measure(words, way)
                # The first turn fills the host's page cache.
                if turn:
                    samples[count, way.name].append(sample)
        if turn:
            print(f"\rturn {turn} of {repeats}", end="\n" if turn == repeats else "", file=sys.stderr, flush=True)
    return [
        Row(count, name, tuple(sample.wall_s for sample in taken), tuple(sample.cpu_s for sample in taken))
        for (count, name), taken in samples.items()
    ]


def ratios(row: Row, rows: Sequence[Row]) -> dict[str, float]:
    """Median and least, wall and CPU time, over those of the floor with as many adapters."""
    floor = next(other for other in rows if other.way == "floor" and other.adapters == row.adapters)
    return {
        "wall_median": statistics.median(row.wall_s) / statistics.median(floor.wall_s),
        "wall_least": min(row.wall_s) / min(floor.wall_s),
        "cpu_median": statistics.median(row.cpu_s) / statistics.median(floor.cpu_s),
        "cpu_least": min(row.cpu_s) / min(floor.cpu_s),
    }


def compared(rows: Sequence[Row]) -> Iterator[str]:
    """How many times as fast the monolithic kernel is as the other one, with the same init and disk."""
    found = {(row.way, row.adapters): row for row in rows}
    for row in rows:
        other = found.get(("minivm", row.adapters))
        if row.way == "monolithic" and other is not None:
            wall, least = (
                statistics.median(other.wall_s) / statistics.median(row.wall_s),
                min(other.wall_s) / min(row.wall_s),
            )
            cpu = statistics.median(other.cpu_s) / statistics.median(row.cpu_s)
            yield (
                f"monolithic with {row.adapters} adapters: {wall:.2f} times as fast as minivm "
                f"(least {least:.2f}, CPU {cpu:.2f})"
            )


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield "adapters  way      wall median (least)   x floor         CPU median (least)    x floor"
    for row in rows:
        over = ratios(row, rows)
        yield (
            f"{row.adapters:8}  {row.way:8} {statistics.median(row.wall_s):6.2f} s ({min(row.wall_s):.2f} s)"
            f"    {over['wall_median']:5.2f} ({over['wall_least']:.2f})"
            f"    {statistics.median(row.cpu_s):6.2f} s ({min(row.cpu_s):.2f} s)"
            f"    {over['cpu_median']:5.2f} ({over['cpu_least']:.2f})"
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", default="1,16", help="numbers of adapters (default: 1,16)")
    parser.add_argument("--repeats", type=int, default=7, help="turns that count (default: 7)")
    parser.add_argument("--image", default="busybox-minivm", help="appliance or image (default: busybox-minivm)")
    parser.add_argument("--kernel", help="kernel bundle, as for gns3-minivm boot (default: debian)")
    parser.add_argument(
        "--ways", default="plain,minivm,debian", help="which of plain,minivm,debian,monolithic beside the floor"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document with all samples")
    chosen = parser.parse_args()
    settings = Settings.from_environment()
    machine, bundle = await template_machine(chosen.image, settings, Events(), KernelChoice(name=chosen.kernel))
    folder = settings.cache_root / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    qemu = find_qemu()
    accelerated = await acceleration_works(qemu, machine.kernel, settings.cache_root)
    names = chosen.ways.split(",")
    monolithic = None
    if "monolithic" in names:
        _, monolithic = await template_machine(chosen.image, settings, Events(), KernelChoice(name="monolithic"))
    found = ways(names, machine, bundle, folder, monolithic)
    adapters = [int(count) for count in chosen.adapters.split(",")]
    rows = collect(found, adapters, chosen.repeats, qemu, accelerated)
    if chosen.json:
        described = [asdict(row) | {"ratios": ratios(row, rows)} for row in rows]
        about = {"kernel_version": bundle.kernel_version, "image": chosen.image, "accelerated": accelerated}
        print(json.dumps({**about, "repeats": chosen.repeats, "rows": described}))
    else:
        print(f"{chosen.image}, kernel {bundle.kernel_version}, {'with' if accelerated else 'without'} KVM")
        print("\n".join([*table(rows), *compared(rows)]))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except MiniVMError as error:
        raise SystemExit(f"error: {error.message}\nhint: {error.hint}") from error
