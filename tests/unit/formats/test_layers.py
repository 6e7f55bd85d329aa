"""Layers are merged as the OCI image specification says, and stay inside the root."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest

from gns3_minivm.base.errors import DamagedImageError
from gns3_minivm.formats.content import ContentReader
from gns3_minivm.formats.tar import read_layers
from gns3_minivm.formats.tree import FileTree, Node
from tests.support.layers import (
    Item,
    TarLayer,
    directory,
    file,
    hard_link,
    item,
    merged,
    paths,
    symlink,
    tar_bytes,
)


def node(tree: FileTree, path: str) -> Node:
    found = tree.lookup(path.encode())
    assert found is not None, path
    return found


def text(tree: FileTree, path: str) -> bytes:
    content = node(tree, path).content
    with ContentReader() as reader:
        return reader.read(content, 0, node(tree, path).size)


def test_a_whiteout_removes_what_lower_layers_brought(tmp_path: Path) -> None:
    tree = merged(tmp_path, [file("a/x"), file("a/y"), file("b/deep/z")], [file("a/.wh.x"), file(".wh.b")])
    assert paths(tree) == ["a", "a/y"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_does_not_touch_its_own_layer_whatever_the_order(tmp_path: Path, order: int) -> None:
    upper = [file("a/.wh.x"), file("a/x", b"new")][::order]
    tree = merged(tmp_path, [file("a/x", b"old"), file("a/y")], upper)
    assert paths(tree) == ["a", "a/x", "a/y"]
    assert text(tree, "a/x") == b"new"


@pytest.mark.parametrize("order", [1, -1])
def test_an_opaque_directory_hides_all_below_and_keeps_its_own(tmp_path: Path, order: int) -> None:
    lower = [directory("a", mode=0o700), file("a/x"), file("a/sub/old"), file("c")]
    upper = [directory("a", mode=0o711), file("a/.wh..wh..opq"), file("a/sub/new")]
    tree = merged(tmp_path, lower, upper[:1] + upper[1:][::order])
    assert paths(tree) == ["a", "a/sub", "a/sub/new", "c"]
    assert node(tree, "a").mode == stat.S_IFDIR | 0o711


def test_whiteouts_of_the_base_layer_mean_nothing(tmp_path: Path) -> None:
    tree = merged(tmp_path, [file("a"), file(".wh.a"), file(".wh..wh..opq")])
    assert paths(tree) == ["a"]


def test_what_aufs_kept_for_itself_is_left_out(tmp_path: Path) -> None:
    own = [directory(".wh..wh.plnk"), file(".wh..wh.plnk/12.34"), file(".wh..wh.aufs")]
    assert paths(merged(tmp_path, [file("a"), *own], [file("b"), *own])) == ["a", "b"]


def test_a_whiteout_of_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert paths(merged(tmp_path, [file("a")], [file("b/.wh.c"), file("x/.wh..wh..opq")])) == ["a"]


@pytest.mark.parametrize("name", ["a/.wh.", "a/.wh..", "a/.wh..."])
def test_a_whiteout_without_a_proper_name_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DamagedImageError, match=r"layer 2 of 2 \(sha256:layer1\), entry 'a/\.wh"):
        merged(tmp_path, [file("a/b")], [file(name)])


KINDS: dict[str, list[Item]] = {
    "file": [file("n", b"data")],
    "directory": [directory("n"), file("n/child")],
    "symlink": [symlink("n", "elsewhere")],
    "fifo": [item("n", tarfile.FIFOTYPE)],
    "device": [item("n", tarfile.CHRTYPE, devmajor=1, devminor=3)],
}


@pytest.mark.parametrize("before", KINDS)
@pytest.mark.parametrize("after", KINDS)
def test_any_kind_replaces_any_other_without_a_whiteout(tmp_path: Path, before: str, after: str) -> None:
    tree = merged(tmp_path, KINDS[before], KINDS[after])
    alone = merged(tmp_path, KINDS[after])
    assert paths(tree) == paths(alone)
    assert node(tree, "n").mode == node(alone, "n").mode


def test_an_upper_directory_entry_updates_mode_owner_time_and_xattrs(tmp_path: Path) -> None:
    lower = [directory("d", mode=0o700, uid=1, mtime=5, xattrs={"user.a": b"1"}), file("d/kept")]
    upper = [directory("d", mode=0o1777, uid=2, gid=3, mtime=9, xattrs={"user.b": b"2"})]
    tree = merged(tmp_path, lower, upper)
    found = node(tree, "d")
    assert (found.mode, found.uid, found.gid, found.mtime_ns) == (stat.S_IFDIR | 0o1777, 2, 3, 9_000_000_000)
    assert found.xattrs == {b"user.b": b"2"}
    assert paths(tree) == ["d", "d/kept"]


def test_missing_parents_belong_to_root(tmp_path: Path) -> None:
    found = node(merged(tmp_path, [file("a/b/c", uid=7)]), "a/b")
    assert (found.mode, found.uid, found.gid, found.mtime_ns) == (stat.S_IFDIR | 0o755, 0, 0, 0)


def test_parents_that_are_links_are_followed_inside_the_root(tmp_path: Path) -> None:
    lower = [directory("usr/lib"), symlink("lib", "usr/lib"), symlink("abs", "/usr/lib"), symlink("up", "../../usr")]
    tree = merged(tmp_path, lower, [file("lib/a"), file("abs/b"), file("up/lib/c")])
    assert [path for path in paths(tree) if path.count("/") == 2] == ["usr/lib/a", "usr/lib/b", "usr/lib/c"]
    assert node(tree, "lib").is_symlink


def test_a_dangling_parent_link_gets_its_target_made(tmp_path: Path) -> None:
    tree = merged(tmp_path, [symlink("run", "var/run")], [file("run/x/pid")])
    assert paths(tree) == ["run", "var", "var/run", "var/run/x", "var/run/x/pid"]


def test_a_parent_link_that_changes_within_a_layer_leads_to_its_new_target(tmp_path: Path) -> None:
    tree = merged(tmp_path, [symlink("l", "one"), file("l/a"), symlink("l", "two"), file("l/b")])
    assert paths(tree) == ["l", "one", "one/a", "two", "two/b"]


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DamagedImageError, match="symbolic links"):
        merged(tmp_path, [symlink("a", "b"), symlink("b", "a"), file("a/x")])


def test_a_file_as_parent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DamagedImageError, match=r"layer 1 of 1 \(sha256:layer0\), entry 'f/x': 'f' .* not a directory"):
        merged(tmp_path, [file("f"), file("f/x")])


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "a/../../etc/x", "./etc/./x", "//etc//x", "etc/../etc/x"])
def test_names_stay_inside_the_root(tmp_path: Path, name: str) -> None:
    assert paths(merged(tmp_path, [file(name)])) == ["etc", "etc/x"]


def test_the_root_entry_sets_the_root(tmp_path: Path) -> None:
    tree = merged(tmp_path, [directory("./", mode=0o750, uid=4), file("./a")])
    assert (tree.root.mode, tree.root.uid) == (stat.S_IFDIR | 0o750, 4)
    assert paths(merged(tmp_path, [symlink(".", "elsewhere"), file("a")])) == ["a"]


def test_a_way_through_links_that_are_too_long_together_is_refused(tmp_path: Path) -> None:
    back_and_forth = "d/" * 600 + "../" * 600
    links = [symlink(f"l{number}", f"{back_and_forth}l{number + 1}") for number in range(6)]
    entries = [directory("d/" * 600), *links, directory("l6")]
    assert paths(merged(tmp_path, [*entries, file("l1/x")]))[-1] == "l6/x"
    with pytest.raises(DamagedImageError, match="entry 'l0/x': symbolic links of 18012 bytes in all"):
        merged(tmp_path, [*entries, file("l0/x")])


def test_hard_links_share_one_inode(tmp_path: Path) -> None:
    tree = merged(tmp_path, [file("a", b"data"), hard_link("d/b", "a"), hard_link("c", "/d/b")])
    assert node(tree, "a") is node(tree, "d/b") is node(tree, "c")


def test_the_last_entry_of_an_inode_describes_it(tmp_path: Path) -> None:
    again = item("b", tarfile.LNKTYPE, mode=0o4711, target="a", uid=5, gid=6, mtime=7, xattrs={"user.b": b"2"})
    found = node(merged(tmp_path, [file("a", b"data", xattrs={"user.a": b"1"}), again]), "a")
    assert (found.mode, found.uid, found.gid, found.mtime_ns) == (stat.S_IFREG | 0o4711, 5, 6, 7 * 10**9)
    assert found.xattrs == {b"user.a": b"1", b"user.b": b"2"}
    first = merged(tmp_path, [again, file("a", b"data", mode=0o600)])
    assert node(first, "b").mode == stat.S_IFREG | 0o600
    link = node(merged(tmp_path, [symlink("a", "x", mtime=3), again]), "b")
    assert (link.mode, link.uid, link.gid, link.mtime_ns) == (stat.S_IFLNK | 0o777, 5, 6, 3 * 10**9)


def test_a_hard_link_may_come_before_its_target(tmp_path: Path) -> None:
    tree = merged(tmp_path, [hard_link("b", "c"), hard_link("c", "a"), file("a", b"data")])
    assert node(tree, "a") is node(tree, "b") is node(tree, "c")


def test_links_that_wait_for_one_another_take_linear_time(tmp_path: Path) -> None:
    # Hours, if every link were tried again after each one.
    chain = [hard_link(f"{number}", f"{number + 1}") for number in range(20_000)]
    tree = merged(tmp_path, [*chain, file("20000", b"data")])
    assert node(tree, "0") is node(tree, "9999") is node(tree, "20000")


def test_a_way_may_lead_through_a_waiting_link_to_a_symlink(tmp_path: Path) -> None:
    tree = merged(tmp_path, [hard_link("a", "w/f"), hard_link("w", "s"), symlink("s", "d"), file("d/f", b"data")])
    assert node(tree, "a") is node(tree, "d/f")


def test_a_name_written_after_a_waiting_link_wins(tmp_path: Path) -> None:
    tree = merged(tmp_path, [file("b", b"base")], [hard_link("b", "a"), file("b", b"last"), file("a", b"first")])
    assert (text(tree, "a"), text(tree, "b")) == (b"first", b"last")


def test_a_hard_link_to_a_symlink_links_the_symlink_itself(tmp_path: Path) -> None:
    tree = merged(tmp_path, [file("t"), symlink("s", "t"), hard_link("h", "s")])
    assert node(tree, "h") is node(tree, "s")
    assert node(tree, "h").is_symlink


def test_a_hard_link_leads_into_a_lower_layer(tmp_path: Path) -> None:
    tree = merged(tmp_path, [file("a", b"lower")], [hard_link("b", "a")], [file("a", b"upper")])
    assert (text(tree, "a"), text(tree, "b")) == (b"upper", b"lower")


def test_a_file_linked_to_itself_stays(tmp_path: Path) -> None:
    # GNU tar writes this where a file is named twice.
    assert text(merged(tmp_path, [file("a", b"x"), hard_link("a", "a")]), "a") == b"x"


@pytest.mark.parametrize(("target", "message"), [("no", "does not exist"), ("d", "directory"), ("/", "root")])
def test_a_hard_link_to_what_cannot_be_linked_is_an_error(tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(DamagedImageError, match=f"entry 'h': .*{message}"):
        merged(tmp_path, [directory("d"), hard_link("h", target)])


def test_a_hard_link_to_outside_means_the_name_inside(tmp_path: Path) -> None:
    tree = merged(tmp_path, [file("etc/passwd", b"inside"), hard_link("h", "../../etc/passwd")])
    assert text(tree, "h") == b"inside"


def test_of_duplicates_the_last_wins(tmp_path: Path) -> None:
    tree = merged(tmp_path, [file("a", b"1", mode=0o600), file("a", b"22", mode=0o640)])
    assert (text(tree, "a"), node(tree, "a").mode) == (b"22", stat.S_IFREG | 0o640)


def test_devices_and_fifos_are_kept(tmp_path: Path) -> None:
    entries = [item("b", tarfile.BLKTYPE, devmajor=259, devminor=1000), item("p", tarfile.FIFOTYPE, mode=0o622)]
    tree = merged(tmp_path, entries)
    assert (node(tree, "b").device, stat.S_ISBLK(node(tree, "b").mode)) == ((259, 1000), True)
    assert node(tree, "p").mode == stat.S_IFIFO | 0o622


def test_xattrs_come_from_pax_headers_byte_by_byte(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    tree = merged(tmp_path, [file("ping", xattrs={"security.capability": capability})])
    assert node(tree, "ping").xattrs == {b"security.capability": capability}


def test_names_may_hold_any_byte_but_null_and_slash(tmp_path: Path) -> None:
    name = "new\nline-\udcff\udcfe-" + "n" * 240
    assert paths(merged(tmp_path, [file(name, b"x")])) == [name]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (file("n" * 256), "255"),
        (file("d/" * 2500 + "f"), "4095"),
        (symlink("s", ""), "0 bytes"),
        (symlink("s", "t" * 4096), "4096 bytes"),
        (file("f", uid=1 << 32), "uid"),
        (item("c", tarfile.CHRTYPE, devmajor=4096), "4096:0"),
        (item("weird", b"Z"), "b'Z'"),
    ],
)
def test_what_no_file_system_can_hold_is_an_error_with_the_entry(tmp_path: Path, entry: Item, message: str) -> None:
    with pytest.raises(DamagedImageError, match=r"^layer 1 of 1 \(sha256:layer0\), entry '") as caught:
        merged(tmp_path, [entry])
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("size", [100, 512, 700, 1500, 2048])
def test_a_truncated_layer_is_an_error(tmp_path: Path, size: int) -> None:
    data = tar_bytes([file("first", b"x" * 1000), file("second", b"y" * 1000)])[:size]
    with pytest.raises(DamagedImageError, match="layer 1 of 1"):
        merged(tmp_path, data)


def test_a_layer_file_that_is_shorter_than_it_says_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(1024))
    with pytest.raises(DamagedImageError, match="shorter"):
        read_layers([TarLayer(tmp_path / "short", 0, 2048, "sha256:short")])


def test_layers_lie_anywhere_in_a_file_and_progress_sums_up_to_their_size(tmp_path: Path) -> None:
    one, two = tar_bytes([file("a", b"one")]), tar_bytes([file("b", b"two" * 100_000)])
    archive = tmp_path / "archive"
    archive.write_bytes(b"?" * 77 + two + one)
    layers = [
        TarLayer(archive, 77 + len(two), len(one), "sha256:one"),
        TarLayer(archive, 77, len(two), "sha256:two"),
    ]
    steps: list[int] = []
    tree = read_layers(layers, steps.append)
    assert (text(tree, "a"), text(tree, "b")) == (b"one", b"two" * 100_000)
    assert sum(steps) == len(one) + len(two)
    assert min(steps) >= 0
