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
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gns3_minivm.formats.tar import read_layers
from tests.support.disks import Found, judge, make_disk, read_back, run
from tests.support.layers import Item, directory, file, hard_link, item, layer_of, symlink, tar_bytes
from tests.support.tools import require_tool

NAMES = st.sampled_from(["a", "b", "c", "d", "lib", "café"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.one_of(PATHS, PATHS.map("/".__add__), PATHS.map("../".__add__), st.just("../../../a/b"), st.just("x" * 70))
XATTRS = st.dictionaries(
    st.sampled_from(["trusted.one", "trusted.two", "security.capability"]), st.just(b"\1\0\0\2" + bytes(16)), max_size=3
)
META = st.fixed_dictionaries(
    {
        "mode": st.integers(0, 0o7777),
        "uid": st.integers(0, 70_000),
        "gid": st.integers(0, 70_000),
        "mtime": st.integers(1, 1 << 33),
    }
)
OPERATIONS = st.one_of(
    st.tuples(st.just("file"), PATHS, META, XATTRS, st.sampled_from([0, 1, 600, 4096, 15_000])),
    st.tuples(st.just("directory"), PATHS, META, XATTRS),
    st.tuples(st.just("symlink"), PATHS, META, TARGETS),
    st.tuples(st.just("hard link"), PATHS, PATHS),
    st.tuples(st.just("device"), PATHS, META, st.integers(0, 300), st.integers(0, 300)),
    st.tuples(st.just("fifo"), PATHS, META),
    st.tuples(st.just("whiteout"), PATHS),
    st.tuples(st.just("opaque"), PATHS),
)
STACKS = st.lists(st.lists(OPERATIONS, max_size=12), min_size=1, max_size=4)


class Model:
    """Just enough of a file system to know whether an operation is possible: directories are dicts."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}

    def directory(self, parts: list[str], *, create: bool) -> dict[str, Any] | None:
        trail, todo, steps = [self.root], parts[::-1], 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                trail = trail[:-1] or [self.root]
                continue
            child = trail[-1].get(part)
            steps += 1
            if isinstance(child, str) and child.startswith("->") and steps < 40:
                target = child[2:]
                trail = [self.root] if target.startswith("/") else trail
                todo += reversed(target.split("/"))
            elif child is None and create:
                trail[-1][part] = child = {}
                trail.append(child)
            elif isinstance(child, dict):
                trail.append(child)
            else:
                return None
        return trail[-1]

    def parent(self, path: str, *, create: bool) -> tuple[dict[str, Any] | None, str]:
        *parts, name = path.split("/")
        # A failed attempt must not leave folders behind.
        if create and self.directory(parts, create=False) is None:
            copy = json.loads(json.dumps(self.root))
            if self.directory(parts, create=True) is None:
                self.root = copy
                return None, name
        return self.directory(parts, create=False), name


def entries_of(stack: list[list[Any]]) -> list[list[Item]]:
    """The entries of each layer, without the operations that are impossible or not comparable."""
    model = Model()
    layers = []
    for number, operations in enumerate(stack):
        layer: list[Item] = []
        # Whiteouts first: they then act on lower layers in either reading.
        for operation, path, *rest in sorted(operations, key=lambda one: one[0] not in ("whiteout", "opaque")):
            layer += _entry(model, operation, path, rest, number)
        layers.append(layer)
    return layers


def _entry(model: Model, operation: str, path: str, rest: list[Any], layer: int) -> list[Item]:
    if operation in ("whiteout", "opaque"):
        parent, name = model.parent(path, create=False)
        existing = parent.get(name) if parent is not None else None
        if parent is None or existing is None or not layer:
            return []
        if operation == "whiteout":
            del parent[name]
            return [file(os.path.join(os.path.dirname(path), ".wh." + name))]
        if not isinstance(existing, dict):
            return []
        existing.clear()
        return [file(f"{path}/.wh..wh..opq")]
    target = None
    if operation == "hard link":
        target_parent, target_name = model.parent(rest[0], create=False)
        target = target_parent.get(target_name) if target_parent is not None else None
        if target is None or isinstance(target, dict):
            return []
    parent, name = model.parent(path, create=True)
    if parent is None:
        return []
    if operation == "hard link":
        # Neither onto itself nor over a folder that may hold the target.
        if isinstance(parent.get(name), dict) or parent.get(name) == target:
            return []
        parent[name] = target
        return [hard_link(path, rest[0])]
    if operation == "directory":
        parent[name] = parent[name] if isinstance(parent.get(name), dict) else {}
        meta = {**rest[0], "mode": rest[0]["mode"] & ~stat.S_ISGID}
        return [directory(path, xattrs=rest[1], **meta)]
    identity = f"{operation} {path} in layer {layer}"
    parent[name] = "->" + rest[1] if operation == "symlink" else identity
    if operation == "file":
        return [file(path, (identity.encode() * 1000)[: rest[2]], xattrs=rest[1], **rest[0])]
    meta = {key: value for key, value in rest[0].items() if key != "mode"}
    if operation == "symlink":
        return [symlink(path, rest[1], **meta)]
    if operation == "fifo":
        return [item(path, tarfile.FIFOTYPE, **rest[0])]
    return [item(path, tarfile.CHRTYPE, devmajor=rest[1], devminor=rest[2], **rest[0])]


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
    manifest = {"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": config, "layers": descriptors}
    descriptor = blob(json.dumps(manifest).encode(), manifest["mediaType"])
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


def comparable(tree: dict[str, Found]) -> dict[str, Any]:
    """The trees as equal values; inode numbers become the group of names that share them."""
    groups: dict[int, list[str]] = {}
    for path, one in tree.items():
        groups.setdefault(one.ino, []).append(path)
    return {
        path: (
            oct(one.mode),
            one.uid,
            one.gid,
            0 if stat.S_ISDIR(one.mode) else one.mtime_ns,
            one.content,
            one.target,
            one.device,
            sorted(one.xattrs.items()),
            sorted(groups[one.ino]),
        )
        for path, one in tree.items()
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="unpacking device nodes and owners needs root")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STACKS)
def test_generated_layers_give_what_umoci_unpacks(stack: list[list[Any]]) -> None:
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
