"""Makes disks from trees, and reads them back with e2fsprogs and qemu-img."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.tree import FileTree
from tests.support.tools import require_tool

UUID = bytes(range(16))
HASH_SEED = bytes(range(16, 32))
GIB = 1 << 30
MIB = 1 << 20


def options(size_bytes: int = GIB, *, label: str = "", journal_blocks: int | None = None) -> ext4.Ext4Options:
    return ext4.Ext4Options(size_bytes, UUID, HASH_SEED, label, journal_blocks=journal_blocks)


def make_disk(
    tree: FileTree,
    path: Path,
    size_bytes: int = GIB,
    *,
    compression: qcow2.Compression = "zstd",
    threads: int = 2,
    journal_blocks: int | None = None,
) -> ext4.Plan:
    """Write a tree as ext4 in qcow2."""
    plan = ext4.plan(tree, options(size_bytes, journal_blocks=journal_blocks))
    with qcow2.Qcow2Writer(path, size_bytes, compression, threads) as sink:
        ext4.write(plan, sink)
    return plan


def run(*command: str | Path, **more: object) -> str:
    """Run a program that must succeed; returns what it wrote to stdout."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False, **more)  # type: ignore[call-overload]
    output: str = done.stdout.decode("utf-8", "surrogateescape")
    assert done.returncode == 0, (command, done.returncode, output[-3000:], done.stderr[-3000:])
    return output


def judge(disk: Path) -> Path:
    """Assert that qemu-img and e2fsck find nothing wrong; returns the disk as a raw (sparse) file."""
    run(require_tool("qemu-img"), "check", disk)
    raw = disk.with_suffix(".raw")
    run("qemu-img", "convert", "-O", "raw", disk, raw)
    run(require_tool("e2fsck"), "-fn", raw)
    return raw


@dataclass
class Found:
    """An inode as debugfs tells it; what a kind of file does not have is left empty."""

    mode: int
    uid: int
    gid: int
    size: int = 0
    links: int = 1
    mtime_ns: int = 0
    flags: int = 0
    device: tuple[int, int] = (0, 0)
    target: bytes = b""
    content: bytes = b""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    ino: int = 0


def debugfs(raw: Path, commands: Iterable[str], scratch: Path) -> list[str]:
    """Run commands in one debugfs; returns what each printed."""
    script = scratch / "debugfs.commands"
    commands = list(commands)
    script.write_text("".join(f"{command}\n" for command in commands), encoding="utf-8")
    output = run(require_tool("debugfs"), "-f", script, raw)
    # Every command is echoed behind the prompt.
    parts = re.split(r"^debugfs: .*\n", output, flags=re.MULTILINE)[1:]
    assert len(parts) == len(commands), (len(parts), len(commands), output[:500])
    return parts


_KINDS = {
    "regular": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "character special": stat.S_IFCHR,
    "block special": stat.S_IFBLK,
    "FIFO": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}


def read_back(raw: Path, scratch: Path) -> dict[str, Found]:
    """Everything on a file system by path, read with debugfs; the root is "" and names must not hold newlines."""
    scratch.mkdir(exist_ok=True)
    names = _names(raw, scratch)
    numbers = sorted(set(names.values()))
    inodes = dict(
        zip(
            numbers,
            map(_parse_stat, debugfs(raw, [f"stat <{ino}>" for ino in numbers], scratch)),
            strict=True,
        )
    )
    _read_contents(raw, scratch, inodes)
    _read_xattrs(raw, scratch, inodes)
    for ino, found in inodes.items():
        found.ino = ino
    return {path: inodes[ino] for path, ino in names.items()}


def _names(raw: Path, scratch: Path) -> dict[str, int]:
    names = {"": 2}
    level = [("", 2)]
    while level:
        listings = debugfs(raw, [f"ls -p <{ino}>" for _, ino in level], scratch)
        below = []
        for (path, _), listing in zip(level, listings, strict=True):
            for line in listing.splitlines():
                if not line.startswith("/"):
                    continue
                _, ino, mode, _, _, name, *_ = line.split("/")
                if name in (".", "..") or ino == "0":
                    continue
                child = f"{path}/{name}" if path else name
                names[child] = int(ino)
                if stat.S_ISDIR(int(mode, 8)):
                    below.append((child, int(ino)))
        level = below
    return names


def _parse_stat(text: str) -> Found:
    def one(pattern: str) -> str:
        match = re.search(pattern, text)
        assert match, (pattern, text)
        return match[1]

    kind = one(r"Type: (.*?) +Mode:")
    # Inodes of 128 bytes have no more than the seconds.
    low, extra = re.search(r"mtime: 0x([0-9a-f]+)(?::([0-9a-f]+))?", text).groups("0")  # type: ignore[union-attr]
    seconds = int(low, 16)
    seconds = (seconds - (1 << 32) if seconds >> 31 else seconds) + ((int(extra, 16) & 3) << 32)
    found = Found(
        mode=_KINDS[kind] | int(one(r"Mode: +(\d+)"), 8),
        uid=int(one(r"User: +(-?\d+)")) & 0xFFFFFFFF,
        gid=int(one(r"Group: +(-?\d+)")) & 0xFFFFFFFF,
        size=int(one(r"Size: +(\d+)")),
        links=int(one(r"Links: +(\d+)")),
        flags=int(one(r"Flags: +0x([0-9a-f]+)"), 16),
        mtime_ns=seconds * 1_000_000_000 + (int(extra, 16) >> 2),
    )
    if match := re.search(r'Fast link dest: "(.*)"', text):
        found.target = match[1].encode("utf-8", "surrogateescape")
    if match := re.search(r"Device major/minor number: (\d+):(\d+)", text):
        found.device = (int(match[1]), int(match[2]))
    return found


def _read_contents(raw: Path, scratch: Path, inodes: dict[int, Found]) -> None:
    wanted = [
        ino
        for ino, found in inodes.items()
        if stat.S_ISREG(found.mode) or stat.S_ISLNK(found.mode) and not found.target
    ]
    debugfs(raw, [f"dump <{ino}> {scratch}/{ino}" for ino in wanted], scratch)
    for ino in wanted:
        file = scratch / str(ino)
        data = file.read_bytes()
        file.unlink()
        if stat.S_ISREG(inodes[ino].mode):
            inodes[ino].content = data
        else:
            inodes[ino].target = data


def _read_xattrs(raw: Path, scratch: Path, inodes: dict[int, Found]) -> None:
    listings = debugfs(raw, [f"ea_list <{ino}>" for ino in inodes], scratch)
    wanted = [
        (ino, name)
        for ino, listing in zip(inodes, listings, strict=True)
        for name in re.findall(r"^  (\S+) \(\d+\)", listing, re.MULTILINE)
    ]
    debugfs(
        raw, [f"ea_get -f {scratch}/value{place} <{ino}> {name}" for place, (ino, name) in enumerate(wanted)], scratch
    )
    for place, (ino, name) in enumerate(wanted):
        inodes[ino].xattrs[name] = (scratch / f"value{place}").read_bytes()
