"""A Docker engine of the generation that saves images in OCI's layout (25 and later): Debian 13's, in its own root.

With ``containerd_store`` it keeps images in containerd, as fresh installations of Docker 29 do: with their layers as
they came, compressed or not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.engine import mount_points, root_to_mount_below, running_dockerd
from tests.support.roots import debian_root
from tests.support.tools import require_tool

# In a mount namespace of its own: the root becomes a mount point with this machine's devices, and the engine's folder
# has the same name inside.
_ENTER = """
set -e
root=$0 folder=$1; shift
mount --bind "$root" "$root"
for name in proc sys dev; do mount --rbind "/$name" "$root/$name"; done
mkdir -p "$root$folder"
mount --bind "$folder" "$root$folder"
exec chroot "$root" "$@"
"""


@contextmanager
def running_new_engine(*, containerd_store: bool = False) -> Iterator[str]:
    """Yield its ``DOCKER_HOST``; it has no images.  Starting one takes root."""
    if os.geteuid() != 0:
        message = "starting a Docker engine takes root"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    root = debian_root("trixie", ["docker.io", "containerd", "runc"])
    # Short, because the path of containerd's socket is limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="minivm-docker-"))
    try:
        with root_to_mount_below() as enter:
            command = [*enter, require_tool("unshare"), "--mount", "sh", "-c", _ENTER, str(root), str(folder)]
            configuration = json.dumps({"features": {"containerd-snapshotter": containerd_store}})
            with running_dockerd([*command, "/usr/sbin/dockerd"], folder, configuration) as host:
                yield host
    finally:
        for mount in mount_points():
            if mount.startswith(f"{folder}/"):
                subprocess.run(["umount", mount], check=True)
        shutil.rmtree(folder)
        shutil.rmtree(root / str(folder).lstrip("/"), ignore_errors=True)
