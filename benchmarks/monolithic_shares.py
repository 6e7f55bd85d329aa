"""What each group of options of the monolithic kernel holds: the bytes of its object files, and what they cost at boot.

    python benchmarks/monolithic_shares.py SOURCE [--repeats 15] [--json]

SOURCE is a Linux source in which the whole configuration of kernel/monolithic.config has been compiled
(monolithic_costs.py does).  Nothing is compiled here: the kernel's own makefiles tell which object files are gone when
a group is left out after those below it in the file.  Their initcalls are timed by the kernel itself (initcall_debug);
the least of all boots counts, which other work on this computer disturbs least.  Unpacking the kernel and moving it to
its random address is what QEMU takes longer to start the packed kernel than the unpacked one (CPU time, the least of
boots in turn); a group has that part of it that it has of code and data.  In the same way, hardening is measured as far
as words on the command line turn it off.  What a group adds to files that others need as well is not seen:
monolithic_costs.py sees it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from boot import FLOOR_LINE, Way, collect, floor_initrd
from monolithic_costs import WHOLE, kernels

from gns3_minivm.base import resources
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.command import run
from gns3_minivm.base.errors import MiniVMError
from gns3_minivm.bundle.source.compile import read_configuration
from gns3_minivm.guest.contract import kernel_command_line, qemu_options
from gns3_minivm.qemu.command import GuestMachine, command_line, find_qemu

FOLDERS = ("net", "drivers/net", "crypto", "lib/crypto", "arch/x86/crypto")
"""Where the optional groups have their object files."""
EVALUATE = """
include {configuration}
srctree := .
src := {folder}
obj := {folder}
include {makefile}
.DEFAULT_GOAL := told
told:
	@echo $(foreach o,$(obj-y) $(lib-y),$(or $(strip $($(o:.o=-y)) $($(o:.o=-objs))),$(o)))
"""
LESS_HARDENED = "nokaslr mitigations=off init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off slab_merge"
"""Words that turn off what of the group Hardening can be turned off at boot."""
INITCALL = re.compile(r"initcall (\w+)\+\S+ returned -?\d+ after (\d+) usecs")


@dataclass(frozen=True)
class Share:
    """``files`` are object files, ``initcalls`` the functions that they have called at boot."""

    name: str
    files: int
    size_bytes: int
    initcalls: int
    initcalls_us: int
    unpacking_us: int = 0


def objects(source: Path, folder: str, configuration: Path) -> Iterator[str]:
    """The object files that the kernel's makefiles take from a folder and from those below it."""
    makefile = next((name for name in (f"{folder}/Kbuild", f"{folder}/Makefile") if (source / name).exists()), None)
    if makefile is None:
        return
    text = EVALUATE.format(configuration=configuration, folder=folder, makefile=makefile)
    words = run(("make", "-s", "-R", "-r", "-f", "-", "--eval", text), folder=source).split()
    for word in words:
        if word.endswith("/"):
            yield from objects(source, f"{folder}/{word.rstrip('/')}", configuration)
        elif word.endswith(".o"):
            yield f"{folder}/{word}"


def linked(source: Path, text: str) -> set[str]:
    """The object files of a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        commented, plain, completed = (Path(folder) / name for name in ("commented", "plain", "completed"))
        commented.write_text(text)
        plain.write_text("".join(f"{line}\n" for line in read_configuration(commented)))
        make = ("make", "ARCH=x86_64", "-s", f"KCONFIG_CONFIG={completed}", f"KCONFIG_ALLCONFIG={plain}", "allnoconfig")
        run(make, folder=source)
        return {name for top in FOLDERS for name in objects(source, top, completed)}


def size_bytes(source: Path, names: set[str]) -> int:
    """Code and data of object files, as they lie in the kernel."""
    listed = run(("size", *sorted(names)), folder=source).splitlines()[1:] if names else []
    return sum(int(text) + int(data) for text, data, *_ in map(str.split, listed))


def initcalls(source: Path, names: set[str]) -> set[str]:
    """The functions that object files have called at boot."""
    listed = run(("nm", "--format=just-symbols", *sorted(names)), folder=source) if names else ""
    return set(re.findall(r"__initcall__kmod_\w+?__\d+_\d+_(\w+?)\d?s?$", listed, re.MULTILINE))


def boot(words: list[str]) -> str:
    """What the console shows until the first line of an init."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as guest:
        try:
            assert guest.stdout is not None
            shown = []
            for line in guest.stdout:
                shown.append(line)
                if FLOOR_LINE in line:
                    break
            return "".join(shown)
        finally:
            guest.kill()


