"""The ways from an image to a qcow2 file that are compared: ours, the pipeline of tools, and the floor.

The pipeline needs root, for the owners of the files that it unpacks.  Like ours, it ends when its disk is on the drive
(fsync) and nothing else is left of its work.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from inputs import Input, quoted
from measuring import Sample, run_ours, run_shell

SOURCES = ("engine", "docker-archive", "oci", "registry")
OURS, PIPELINE, BEST, FLOOR = "ours", "pipeline", "pipeline at its best", "floor"
SIZE = "8G"
"""Of the disk: what gns3-minivm makes if nothing is said."""


@dataclass(frozen=True)
class Ways:
    """The contestants for one image from one source; each run leaves nothing in ``folder``."""

    image: Input
    source: str
    folder: Path

    @property
    def names(self) -> tuple[str, ...]:
        floor = (FLOOR,) if self.source == "engine" else ()
        return (OURS, PIPELINE, BEST, *floor)

    def measure(self, name: str) -> Sample:
        """Run one contestant once."""
        work = self.folder / "work"
        work.mkdir()
        try:
            if name == OURS:
                return run_ours(self.our_words("cache"), work)
            return run_shell(self._script(name), work)
        finally:
            shutil.rmtree(work)

    def our_words(self, cache: str) -> list[str]:
        places = {
            "engine": f"docker-daemon:{self.image.engine}",
            "docker-archive": f"docker-archive:{self.image.archive}",
            "oci": f"oci:{self.image.oci}",
            "registry": f"docker://{self.image.registry}",
        }
        return ["convert", places[self.source], "--quiet", "--cache", cache, "--force", "-o", "disk.qcow2"]

    def _script(self, name: str) -> str:
        if name == FLOOR:
            image, archive = quoted(self.image.engine), quoted(self.image.archive)
            return f"docker save {image} > /dev/null\nzstd -q -3 -T{os.cpu_count()} -c {archive} > /dev/null"
        best = name == BEST
        root, rest = ("root", "root t") if self.source == "engine" else ("b/rootfs", "b o")
        return "\n".join([self._unpack(best), *_make_disk(root, best), f"rm -rf raw {rest}", "sync disk.qcow2"])

    def _unpack(self, best: bool) -> str:
        if self.source == "engine":
            export = 'docker export "$id" | tar -x -C root' if best else 'docker export -o t "$id"\ntar -xf t -C root'
            # An image without a command takes one that is never run.
            return f"mkdir root\nid=$(docker create {quoted(self.image.engine)} x)\n{export}\ndocker rm $id"
        if self.source == "oci":
            return f"umoci unpack --image {quoted(self.image.oci)}:1 b"
        place = {
            "docker-archive": f"docker-archive:{self.image.archive}",
            "registry": f"docker://{self.image.registry}",
        }[self.source]
        return f"skopeo copy -q --src-tls-verify=false {quoted(place)} oci:o:1\numoci unpack --image o:1 b"


def _make_disk(root: str, best: bool) -> list[str]:
    compressed = "-c -o compression_type=zstd -m 2" if best else "-c"
    return [
        f"truncate -s {SIZE} raw",
        f"mke2fs -q -t ext4 -d {root} raw",
        f"qemu-img convert {compressed} -O qcow2 raw disk.qcow2",
    ]
