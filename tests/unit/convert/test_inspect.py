"""What inspect says of a disk, and of what is none."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import DamagedImageError, HostError, UsageError
from gns3_minivm.cli.frame.run import run_command_line
from gns3_minivm.convert import recipe as recipe_module
from gns3_minivm.convert.inspect import file_chunks, inspect_disk, list_files
from gns3_minivm.convert.options import DiskOptions
from gns3_minivm.convert.recipe import DiskRecipe, find_recipe
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import CONFIG_PATH, GuestConfig
from gns3_minivm.images.model import ImageInfo
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.inspect import inspect
from gns3_minivm.settings import Settings

MIB = 1 << 20
SIZE = 32 * MIB
DIFF_IDS = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)
CONFIG = GuestConfig(entrypoint=("/bin/a b",), env=("A=\x1b[31mred",), labels={"org.opencontainers.image.title": "t"})


def recipe(config: GuestConfig = CONFIG, size_bytes: int = SIZE, compression: qcow2.Compression = "zlib") -> DiskRecipe:
    info = ImageInfo(
        reference="the/reference:1",
        name="reference",
        version="1",
        architecture="amd64",
        diff_ids=DIFF_IDS,
        config=config,
        size_bytes=None,
    )
    return DiskRecipe(info, DiskOptions(size_bytes=size_bytes, compression=compression))


def write_disk(path: Path, tree: FileTree, made_by: DiskRecipe | None = None, label: str = "") -> Path:
    made_by = made_by or recipe()
    size_bytes, compression = made_by.options.size_bytes, made_by.options.compression
    plan = ext4.plan(tree, ext4.Ext4Options(size_bytes, made_by.uuid, made_by.hash_seed, label))
    with qcow2.Qcow2Writer(path, size_bytes, compression) as sink:
        ext4.write(plan, sink)
    return path


def root_tree(config: bytes | None = None) -> FileTree:
    tree = FileTree()
    tree.add_file(CONFIG_PATH, CONFIG.encode(DIFF_IDS) if config is None else config)
    tree.add_file(b"etc/motd", b"hello\n", 0o640, 7, 8, 1_000_000_000_000_000_000)
    tree.add_file(b"etc/bad\x1b[2J\xff", b"")
    tree.add_symlink(b"etc/link", b"motd")
    tree.add_node(b"dev/null", stat.S_IFCHR | 0o666, 1, 3)
    return tree


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return write_disk(tmp_path / "disk.qcow2", root_tree())


def test_the_recipe_is_found_by_the_uuid_alone(disk: Path) -> None:
    report = inspect_disk(disk)
    assert report.recipe is not None and report.recipe.id == recipe().id
    assert report.recipe.as_dict() | {"id": ""} == {
        "id": "", "format": recipe_module.FORMAT, "architecture": "amd64", "size_bytes": SIZE, "compression": "zlib",
    }  # fmt: skip
    assert report.config == CONFIG and report.diff_ids == DIFF_IDS


def test_a_disk_of_an_older_format_is_known_too(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe_module.FORMAT
    monkeypatch.setattr(recipe_module, "FORMAT", made + 1)
    report = inspect_disk(disk)
    assert report.recipe is not None and report.recipe.as_dict()["format"] == made


@pytest.mark.parametrize("compression", ["zstd", "zlib", "none"])
def test_every_compression_has_a_recipe_of_its_own(compression: qcow2.Compression) -> None:
    wanted = recipe(compression=compression)
    found = find_recipe(wanted.uuid, CONFIG, DIFF_IDS, [1 << 40, SIZE])
    assert found is not None and found.id == wanted.id
    assert find_recipe(wanted.uuid, CONFIG, DIFF_IDS[:1], [SIZE]) is None


async def test_a_disk_that_was_converted_here_is_known_by_its_images_name(tmp_path: Path, disk: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with cache.make("disks", recipe().id) as work:
        work.manifest = {
            "reference": "the/reference:1",
            "disk": {"size_bytes": disk.stat().st_size, "sha256": "0" * 64},
        }
    known = await inspect(disk, RunContext(settings=Settings(cache_root=cache.root)))
    assert known.image == "the/reference:1" and known.is_as_converted is None
    changed = await inspect(disk, RunContext(settings=Settings(cache_root=cache.root)), digest=True)
    assert changed.is_as_converted is False
    elsewhere = await inspect(disk, RunContext(settings=Settings(cache_root=tmp_path / "none")))
    assert elsewhere.image == "t" and elsewhere.cached is None


async def test_a_recipe_that_cannot_be_worked_out_is_found_in_the_cache_by_the_uuid(tmp_path: Path) -> None:
    """As after the disk was made larger by a guest: the recipe's size is not on the disk."""
    made_by = recipe(size_bytes=77 * MIB)
    plan = ext4.plan(root_tree(), ext4.Ext4Options(SIZE, made_by.uuid, made_by.hash_seed))
    with qcow2.Qcow2Writer(tmp_path / "disk", SIZE) as sink:
        ext4.write(plan, sink)
    cache = Cache(tmp_path / "cache")
    with cache.make("disks", made_by.id) as work:
        work.manifest = {"reference": "grown", "disk": {"size_bytes": 1, "sha256": "0" * 64}}
    found = await inspect(tmp_path / "disk", RunContext(settings=Settings(cache_root=cache.root)))
    assert found.report.recipe is None and found.image == "grown"
    assert found.cached is not None and found.cached.recipe == made_by.id


