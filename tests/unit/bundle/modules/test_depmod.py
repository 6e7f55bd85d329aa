"""Module indexes: what modprobe reads, from the modules' own information."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from gns3_minivm.base.errors import BugError, PackageError
from gns3_minivm.bundle.modules import depmod, trie
from gns3_minivm.bundle.modules.depmod import Module, ModuleIndex
from gns3_minivm.bundle.modules.module_list import load_orders, parse_module_list
from tests.support.debs import MODULES, elf, module


def read_trie(data: bytes) -> list[tuple[str, int, str]]:
    """Everything in an index, as kmod's reader would find it: (key, priority, value)."""
    magic, version, root = struct.unpack_from(">III", data)
    assert (magic, version) == (0xB007F457, 0x00020001)

    def word(place: int) -> int:
        return int(struct.unpack_from(">I", data, place)[0])

    def text(place: int) -> str:
        return data[place : data.index(b"\0", place)].decode()

    def walk(offset: int, key: str) -> Iterator[tuple[str, int, str]]:
        place = offset & trie.OFFSET_MASK
        if offset & trie.PREFIX:
            key += text(place)
            place = data.index(b"\0", place) + 1
        children: list[tuple[int, str]] = []
        if offset & trie.CHILDREN:
            first, last = data[place], data[place + 1]
            place += 2
            for letter in range(first, last + 1):
                if child := word(place):
                    children.append((child, key + chr(letter)))
                place += 4
        if offset & trie.VALUES:
            count, place = word(place), place + 4
            for _ in range(count):
                yield key, word(place), text(place + 4)
                place = data.index(b"\0", place + 4) + 1
        for child, name in children:
            yield from walk(child, name)

    return list(walk(root, ""))


@pytest.fixture
def index() -> ModuleIndex:
    read = [depmod.read_module(path, data) for path, data in sorted(MODULES.items(), reverse=True)]
    return ModuleIndex(
        read,
        order="".join(f"{path}\n" for path in MODULES),
        builtin="kernel/fs/ext4/ext4.ko\nkernel/lib/my-lib.ko\n",
        builtin_modinfo=b"ext4.license=GPL\0ext4.alias=fs-ext4\0",
    )


def test_a_module_tells_its_name_needs_and_symbols() -> None:
    found = depmod.read_module("kernel/a/nf-nat.ko", module("depends=x-y,z", "alias=a", exports=["two", "one"]))
    assert (found.name, found.depends, found.symbols) == ("nf_nat", ["x_y", "z"], ("one", "two"))


@pytest.mark.parametrize(
    "data", [b"", b"text", elf()[:40], elf({".modinfo": b"x"})[:150], b"\x7fELF\x01\x01" + bytes(99)]
)
def test_what_is_no_module_is_an_error_that_names_it(data: bytes) -> None:
    with pytest.raises(PackageError, match="kernel/a.ko"):
        depmod.read_module("kernel/a.ko", data)


def test_what_a_module_needs_is_loaded_before_it(index: ModuleIndex) -> None:
    assert [m.name for m in index.load_order("virtio-pci")] == ["virtio", "virtio_ring", "virtio_pci"]


def test_a_module_that_is_built_in_needs_no_loading(index: ModuleIndex) -> None:
    assert index.load_order("ext4") == []


def test_a_missing_module_is_told_with_who_needs_it() -> None:
    index = ModuleIndex([Module("a.ko", (("depends", "b"),), ())])
    with pytest.raises(PackageError, match=r"no module b \(needed by a\)"):
        index.load_order("a")


def test_modules_that_need_each_other_are_told() -> None:
    index = ModuleIndex([Module("a.ko", (("depends", "b"),), ()), Module("b.ko", (("depends", "a"),), ())])
    with pytest.raises(PackageError, match="depend on each other"):
        index.load_order("a")


