"""Generated stacks of layers, as operations on names; and trees as values that can be compared.

An operation is a tuple: what, where, and what it needs.  ``entries_of`` and ``entries_for_engine`` make layers of them,
leaving out operations that are impossible, or that are known to be read differently by whom the result is compared
with.
"""

from __future__ import annotations

import os
import stat
import tarfile
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.support.disks import Found
from tests.support.layers import Item, directory, file, hard_link, item, symlink

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
    st.tuples(st.just("hard link"), PATHS, PATHS, META),
    st.tuples(st.just("device"), PATHS, META, st.integers(0, 300), st.integers(0, 300)),
    st.tuples(st.just("fifo"), PATHS, META),
    st.tuples(st.just("whiteout"), PATHS),
    st.tuples(st.just("opaque"), PATHS),
)
# One example takes a second, so that making a failing one smaller takes minutes: that is for home, where CI's example
# comes again with the line that Hypothesis prints.
SETTINGS = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate] if os.environ.get("CI") else [Phase.explicit, Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
)
STACKS = st.lists(st.lists(OPERATIONS, max_size=12), min_size=1, max_size=4)


class Inode(str):
    """What is no folder: a text that tells one from the other, with the attributes that its entry has."""

    fields: dict[str, Any]


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
            before = deepcopy(self.root)
            if self.directory(parts, create=True) is None:
                self.root = before
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
    target: Any = None
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
        # Whose attributes count if they differ is not agreed: umoci takes the first name's, Docker the last one's.
        return [hard_link(path, rest[0], **target.fields)]
    if operation == "directory":
        parent[name] = parent[name] if isinstance(parent.get(name), dict) else {}
        meta = {**rest[0], "mode": rest[0]["mode"] & ~stat.S_ISGID}
        return [directory(path, xattrs=rest[1], **meta)]
    identity = f"{operation} {path} in layer {layer}"
    inode = parent[name] = Inode("->" + rest[1] if operation == "symlink" else identity)
    inode.fields = {key: value for key, value in rest[0].items() if operation != "symlink" or key != "mode"}
    if operation == "file":
        return [file(path, (identity.encode() * 1000)[: rest[2]], xattrs=rest[1], **rest[0])]
    if operation == "symlink":
        return [symlink(path, rest[1], **inode.fields)]
    if operation == "fifo":
        return [item(path, tarfile.FIFOTYPE, **rest[0])]
    return [item(path, tarfile.CHRTYPE, devmajor=rest[1], devminor=rest[2], **rest[0])]


_PLAIN = {"mode": 0o755, "uid": 0, "gid": 0, "mtime": 1}


def entries_for_engine(stack: list[list[Any]]) -> list[list[Item]]:
    """The entries of each layer as a Docker engine would write them, so that its storage driver reads them as we do.

    Its driver takes no name twice in a layer, unpacks each layer into an empty folder, and lays the folders over one
    another.  So every folder on the way to an entry is described, links lead into their own layer, no parent is a
    symbolic link, and a folder in place of what the same layer has removed is marked as opaque.
    """
    nodes: dict[str, Any] = {}
    return [_EngineLayer(nodes, number).entries(operations) for number, operations in enumerate(stack)]


class _EngineLayer:
    """One layer; ``nodes`` are all names so far: folders as their attributes, anything else as a text of its own."""

    def __init__(self, nodes: dict[str, Any], number: int) -> None:
        self._nodes = nodes
        self._number = number
        self._items: list[Item] = []
        self._written: set[str] = set()
        self._removed: set[str] = set()
        self._xattrs: dict[str, dict[str, bytes]] = {}

    def entries(self, operations: list[Any]) -> list[Item]:
        for operation, path, *rest in sorted(operations, key=lambda one: one[0] not in ("whiteout", "opaque")):
            parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
            if path in self._written or any(isinstance(self._nodes.get(parent, {}), str) for parent in parents):
                continue
            existing = self._nodes.get(path)
            if operation in ("whiteout", "opaque"):
                if self._number and existing is not None and (operation == "whiteout" or isinstance(existing, dict)):
                    self._describe(parents)
                    self._remove(operation, path)
            elif operation == "hard link":
                if rest[0] in self._written and isinstance(self._nodes.get(rest[0]), str) and not existing:
                    self._describe(parents)
                    # The last name's attributes are the inode's.  Engines write a capability with every name, and a
                    # link without it would lose the file's in Docker, where setting the owner clears it; we let the
                    # file keep it.
                    xattrs = self._xattrs.get(self._nodes[rest[0]], {})
                    self._put(path, self._nodes[rest[0]], hard_link(path, rest[0], xattrs=xattrs, **rest[1]))
            else:
                self._describe(parents)
                self._make(operation, path, rest)
        return self._items

    def _describe(self, paths: list[str]) -> None:
        for path in paths:
            if path not in self._written:
                attributes = self._nodes.get(path, _PLAIN)
                self._put(path, attributes, directory(path, **attributes))
                if path in self._removed:
                    self._items.append(file(f"{path}/.wh..wh..opq"))

    def _put(self, path: str, node: Any, entry: Item) -> None:
        self._nodes[path] = node
        self._written.add(path)
        self._items.append(entry)

    def _remove(self, operation: str, path: str) -> None:
        if operation == "whiteout":
            del self._nodes[path]
            self._removed.add(path)
            self._items.append(file(os.path.join(os.path.dirname(path), ".wh." + os.path.basename(path))))
        else:
            self._describe([path])
            self._items.append(file(f"{path}/.wh..wh..opq"))
        self._drop_below(path)

    def _drop_below(self, path: str) -> None:
        for name in [name for name in self._nodes if name.startswith(f"{path}/")]:
            del self._nodes[name]

    def _make(self, operation: str, path: str, rest: list[Any]) -> None:
        attributes = dict(rest[0])
        if operation == "directory":
            attributes["mode"] &= ~stat.S_ISGID
            self._nodes[path] = attributes
            self._describe([path])
            return
        self._drop_below(path)
        identity = f"{operation} {path} in layer {self._number}"
        if operation == "file":
            # The engine hands out no other attribute.
            xattrs = {key: value for key, value in rest[1].items() if key == "security.capability"}
            self._xattrs[identity] = xattrs
            entry = file(path, (identity.encode() * 1000)[: rest[2]], xattrs=xattrs, **attributes)
        elif operation == "symlink":
            entry = symlink(path, rest[1], **{key: value for key, value in attributes.items() if key != "mode"})
        elif operation == "fifo":
            entry = item(path, tarfile.FIFOTYPE, **attributes)
        else:
            # The device 0:0 is the driver's own mark for a name that is gone.
            entry = item(path, tarfile.CHRTYPE, **attributes, devmajor=rest[1] + 1, devminor=rest[2])
        self._put(path, identity, entry)


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
