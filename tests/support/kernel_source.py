"""A stand-in for a kernel's source package, and for the programs that would compile it.

``make`` is a shell script that leaves what the kernel's own would: its configuration, its version, and an image in
which all stands that it was told.  Files in the source tell it to go wrong.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.debs import busybox_deb, e2fsck_deb, elf, make_deb

MAKE = r"""#!/bin/sh
for word; do
    case $word in
    allnoconfig | kernelrelease | bzImage) goal=$word ;;
    LOCALVERSION=*) local=${word#*=} ;;
    KCONFIG_ALLCONFIG=*) wanted=${word#*=} ;;
    esac
done
case $goal in
allnoconfig) if [ -e unknown ]; then grep -v -f unknown "$wanted"; else cat "$wanted"; fi >.config ;;
kernelrelease) echo "6.1.5$local" ;;
bzImage)
    echo "  CC      kernel/fork.o"
    if [ -e hang ]; then
        sleep 1000 &
        echo $! >"$(cat hang)"
        wait
    fi
    if [ -e fail ]; then
        echo "kernel/fork.c:12:3: error: 'struct task' has no member named 'x'"
        for file in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo "  CC      kernel/$file.o"; done
        exit 2
    fi
    mkdir -p arch/x86/boot
    {
        printf 'image\n'
        printf '%s\n' "$@"
        env | grep -v -E '^(PWD|OLDPWD|SHLVL|_|PATH)=' | sort
        cat .config minivm.cpio
    } >arch/x86/boot/bzImage
    ;;
*)
    exit 1
    ;;
esac
"""


def make_tools(folder: Path, compiler: str = "gcc (Debian 12.2.0-14) 12.2.0") -> Path:
    """Programs that say who they are, and ``make``; put the folder in front of PATH."""
    folder.mkdir()
    said = {"gcc": compiler, "ld": "GNU ld 2.40", "lz4": "*** LZ4 command line interface v1.9.4, by Yann Collet ***"}
    scripts = {name: f"#!/bin/sh\necho '{text}'\n" for name, text in said.items()} | {"make": MAKE}
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def source_deb(
    folder: Path, files: Mapping[str, str] | None = None, *, name: str = "linux-source-6.1", version: str = "6.1.5-2"
) -> Path:
    """A source package as Debian has it; ``files`` are in its archive, and some of a real one."""
    stream = io.BytesIO()
    plain = {"Makefile": "all:\n", "arch/x86/Makefile": "x\n", "arch/arm/Makefile": "x\n", "Documentation/a.rst": "x\n"}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, text in {**plain, **(files or {})}.items():
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    inside = {
        f"usr/src/{name}.tar.xz": lzma.compress(stream.getvalue()),
        f"usr/share/doc/{name}/copyright": b"Format: x\n\nFiles: *\nLicense: GPL-2\n GPL text\n",
    }
    return make_deb(folder, name, inside, version=version, architecture="all", Source="linux")


def source_debs(folder: Path, files: Mapping[str, str] | None = None, *, version: str = "6.1.5-2") -> list[Path]:
    """The three packages of a bundle that is compiled."""
    return [
        source_deb(folder, files, version=version),
        busybox_deb(folder, elf({".text": b"busybox"})),
        e2fsck_deb(folder),
    ]
