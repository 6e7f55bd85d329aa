"""cpio archives are laid out as the kernel wants them; .deb packages are taken apart."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from gns3_minivm.base.errors import DamagedImageError, PackageError
from gns3_minivm.formats.ar import read_ar
from gns3_minivm.formats.content import Slice, Sparse
from gns3_minivm.formats.cpio import write_cpio
from gns3_minivm.formats.tree import FileTree


def archive(tree: FileTree) -> bytes:
    stream = io.BytesIO()
    write_cpio(tree, stream)
    return stream.getvalue()


def members(data: bytes) -> list[tuple[str, dict[str, int], bytes]]:
    """The members of a newc archive, by the kernel's description of the format."""
    names = [
        "ino",
        "mode",
        "uid",
        "gid",
        "nlink",
        "mtime",
        "size",
        "devmajor",
        "devminor",
        "rdevmajor",
        "rdevminor",
        "namesize",
        "check",
    ]
    found: list[tuple[str, dict[str, int], bytes]] = []
    position = 0
    while True:
        assert data[position : position + 6] == b"070701"
        assert position % 4 == 0
        values = [int(data[position + 6 + 8 * n : position + 14 + 8 * n], 16) for n in range(13)]
        fields = dict(zip(names, values, strict=True))
        name = data[position + 110 : position + 110 + fields["namesize"]]
        assert name.endswith(b"\0")
        body = -(-(position + 110 + fields["namesize"]) // 4) * 4
        if name == b"TRAILER!!!\0":
            assert not data[body:].strip(b"\0")
            return found
        found.append((name[:-1].decode(), fields, data[body : body + fields["size"]]))
        position = -(-(body + fields["size"]) // 4) * 4


def test_all_kinds_of_files_are_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123456789")
    tree = FileTree()
    tree.add_file(b"init", Slice(str(tmp_path / "data"), 2, 5), 0o755, 1, 2, 1_700_000_000 * 10**9)
    tree.add_node(b"dev/console", stat.S_IFCHR | 0o600, 5, 1)
    tree.add_symlink(b"bin/sh", b"busybox")
    found = {name: (fields, body) for name, fields, body in members(archive(tree))}
    assert list(found) == ["bin", "bin/sh", "dev", "dev/console", "init"]
    fields, body = found["init"]
    assert (body, fields["mode"], fields["uid"], fields["gid"], fields["mtime"]) == (
        b"23456", stat.S_IFREG | 0o755, 1, 2, 1_700_000_000,
    )  # fmt: skip
    fields, _ = found["dev/console"]
    assert (fields["mode"], fields["rdevmajor"], fields["rdevminor"]) == (stat.S_IFCHR | 0o600, 5, 1)
    assert found["bin/sh"][1] == b"busybox"
    assert [fields["ino"] for fields, _ in found.values()] == [1, 2, 3, 4, 5]


def test_the_last_of_several_names_carries_the_content() -> None:
    tree = FileTree()
    tree.add_file(b"a", b"content")
    tree.add_hard_link(b"b", b"a")
    tree.add_hard_link(b"c", b"a")
    found = members(archive(tree))
    assert [(fields["ino"], fields["nlink"], body) for _, fields, body in found] == [
        (1, 3, b""),
        (1, 3, b""),
        (1, 3, b"content"),
    ]


def test_an_archive_is_a_whole_number_of_blocks_and_always_the_same() -> None:
    def tree(names: list[bytes]) -> FileTree:
        made = FileTree()
        for name in names:
            made.add_file(name, name * 7)
        return made

    one, two = archive(tree([b"x", b"yy", b"zzz"])), archive(tree([b"zzz", b"x", b"yy"]))
    assert one == two
    assert len(one) % 512 == 0


def test_a_file_of_4_gib_is_refused() -> None:
    tree = FileTree()
    tree.add_file(b"huge", Sparse(4 << 30, ()))
    with pytest.raises(DamagedImageError, match="'huge' has 4294967296 bytes"):
        archive(tree)


def ar(*parts: tuple[str, bytes]) -> bytes:
    data = b"!<arch>\n"
    for name, body in parts:
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}".encode() + b"`\n" + body
        data += b"\n" * (len(body) % 2)
    return data


def test_the_members_of_a_package_are_read() -> None:
    package = ar(("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.zst/", b"data"))
    found = [(member.name, member.data) for member in read_ar(io.BytesIO(package))]
    assert found == [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.zst", b"data")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ar archive"),
        (b"\x7fELF" * 10, "not an ar archive"),
        (ar(("a", b"xx"))[:40], "malformed"),
        (ar(("a", b"xx"))[:-1], "inside its member 'a'"),
        (ar(("a", b"xx")) + b"?" * 60, "malformed"),
    ],
)
def test_a_damaged_package_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        list(read_ar(io.BytesIO(data)))
