"""The merged file system in memory: names, owners, modes, times, xattrs, and where the contents lie.

File contents stay where they are (in a layer file) and are read once, by the writer.  Paths are bytes, relative to the
root, and are resolved inside it as ``openat2(RESOLVE_IN_ROOT)`` does: symbolic links on the way are followed, ``..``
stops at the root.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.content import Content, content_size

NAME_MAX = 255
PATH_MAX = 4095
"""Bytes in a path or a link target that the Linux kernel takes."""
MAJOR_MAX = (1 << 12) - 1
MINOR_MAX = (1 << 20) - 1
ID_MAX = (1 << 32) - 2
"""The largest uid and gid; one more means "no change" to the kernel."""
_LINKS_FOLLOWED_MAX = 40
"""As the kernel (MAXSYMLINKS)."""
_TARGETS_MAX = 4 * PATH_MAX
"""Bytes of the links' targets on one way: forty of the longest, for every name of a layer, would take hours."""

Children = dict[bytes, "Node"]
Body = Children | Content | tuple[int, int] | None


class Node:
    """An inode: several names may lead to one Node (hard links).

    ``mode`` holds the type and the permissions (``stat.S_IFMT``).  ``body`` is the type's own: a directory's children,
    a file's content, a symbolic link's target (bytes), a device's (major, minor), or None for FIFOs and sockets.
    """

    __slots__ = ("body", "gid", "mode", "mtime_ns", "uid", "xattrs")

    def __init__(
        self,
        mode: int,
        body: Body,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.mode = mode
        self.body = body
        self.uid = uid
        self.gid = gid
        self.mtime_ns = mtime_ns
        self.xattrs = xattrs or None

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_device(self) -> bool:
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)

    @property
    def children(self) -> Children:
        """A directory's entries, in no particular order."""
        assert isinstance(self.body, dict)
        return self.body

    @property
    def content(self) -> Content:
        """A file's content."""
        assert self.body is not None and not isinstance(self.body, (dict, tuple))
        return self.body

    @property
    def target(self) -> bytes:
        """A symbolic link's target."""
        assert isinstance(self.body, bytes)
        return self.body

    @property
    def device(self) -> tuple[int, int]:
        """A device's major and minor number."""
        assert isinstance(self.body, tuple)
        return self.body

    @property
    def size(self) -> int:
        """The length of a file or of a link's target in bytes; 0 for everything else."""
        return content_size(self.body) if self.is_file or self.is_symlink else 0  # type: ignore[arg-type]


def new_directory(mode: int = 0o755) -> Node:
    """An empty directory owned by root, as for a parent that no layer names."""
    return Node(stat.S_IFDIR | mode, {})


