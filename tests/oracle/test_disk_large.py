"""Large trees: right, and within the memory that is promised (150 MB and 1 KiB for each file)."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.tools import require_tool

CONVERT = """
import sys
from dataclasses import dataclass
from pathlib import Path
from gns3_minivm.formats import ext4
from gns3_minivm.formats.qcow2 import Qcow2Writer
from gns3_minivm.formats.tar import read_layers

@dataclass
class Layer:
    diff_id: str
    path: Path
    offset: int
    size: int

source, target = Path(sys.argv[1]), Path(sys.argv[2])
tree = read_layers([Layer("sha256:" + "0" * 64, source, 0, source.stat().st_size)], lambda amount: None)
plan = ext4.plan(tree, ext4.Ext4Options(16 << 30, b"u" * 16, b"h" * 16))
with Qcow2Writer(target, 16 << 30) as disk:
    ext4.write(plan, disk, lambda amount: None)
# Not getrusage: what it tells starts with the peak of the process that started this one.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def write_tree(target: Path, files: int, mean_size: int) -> None:
    """A tar of ``files`` files in folders of 100, of text that compresses as programs do."""
    chance = random.Random(7)
    words = [chance.randbytes(chance.randint(3, 12)) for _ in range(4096)]
    text = b"".join(chance.choices(words, k=400_000))
    with tarfile.open(target, "w") as archive:
        for number in range(files):
            if number % 100 == 0:
                folder = tarfile.TarInfo(f"tree/{number // 10_000}/{number // 100}")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(folder)
            size = chance.randint(0, 2 * mean_size)
            start = chance.randint(0, len(text) - size)
            info = tarfile.TarInfo(f"tree/{number // 10_000}/{number // 100}/file-{number}")
            info.size, info.mode = size, 0o644
            archive.addfile(info, io.BytesIO(text[start : start + size]))


@pytest.mark.long
@pytest.mark.parametrize(("files", "mean_size"), [(65_000, 20_000), (300_000, 500)], ids=["1.3 GB", "300000 files"])
def test_a_large_tree_is_clean_and_takes_little_memory(tmp_path: Path, files: int, mean_size: int) -> None:
    source, disk, raw = tmp_path / "layer.tar", tmp_path / "disk.qcow2", tmp_path / "raw"
    write_tree(source, files, mean_size)
    command = [sys.executable, "-c", CONVERT, str(source), str(disk)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) <= 150_000 + files, f"{finished.stdout.strip()} KiB at its peak"
    source.unlink()
    qemu_img = require_tool("qemu-img")
    subprocess.run([qemu_img, "check", "-q", str(disk)], check=True)
    subprocess.run([qemu_img, "convert", "-O", "raw", str(disk), str(raw)], check=True)
    checked = subprocess.run([require_tool("e2fsck"), "-fn", str(raw)], capture_output=True, text=True, check=False)
    raw.unlink()
    assert checked.returncode == 0, checked.stdout
