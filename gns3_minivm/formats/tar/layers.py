"""Merges layers: whiteouts, replaced kinds, hard links, parents behind symbolic links.

Whiteouts act on lower layers only, wherever they stand in the archive; those of the base layer mean nothing.  Owner,
mode and time of a file with several names are those of its last entry, be it the file's own or a link's; of a symbolic
link with several names, only the owner is.  Owners and modes of parents that no entry names are root's and 0755.
Global pax headers, ``SCHILY.acl`` and ``LIBARCHIVE.xattr`` records are not read, as containerd does not read them.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Protocol

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.base.events import Progress, no_progress
from gns3_minivm.formats.content import content_size
from gns3_minivm.formats.tar import headers as h
from gns3_minivm.formats.tar.archive import Archive, Entry
from gns3_minivm.formats.tree import (
    ID_MAX,
    MAJOR_MAX,
    MINOR_MAX,
    PATH_MAX,
    FileTree,
    Node,
    clean,
    place,
    printable,
)

_WHITEOUT = b".wh."
_WHITEOUT_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_NO_NAMES = (b"", b".", b"..")
FILE_SIZE_MAX = 1 << 44
"""Bytes in one file: 2^32 blocks of 4 KiB."""

_PASSES_MAX = 40

_Waiting = tuple[Node, bytes, Entry]
"""A hard link whose target has not come yet: its directory, its name, its entry."""
_TYPES = {
    h.REGTYPE: stat.S_IFREG,
    h.GNU_SPARSE: stat.S_IFREG,
    h.SYMTYPE: stat.S_IFLNK,
    h.CHRTYPE: stat.S_IFCHR,
    h.BLKTYPE: stat.S_IFBLK,
    h.DIRTYPE: stat.S_IFDIR,
    h.FIFOTYPE: stat.S_IFIFO,
}


class LayerFile(Protocol):
    """One uncompressed layer: ``size`` bytes of tar from ``offset`` on in the file ``path``."""

    @property
    def diff_id(self) -> str: ...
    @property
    def path(self) -> str | PathLike[str]: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...


def read_layers(layers: Sequence[LayerFile], progress: Progress = no_progress) -> FileTree:
    """Merge layers, base layer first, into one tree; contents stay in the layer files.

    ``progress`` is called with the bytes gone through since the last call; they sum up to the layers' sizes.
    Raises DamagedImageError, naming layer and entry, for an archive that is truncated, malformed or hostile.
    """
    tree = FileTree()
    for place_in_image, layer in enumerate(layers):
        archive = Archive(str(layer.path), layer.offset, layer.size, progress)
        merge = _Merge(tree)
        try:
            if place_in_image == 0:
                merge.apply(archive.entries())
            else:
                # All whiteouts act before any entry, so that they cannot touch what their own layer brings.
                entries = [entry for entry in archive.entries() if not merge.white_out(entry)]
                merge.apply(entries)
        except DamagedImageError as error:
            where = f"layer {place_in_image + 1} of {len(layers)} ({layer.diff_id})"
            name = merge.current if merge.current is not None else archive.last_name
            entry_text = f", entry {printable(name)}" if name and not error.message.startswith("entry ") else ""
            raise DamagedImageError(
                f"{where}{entry_text}: {error.message}",
                hint="Fetch the image again; if the error persists, the image itself is damaged.",
            ) from error
    return tree


class _Merge:
    """One layer on its way into the tree."""

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._parents: dict[bytes, Node] = {}
        self._links_waiting: list[_Waiting] = []
        self.current: bytes | None = None
        """The name of the entry at work, for messages."""

    def white_out(self, entry: Entry) -> bool:
        """Apply a whiteout; returns whether the entry is one."""
        name = entry.name.rstrip(b"/")
        base = name[name.rfind(b"/") + 1 :]
        if not base.startswith(_WHITEOUT):
            return _is_metadata(entry.name)
        self.current = entry.name
        if base == _OPAQUE:
            directory = self._tree.lookup(name[: -len(base)], follow=True)
            if directory is not None and directory.is_directory:
                directory.children.clear()
        elif not base.startswith(_WHITEOUT_META):
            removed = base[len(_WHITEOUT) :]
            if removed in (b"", b".", b".."):
                raise DamagedImageError("a whiteout without a name")
            self._tree.remove(name[: -len(base)] + removed)
        self.current = None
        return True

    def apply(self, entries: Iterable[Entry]) -> None:
        """Put entries into the tree, in their order."""
        for entry in entries:
            self.current = path = entry.name
            if _WHITEOUT in path:
                parts = clean(path)
                if parts and (parts[-1].startswith(_WHITEOUT) or _is_metadata(path)):
                    continue
            parent, name = self._place_of(path)
            if not name:
                # The root itself: a directory entry sets its owner, mode and time.
                if entry.type == h.DIRTYPE:
                    place(self._tree.root, b"", _node(entry))
                continue
            if entry.type == h.LNKTYPE:
                self._link(parent, name, entry)
            else:
                self._put(parent, name, _node(entry))
            self.current = None
        self._link_waiting()

    def _place_of(self, path: bytes) -> tuple[Node, bytes]:
        """The folder that a path leads to, and the name in it; the name is empty for the root itself."""
        folder, _, name = path.rstrip(b"/").rpartition(b"/")
        parent = self._parents.get(folder)
        if parent is not None and name not in _NO_NAMES and len(path) <= PATH_MAX:
            return parent, name
        found, last = self._tree.resolve_parent(path, create=True)
        assert found is not None
        if last == name:
            self._parents[folder] = found
        return found, last

    def _put(self, parent: Node, name: bytes, node: Node) -> None:
        existing = parent.children.get(name)
        if existing is not None and (existing.is_directory or existing.is_symlink) and existing is not node:
            # Paths that led through it may lead elsewhere now.
            self._parents.clear()
        place(parent, name, node)

    def _link(self, parent: Node, name: bytes, entry: Entry) -> None:
        if not clean(entry.linkname):
            raise DamagedImageError("a hard link to the root")
        target = self._tree.lookup(entry.linkname)
        if target is None:
            # The target may come later in this layer.
            existing = parent.children.pop(name, None)
            if existing is not None:
                self._parents.clear()
            self._links_waiting.append((parent, name, entry))
            return
        if target.is_directory:
            raise DamagedImageError(f"a hard link to the directory {printable(entry.linkname)}")
        _describe_again(target, entry)
        self._put(parent, name, target)

    def _link_waiting(self) -> None:
        waiting = self._links_waiting
        # More than once, because a link to a symbolic link may be what another one's way leads through.
        for _ in range(_PASSES_MAX):
            missing = self._link_pass(waiting)
            if not missing:
                break
            if len(missing) == len(waiting):
                _, _, entry = missing[0]
                self.current = entry.name
                raise DamagedImageError(f"the hard link's target {printable(entry.linkname)} does not exist")
            waiting = missing
        else:
            raise DamagedImageError(f"the hard links depend on one another more than {_PASSES_MAX} levels deep")
        self._links_waiting = []

    def _link_pass(self, waiting: list[_Waiting]) -> list[_Waiting]:
        """Make the links whose targets are there, each followed by those that wait for it; returns the others."""
        blocked: dict[tuple[Node, bytes], list[_Waiting]] = {}
        missing: list[_Waiting] = []
        todo = waiting[::-1]
        while todo:
            parent, name, entry = link = todo.pop()
            self.current = entry.name
            at, last = self._tree.resolve_parent(entry.linkname, create=False)
            target = at.children.get(last) if at is not None else None
            if target is None:
                (missing if at is None else blocked.setdefault((at, last), [])).append(link)
                continue
            if target.is_directory:
                raise DamagedImageError(f"a hard link to the directory {printable(entry.linkname)}")
            if name not in parent.children:
                # A name that is there again was written after the link, and the last one wins.
                place(parent, name, target)
            todo += blocked.pop((parent, name), [])
        return missing + [link for links in blocked.values() for link in links]


def _describe_again(node: Node, entry: Entry) -> None:
    """Let a hard link's entry, which describes the inode once more, have the last word, as Docker does."""
    _check_owner(entry)
    node.uid, node.gid = entry.uid, entry.gid
    if not node.is_symlink:
        # Docker sets these through the name, which for a symbolic link would be its target's affair, so it does not.
        node.mode = stat.S_IFMT(node.mode) | entry.mode
        node.mtime_ns = entry.mtime_ns
    if entry.xattrs:
        node.xattrs = {**(node.xattrs or {}), **entry.xattrs}