async def test_a_damaged_cache_does_not_keep_a_disk_from_being_looked_at(tmp_path: Path, disk: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with cache.make("disks", recipe().id) as work:
        work.manifest = {"reference": 5}
    assert (await inspect(disk, RunContext(settings=Settings(cache_root=cache.root)))).cached is None


def test_the_node_that_booted_the_disk_is_told(tmp_path: Path) -> None:
    tree = root_tree()
    tree.add_file(b".minivm/node", b"5ad2\n")
    assert inspect_disk(write_disk(tmp_path / "disk", tree)).node_id == "5ad2"


def test_a_module_disk_tells_its_kernels(tmp_path: Path) -> None:
    tree = FileTree()
    tree.add_file(b"6.1.0-1/modules.dep", b"")
    report = inspect_disk(write_disk(tmp_path / "disk", tree, label="minivm-modules"))
    assert (report.kind, report.kernel_versions) == ("module disk", ("6.1.0-1",))


def test_a_disk_without_a_configuration_is_no_disk_of_ours(tmp_path: Path) -> None:
    report = inspect_disk(write_disk(tmp_path / "disk", FileTree()))
    assert report.kind == "ext4 file system"
    assert report.missing == ("the guest configuration /.minivm/config",)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"minivm-config 2\n", "minivm-config 2"),
        (b"minivm-config 1\ncolour blue\n", "line 2: unknown key 'colour'"),
        (b"minivm-config 1\nlabel nothing\n", "guest configuration is damaged"),
        (b"\xff\xfe", "guest configuration starts with"),
    ],
)
def test_a_damaged_configuration_is_told_with_the_files_name(tmp_path: Path, config: bytes, message: str) -> None:
    disk = write_disk(tmp_path / "disk", root_tree(config))
    with pytest.raises(DamagedImageError, match=message) as caught:
        inspect_disk(disk)
    assert str(disk) in caught.value.message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08" + bytes(3000), "is a gzip file"),
        (b"KDMV" + bytes(3000), "is a VMDK disk image"),
        (b"some text\n" * 1000, "holds nothing that gns3-minivm recognises"),
        (b"QFI\xfb", "within its header"),
        (b"QFI\xfb\0\0\0\x05" + bytes(200), "qcow2 version 5 is not supported"),
    ],
)
def test_what_is_no_disk_is_told(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(DamagedImageError, match=message):
        inspect_disk(tmp_path / "file")


def test_what_is_no_file_is_told_without_waiting_for_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        inspect_disk(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a regular file"):
        inspect_disk(tmp_path / "pipe")
    with pytest.raises(HostError, match="cannot read .*missing: No such file"):
        inspect_disk(tmp_path / "missing")


def test_a_file_system_that_is_larger_than_its_disk_is_told(tmp_path: Path, disk: Path) -> None:
    with qcow2.Qcow2Reader(disk) as source:
        (tmp_path / "raw").write_bytes(source.read(0, SIZE - 4096))
    with pytest.raises(DamagedImageError, match=f"the disk has {SIZE - 4096} bytes, but its file system has {SIZE}"):
        inspect_disk(tmp_path / "raw")


def test_one_folder_or_one_file_can_be_listed(disk: Path) -> None:
    assert [file.path for file in list_files(disk, b"/etc")] == [b"etc/bad\x1b[2J\xff", b"etc/link", b"etc/motd"]
    assert [file.path for file in list_files(disk, b"etc/motd")] == [b"etc/motd"]
    with pytest.raises(UsageError, match="has no '/nothing'"):
        list(list_files(disk, b"/nothing"))


def test_the_command_prints_no_control_characters_of_the_disk(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["inspect", str(disk)]) == 0
    text = capfd.readouterr().out
    assert "\x1b" not in text and "env         A=\\x1b[31mred" in text
    assert "entrypoint  '/bin/a b'" in text and "root disk of a MiniVM" in text
    assert "the disk has 32 MiB" in text and "amd64, 32 MiB, zlib" in text and " clean, 32 MiB" in text
    assert run_command_line(["inspect", str(disk), "--files", "/"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "-rw-r-----       7:8            6 2001-09-09 01:46 /etc/motd" in lines
    assert "crw-rw-rw-       0:0          1,3 1970-01-01 00:00 /dev/null" in lines
    assert any(line.endswith("/etc/bad\\x1b[2J\\xff") for line in lines)
    assert any(line.endswith("/etc/link -> motd") for line in lines)


def test_json_lines_list_files_one_by_one(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["inspect", str(disk), "--files", "/etc", "--json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["file", "file", "file", "result"]
    assert lines[2]["path"] == "/etc/motd" and lines[2]["size_bytes"] == 6 and lines[-1]["files"] == 3


def test_a_file_is_printed_as_it_is(disk: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run_command_line(["inspect", str(disk), "--cat", "/etc/motd"]) == 0
    assert capfdbinary.readouterr().out == b"hello\n"
    assert run_command_line(["inspect", str(disk), "--cat", "/etc"]) == 2
    assert b"'/etc' is a folder\nhint: `--files '/etc'`" in capfdbinary.readouterr().err
    assert run_command_line(["inspect", str(disk), "--cat", "/dev/null"]) == 2
    assert b"'/dev/null' is a device, a pipe or a socket" in capfdbinary.readouterr().err


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A disk with links as images have them, and as they should not be."""
    tree = root_tree()
    tree.add_file(b"usr/lib/os-release", b"ID=test\n")
    links = {
        b"etc/os-release": b"../usr/lib/os-release",
        b"lib": b"usr/lib",
        b"etc/absolute": b"/lib/os-release",
        b"etc/chain": b"absolute",
        b"etc/out": b"../../../../etc/motd",
        b"etc/self": b"self",
        b"etc/one": b"two",
        b"etc/two": b"/etc/one",
        b"etc/nowhere": b"/run/missing/file",
        b"etc/below-a-file": b"motd/more",
        b"etc/00": b"motd",
    }
    for name, target in links.items():
        tree.add_symlink(name, target)
    for number in range(1, 41):
        tree.add_symlink(b"etc/%02d" % number, b"%02d" % (number - 1))
    return write_disk(tmp_path / "linked.qcow2", tree)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("/etc/os-release", b"ID=test\n"),
        ("/etc/absolute", b"ID=test\n"),
        ("etc/chain", b"ID=test\n"),
        ("/lib/os-release", b"ID=test\n"),
        ("/lib/../lib/os-release", b"ID=test\n"),
        ("/lib/../../etc/link", b"hello\n"),
        ("/etc/out", b"hello\n"),
        ("/../../etc/motd", b"hello\n"),
        ("/etc/39", b"hello\n"),
    ],
)
def test_links_are_followed_inside_the_disk(linked: Path, name: str, content: bytes) -> None:
    assert b"".join(file_chunks(linked, name.encode())) == content


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/self", "'/etc/self' leads through more than 40 symbolic links"),
        ("/etc/one", "'/etc/one' leads through more than 40 symbolic links"),
        ("/etc/self/below", "'/etc/self/below' leads through more than 40 symbolic links"),
        ("/etc/40", "'/etc/40' leads through more than 40 symbolic links"),
        ("/etc/nowhere", "symbolic links lead from '/etc/nowhere' to '/run', which is not on the disk"),
        ("/etc/nothing/below", "has no '/etc/nothing/below'"),
        ("/etc/motd/below", "has no '/etc/motd/below': '/etc/motd' is not a folder"),
        ("/etc/below-a-file", "has no '/etc/below-a-file': '/etc/motd' is not a folder"),
        ("/lib", "'/lib' is a folder"),
    ],
)
def test_a_link_that_leads_to_no_file_says_where_it_ends(linked: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        list(file_chunks(linked, name.encode()))


def test_a_link_to_a_folder_is_listed_as_the_folder_and_any_other_link_as_itself(linked: Path) -> None:
    assert [file.path for file in list_files(linked, b"/lib")] == [b"lib/os-release"]
    for name in (b"etc/os-release", b"etc/self", b"etc/nowhere"):
        [found] = list_files(linked, name)
        assert found.path == name and found.target
    with pytest.raises(UsageError, match="'/etc/one/x' leads through more than 40 symbolic links"):
        list(list_files(linked, b"/etc/one/x"))


@pytest.mark.parametrize("words", [("--cat", "/x", "--json"), ("--files", "/", "--digest")])
def test_questions_that_do_not_go_together_are_refused(disk: Path, words: tuple[str, ...]) -> None:
    assert run_command_line(["inspect", str(disk), *words]) == 2