def machine(kernel: Path, folder: str, append: str) -> GuestMachine:
    """A machine that has nothing but a kernel and a line of an init."""
    return GuestMachine(
        name="lab",
        kernel=kernel,
        initrd=floor_initrd(Path(folder)),
        disks=(),
        append=append,
        options=qemu_options(X86_64),
    )


def compared_s(source: Path, repeats: int) -> tuple[float, float]:
    """What unpacking and what hardening cost until the first line of an init: with them less without them, CPU time."""
    line = re.compile(FLOOR_LINE.encode())
    packed, unpacked = (source / "arch/x86/boot" / name for name in ("bzImage", "compressed/vmlinux.bin"))
    with tempfile.TemporaryDirectory() as folder:
        ways = [
            Way("as it is", machine(packed, folder, kernel_command_line()), line),
            Way("unpacked", machine(unpacked, folder, kernel_command_line()), line),
            Way("less hardened", machine(packed, folder, kernel_command_line(LESS_HARDENED)), line),
        ]
        whole, *others = (min(row.cpu_s) for row in collect(ways, (1,), repeats, find_qemu(), accelerated=False))
    unpacking, hardening = (whole - other for other in others)
    return unpacking, hardening


def timed(source: Path, repeats: int) -> dict[str, int]:
    """The least time of each initcall in microseconds."""
    least: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        append = kernel_command_line("initcall_debug ignore_loglevel log_buf_len=1M").replace(" quiet", "")
        told = machine(source / "arch/x86/boot/bzImage", folder, append)
        for turn in range(repeats):
            for name, microseconds in INITCALL.findall(boot(command_line(told, qemu=find_qemu()))):
                least[name] = min(int(microseconds), least.get(name, sys.maxsize))
            print(f"\rboot {turn + 1} of {repeats}", end="", file=sys.stderr, flush=True)
    return least


def shares(source: Path, times: dict[str, int], unpacking_us: float) -> list[Share]:
    """The groups, the last of the file first, and the whole."""
    found = []
    whole_bytes = size_bytes(source, {"vmlinux"})
    texts = kernels(resources.folder("kernel") / "monolithic.config")
    before = linked(source, texts[WHOLE])
    for name, text in texts.items():
        if name.startswith("without Network"):
            after = linked(source, text)
            gone = {path for path in before - after if (source / path).exists()}
            called = initcalls(source, gone) & times.keys()
            spent = sum(times[call] for call in called)
            size = size_bytes(source, gone)
            part = round(unpacking_us * size / whole_bytes)
            found.append(Share(name.removeprefix("without "), len(gone), size, len(called), spent, part))
            before = after
    return [*found, Share(WHOLE, 0, whole_bytes, len(times), sum(times.values()), round(unpacking_us))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a Linux source in which the whole configuration has been compiled")
    parser.add_argument("--repeats", type=int, default=15, help="boots (default: 15)")
    parser.add_argument("--json", action="store_true", help="print one JSON document, with the time of each initcall")
    chosen = parser.parse_args()
    source = chosen.source.resolve()
    times = timed(source, chosen.repeats)
    unpacking, hardening = compared_s(source, chosen.repeats)
    found = shares(source, times, 1e6 * unpacking)
    if chosen.json:
        described = [asdict(share) for share in found]
        print(json.dumps({"shares": described, "initcalls_us": times, "hardening_s": hardening}))
        return
    print(f"\n{'group':32} {'files':>6} {'KB':>8} {'initcalls':>10} {'ms':>8} {'unpacking':>10} ms")
    for share in found:
        print(
            f"{share.name:32} {share.files:6} {share.size_bytes / 1000:8.0f} {share.initcalls:10} "
            f"{share.initcalls_us / 1000:8.1f} {share.unpacking_us / 1000:10.1f}"
        )
    print(f"\nhardening that can be turned off at boot: {1000 * hardening:.0f} ms")


if __name__ == "__main__":
    try:
        main()
    except MiniVMError as error:
        raise SystemExit(f"error: {error.message}\nhint: {error.hint}") from error