def _is_metadata(name: bytes) -> bool:
    """Whether an entry lies in one of the folders that AUFS kept its own files in."""
    return _WHITEOUT_META in name and any(part.startswith(_WHITEOUT_META) for part in name.split(b"/"))


def _check_owner(entry: Entry) -> None:
    for what, value in (("uid", entry.uid), ("gid", entry.gid)):
        if not 0 <= value <= ID_MAX:
            raise DamagedImageError(f"its {what} is {value}; 0 to {ID_MAX} is allowed")


def _node(entry: Entry) -> Node:
    """The inode that an entry describes; raises DamagedImageError for one that no file system can hold."""
    kind = _TYPES.get(entry.type)
    if kind is None:
        raise DamagedImageError(f"the entry's type {entry.type!r} is not supported")
    _check_owner(entry)
    mode = kind | entry.mode
    if kind == stat.S_IFREG:
        size = content_size(entry.content)
        if size >= FILE_SIZE_MAX:
            raise DamagedImageError(f"its size is {size} bytes; ext4 takes less than {FILE_SIZE_MAX}")
        return Node(mode, entry.content, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs)
    if kind == stat.S_IFLNK:
        target = entry.linkname
        if not 0 < len(target) <= PATH_MAX or b"\0" in target:
            raise DamagedImageError(f"the symbolic link's target {printable(target)} has {len(target)} bytes")
        return Node(stat.S_IFLNK | 0o777, target, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs)
    if kind == stat.S_IFDIR:
        return Node(mode, {}, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs)
    if kind == stat.S_IFIFO:
        return Node(mode, None, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs)
    major, minor = entry.device
    if not (0 <= major <= MAJOR_MAX and 0 <= minor <= MINOR_MAX):
        raise DamagedImageError(f"the device number {major}:{minor} is out of range")
    return Node(mode, entry.device, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs)