class FileTree:
    """A file system from its root; the ``add_`` methods replace anything that has the name, as a later layer does.

    Raises DamagedImageError for names and links that no file system can hold.
    """

    def __init__(self) -> None:
        self.root = new_directory()

    def add_file(
        self,
        path: bytes,
        data: Content,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> Node:
        """Put a regular file; missing parents are made."""
        return self.put(path, Node(stat.S_IFREG | mode & 0o7777, data, uid, gid, mtime_ns, xattrs))

    def add_directory(
        self,
        path: bytes,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> Node:
        """Put a directory; one that is there keeps its children and takes the new owner, mode, time and xattrs."""
        return self.put(path, Node(stat.S_IFDIR | mode & 0o7777, {}, uid, gid, mtime_ns, xattrs))

    def add_symlink(
        self,
        path: bytes,
        target: bytes,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> Node:
        """Put a symbolic link."""
        return self.put(path, Node(stat.S_IFLNK | 0o777, target, uid, gid, mtime_ns, xattrs))

    def add_node(
        self,
        path: bytes,
        mode: int,
        major: int = 0,
        minor: int = 0,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> Node:
        """Put a device node, FIFO or socket; ``mode`` carries the type (``stat.S_IFCHR`` and so on)."""
        is_device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        return self.put(path, Node(mode, (major, minor) if is_device else None, uid, gid, mtime_ns, xattrs))

    def add_hard_link(self, path: bytes, target: bytes) -> Node:
        """Give what ``target`` names (itself, if it is a symbolic link) a second name."""
        node = self.lookup(target)
        if node is None:
            raise DamagedImageError(f"the hard link's target {printable(target)} does not exist")
        return self.put(path, node)

    def put(self, path: bytes, node: Node) -> Node:
        """Put ``node`` under ``path``; returns the node that is there afterwards."""
        parent, name = self.resolve_parent(path, create=True)
        assert parent is not None
        return place(self.root if not name else parent, name, node)

    def lookup(self, path: bytes, *, follow: bool = False) -> Node | None:
        """What ``path`` names, or None; ``follow`` resolves a symbolic link at its end."""
        if follow:
            return self._descend(path.split(b"/"), create=False)
        parent, name = self.resolve_parent(path, create=False)
        if parent is None or not name:
            return parent
        return parent.children.get(name)

    def remove(self, path: bytes) -> bool:
        """Remove a name and what is below it; returns whether it was there."""
        parent, name = self.resolve_parent(path, create=False)
        return bool(parent is not None and name and parent.children.pop(name, None))

    def resolve_parent(self, path: bytes, *, create: bool) -> tuple[Node | None, bytes]:
        """The directory that holds ``path``, and the last name; the name is empty for the root itself.

        ``path`` is cleaned first (``..`` by its letters), then links on the way to the last name are followed.  With
        ``create``, missing directories are made; without it, the directory is None where one is missing.
        """
        parts = clean(path)
        if not parts:
            return self.root, b""
        return self._descend(parts[:-1], create=create), parts[-1]

    def _descend(self, parts: list[bytes], *, create: bool) -> Node | None:
        trail = [self.root]
        todo = parts[::-1]
        followed = walked = 0
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if len(trail) > 1:
                    trail.pop()
                continue
            child = trail[-1].children.get(part)
            if child is None:
                if not create:
                    return None
                check_name(part)
                child = trail[-1].children[part] = new_directory()
            elif child.is_symlink:
                followed += 1
                walked += len(child.target)
                if followed > _LINKS_FOLLOWED_MAX:
                    raise DamagedImageError(f"more than {_LINKS_FOLLOWED_MAX} symbolic links at {printable(part)}")
                if walked > _TARGETS_MAX:
                    raise DamagedImageError(
                        f"symbolic links of {walked} bytes in all; at most {_TARGETS_MAX} are followed"
                    )
                if child.target.startswith(b"/"):
                    del trail[1:]
                todo.extend(reversed(child.target.split(b"/")))
                continue
            elif not child.is_directory:
                if not create:
                    return None
                raise DamagedImageError(f"{printable(part)} on the way is not a directory")
            trail.append(child)
        return trail[-1]

    def walk(self) -> Iterator[tuple[bytes, Node]]:
        """All names below the root with their nodes, in canonical order: a directory, then its children by bytes."""
        for trail, _, node in self.walk_entries():
            yield b"/".join(trail), node

    def walk_entries(self) -> Iterator[tuple[list[bytes], Node, Node]]:
        """As ``walk``, but (names from the root, parent, node); the list is reused and must not be kept."""
        trail: list[bytes] = []
        directory = self.root
        pending = [(directory, iter(sorted(directory.children.items())))]
        while pending:
            directory, entries = pending[-1]
            for name, node in entries:
                trail.append(name)
                yield trail, directory, node
                if node.is_directory:
                    pending.append((node, iter(sorted(node.children.items()))))
                    break
                trail.pop()
            else:
                pending.pop()
                if trail:
                    trail.pop()


def place(parent: Node, name: bytes, node: Node) -> Node:
    """Give ``node`` the name in ``parent``, as a layer does: a directory over a directory only updates it.

    An empty name stands for ``parent`` itself, which only a directory can update.
    """
    existing = parent.children.get(name) if name else parent
    if existing is not None and existing.is_directory and node.is_directory:
        if existing is not node:
            existing.mode, existing.uid, existing.gid = node.mode, node.uid, node.gid
            existing.mtime_ns, existing.xattrs = node.mtime_ns, node.xattrs
        return existing
    if not name:
        raise DamagedImageError("the root is not a directory")
    check_name(name)
    parent.children[name] = node
    return node


def clean(path: bytes) -> list[bytes]:
    """The names in a path, with ``.`` and ``..`` taken out by their letters; nothing leads above the root."""
    parts = path.split(b"/")
    if b"" in parts or b"." in parts or b".." in parts:
        found, parts = parts, []
        for part in found:
            if part == b"..":
                del parts[-1:]
            elif part and part != b".":
                parts.append(part)
    if len(path) > PATH_MAX:
        raise DamagedImageError(f"a path has {len(path)} bytes; Linux takes at most {PATH_MAX}")
    return parts


def check_name(name: bytes) -> None:
    """Raise DamagedImageError for a name that no directory can hold."""
    if len(name) > NAME_MAX:
        raise DamagedImageError(f"the name {printable(name)} has {len(name)} bytes; ext4 takes at most {NAME_MAX}")
    if b"\0" in name:
        raise DamagedImageError(f"the name {printable(name)} contains a null byte")


def printable(path: bytes) -> str:
    """A path for a message: quoted, control characters and invalid UTF-8 escaped, at most some 200 characters."""
    text = repr(path.decode("utf-8", "surrogateescape"))
    return text if len(text) <= 200 else f"{text[:150]}...{text[-40:]}"
