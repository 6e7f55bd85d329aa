"""Empty disks that GNS3 makes linked clones of."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from pathlib import Path

from gns3_minivm.base.artifacts import Artifact, Kind, measure
from tests.support.tools import require_tool


async def empty_disk(folder: Path) -> Artifact:
    """A small qcow2 file whose content no other one has."""
    raw, path = folder / "disk.raw", folder / f"disk-{uuid.uuid4().hex[:12]}.qcow2"
    raw.write_bytes(uuid.uuid4().bytes + bytes(1 << 20))
    command = [require_tool("qemu-img"), "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    return measure(Kind.DISK, path, path.name)
