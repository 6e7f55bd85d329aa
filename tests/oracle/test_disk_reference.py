"""Generated stacks of layers give the disk that umoci, a reference unpacker, would have unpacked.

Left out is what the two are known to do differently: whiteouts of names that their own layer brings (umoci goes by the
order in the archive), links before their targets (umoci refuses them), and what a real file system does to folders on
its own: times that change with the entries, and the set-group-ID bit that new folders inherit.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from gns3_minivm.formats.tar import read_layers
from tests.support.disks import Found, judge, make_disk, read_back, run
from tests.support.layers import layer_of, tar_bytes
from tests.support.stacks import SETTINGS, STACKS, comparable, entries_of
from tests.support.tools import require_tool


def unpack_with_umoci(folder: Path, layers: list[bytes]) -> Path:
    """An OCI layout of the layers, unpacked; returns the root."""
    blobs = folder / "oci" / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    kind = "application/vnd.oci.image"
    descriptors = [blob(layer, f"{kind}.layer.v1.tar") for layer in layers]
    diff_ids = [descriptor["digest"] for descriptor in descriptors]
    image = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = blob(json.dumps(image).encode(), f"{kind}.config.v1+json")
    media_type = f"{kind}.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": descriptors}
    descriptor = blob(json.dumps(manifest).encode(), media_type)
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (folder / "oci" / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "oci" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    run(require_tool("umoci"), "unpack", "--image", folder / "oci:latest", folder / "bundle")
    return folder / "bundle" / "rootfs"


def tree_below(root: Path) -> dict[str, Found]:
    """What lies in a folder of this machine."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder) / name
            status = path.lstat()
            one = Found(status.st_mode, status.st_uid, status.st_gid, mtime_ns=status.st_mtime_ns, ino=status.st_ino)
            if stat.S_ISREG(status.st_mode):
                one.content = path.read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                one.target = os.readlink(bytes(path))
            elif stat.S_ISCHR(status.st_mode):
                one.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            names = os.listxattr(path, follow_symlinks=False)
            one.xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
            found[str(path.relative_to(root))] = one
    return found


def assert_same(stack: list[list[Any]]) -> None:
    require_tool("umoci")
    layers = [tar_bytes(entries) for entries in entries_of(stack)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = tree_below(unpack_with_umoci(folder, layers))
        files = [layer_of(folder / f"layer{number}", layer) for number, layer in enumerate(layers)]
        make_disk(read_layers(files), folder / "disk.qcow2")
        found = read_back(judge(folder / "disk.qcow2"), folder / "scratch")
    del found[""], found["lost+found"]
    assert comparable(found) == comparable(expected)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking device nodes and owners needs root")


@needs_root
@settings(SETTINGS, max_examples=40)
@given(STACKS)
def test_generated_layers_give_what_umoci_unpacks(stack: list[list[Any]]) -> None:
    assert_same(stack)


@pytest.mark.long
@needs_root
@settings(SETTINGS, max_examples=500)
@given(STACKS)
def test_many_generated_layers_give_what_umoci_unpacks(stack: list[list[Any]]) -> None:
    assert_same(stack)