def test_the_text_files_say_what_modprobe_needs(index: ModuleIndex) -> None:
    files = {name: data.decode() for name, data in index.files().items() if not name.endswith(".bin")}
    dep = dict(line.split(":", 1) for line in files["modules.dep"].splitlines())
    assert list(dep) == list(MODULES)
    assert dep["kernel/drivers/virtio/virtio_pci.ko"].split() == [
        "kernel/drivers/virtio/virtio_ring.ko",
        "kernel/drivers/virtio/virtio.ko",
    ]
    assert "alias net-pf-16-proto-16-family-ovs_flow openvswitch\n" in files["modules.alias"]
    assert "alias symbol:register_virtio_driver virtio\n" in files["modules.symbols"]
    assert "softdep virtio_net pre: crc32c-generic\n" in files["modules.softdep"]
    assert files["modules.devname"].splitlines()[1:] == ["tun net/tun c10:200"]


def test_the_binary_files_hold_the_same(index: ModuleIndex) -> None:
    files = index.files()
    dep = {key: value for key, _, value in read_trie(files["modules.dep.bin"])}
    assert sorted(dep.values()) == sorted(files["modules.dep"].decode().splitlines())
    assert dep["tun"] == "kernel/drivers/net/tun.ko:"
    aliases = {(key, value) for key, _, value in read_trie(files["modules.alias.bin"])}
    assert ("net_pf_16_proto_16_family_ovs_flow", "openvswitch") in aliases
    assert ("pci:v00001AF4d*sv*sd*bc*sc*i*", "virtio_pci") in aliases
    assert [key for key, _, _ in read_trie(files["modules.builtin.bin"])] == ["ext4", "my_lib"]
    assert read_trie(files["modules.builtin.alias.bin"]) == [("fs_ext4", 0, "ext4")]


def test_the_order_of_the_files_does_not_matter(index: ModuleIndex) -> None:
    other = ModuleIndex(
        sorted(index.modules, key=lambda m: m.name),
        order="".join(f"{path}\n" for path in MODULES),
        builtin="kernel/fs/ext4/ext4.ko\nkernel/lib/my-lib.ko\n",
        builtin_modinfo=b"ext4.license=GPL\0ext4.alias=fs-ext4\0",
    )
    assert other.files() == index.files()


def test_dashes_in_character_classes_stay() -> None:
    assert depmod.underscores("a-b[0-9]-c") == "a_b[0-9]_c"


def test_a_trie_keeps_keys_that_begin_alike_and_values_by_priority() -> None:
    entries = [("ab", "late", 2), ("ab", "early", 1), ("a", "x", 0), ("abcd", "y", 0), ("abce", "z", 0), ("b", "w", 5)]
    assert sorted(read_trie(trie.encode(entries))) == sorted((key, priority, value) for key, value, priority in entries)
    assert trie.encode(reversed(entries)) == trie.encode(entries)


def test_an_empty_trie_has_a_root_without_anything() -> None:
    assert read_trie(trie.encode([])) == []


def test_module_information_that_is_not_ascii_is_told() -> None:
    with pytest.raises(PackageError, match="not ASCII"):
        trie.encode([("ä", "x", 0)])


def test_a_module_list_has_two_parts_and_comments() -> None:
    wanted = parse_module_list("# head\n[boot]\nvirtio-pci  # why\n\n[late]\nvirtio_net\nbutton\n")
    assert (wanted.boot, wanted.late) == (("virtio_pci",), ("virtio_net", "button"))


@pytest.mark.parametrize("text", ["virtio\n", "[boot]\ntwo words\n", "[other]\nx\n"])
def test_a_malformed_module_list_is_a_defect(text: str) -> None:
    with pytest.raises(BugError, match="line"):
        parse_module_list(text)


def test_late_modules_leave_out_what_is_loaded_at_boot_and_what_the_kernel_lacks(index: ModuleIndex) -> None:
    wanted = parse_module_list("[boot]\nvirtio_blk\next4\n[late]\nvirtio_net\ne1000\n")
    boot, late = load_orders(wanted, index)
    assert [m.name for m in boot] == ["virtio", "virtio_blk"]
    assert [m.name for m in late] == ["virtio_ring", "virtio_net"]
