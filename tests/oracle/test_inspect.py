"""What ``gns3-minivm inspect`` says, beside what qemu-img, dumpe2fs and debugfs say of the same file."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import DamagedImageError, UsageError
from gns3_minivm.convert.inspect import file_chunks, inspect_disk, list_files
from gns3_minivm.formats import qcow2
from gns3_minivm.formats.tree import FileTree
from gns3_minivm.guest.contract import CONFIG_PATH, GuestConfig
from tests.support.disks import MIB, make_disk, read_back, run
from tests.support.minivm import gns3_minivm
from tests.support.tools import require_tool


def dumpe2fs(raw: Path) -> dict[str, str]:
    """The lines of a superblock by their names."""
    lines = run(require_tool("dumpe2fs"), "-h", raw).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def qemu_info(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(require_tool("qemu-img"), "info", "--output=json", path))
    return found


def agree(path: Path, raw: Path) -> None:
    """Assert that the report on ``path`` says what the judges say; ``raw`` holds the same disk."""
    report, info, fields = inspect_disk(path).as_dict(), qemu_info(path), dumpe2fs(raw)
    found = report["filesystem"]
    assert report["virtual_size_bytes"] == info["virtual-size"]
    assert report["format"] == info["format"]
    if report["qcow2"]:
        assert report["qcow2"]["cluster_size"] == info["cluster-size"]
        told = info["format-specific"]["data"]
        assert report["qcow2"]["compression_type"] == told.get("compression-type", "zlib")
        assert report["qcow2"]["version"] == (2 if told["compat"] == "0.10" else 3)
        assert report["qcow2"]["snapshots"] == len(info.get("snapshots", []))
    assert found["uuid"] == fields["Filesystem UUID"]
    assert found["label"] == fields["Filesystem volume name"].replace("<none>", "")
    assert found["features"] == fields["Filesystem features"].split()
    assert found["state"] == fields["Filesystem state"]
    assert found["block_size"] == int(fields["Block size"])
    assert found["size_bytes"] == int(fields["Block count"]) * found["block_size"]
    assert found["inodes"] == int(fields["Inode count"])
    assert found["free_bytes"] == int(fields["Free blocks"]) * found["block_size"]
    assert found["used_inodes"] == found["inodes"] - int(fields["Free inodes"])
    assert found["directories"] == directories(raw)
    if "Journal inode" in fields:
        size_bytes = int(fields["Total journal blocks"]) * found["block_size"]
        assert found["journal"]["size_bytes"] == size_bytes
        assert found["journal"]["is_empty"] == (fields["Journal start"] == "0")
    else:
        assert found["journal"] is None


def directories(raw: Path) -> int:
    output = run(require_tool("debugfs"), "-R", "stats", raw)
    return sum(int(count) for count in re.findall(r"(\d+) used director", output))


def same_files(path: Path, raw: Path, scratch: Path) -> None:
    """Assert that the listing is debugfs's."""
    judged = read_back(raw, scratch)
    listed = {os.fsdecode(file.path): file for file in list_files(path, b"/")}
    assert set(listed) == set(judged) - {""}
    for name, file in listed.items():
        one = judged[name]
        assert (file.stat.mode, file.stat.uid, file.stat.gid) == (one.mode, one.uid, one.gid), name
        assert (file.stat.links, file.stat.mtime_ns, file.target) == (one.links, one.mtime_ns, one.target), name
        assert file.stat.device == one.device, name
        if stat.S_ISREG(file.stat.mode):
            assert b"".join(file_chunks(path, file.path)) == one.content, name


def tree() -> FileTree:
    tree = FileTree()
    config = GuestConfig(entrypoint=("/x",), cmd=(), env=("A=b c",), user="u", labels={"l": "v=w"})
    tree.add_file(CONFIG_PATH, config.encode(["sha256:" + "0" * 64]))
    tree.add_file(b"etc/large", os.urandom(3 * MIB) + bytes(MIB), 0o640, 1000, 70000, 1_234_567_890_123_456_789)
    tree.add_symlink(b"etc/link", b"large")
    tree.add_symlink(b"etc/long", b"x" * 100)
    tree.add_node(b"dev/null", stat.S_IFCHR | 0o666, 1, 3)
    tree.add_hard_link(b"etc/second", b"etc/large")
    for number in range(400):
        tree.add_file(b"many/file%03d" % number, b"%d" % number)
    return tree


def raw_of(path: Path) -> Path:
    raw = path.with_suffix(".judged")
    run(require_tool("qemu-img"), "convert", "-O", "raw", path, raw)
    return raw


@pytest.mark.parametrize("compression", ["zstd", "zlib", "none"])
def test_a_disk_of_ours_is_what_the_judges_say(tmp_path: Path, compression: qcow2.Compression) -> None:
    path = tmp_path / "disk.qcow2"
    make_disk(tree(), path, compression=compression)
    agree(path, raw_of(path))
    report = inspect_disk(path)
    assert report.compression == compression and report.kind == "root disk"
    assert report.config is not None and report.config.labels == {"l": "v=w"} and report.config.cmd == ()
    assert report.diff_ids == ("sha256:" + "0" * 64,)
    same_files(path, raw_of(path), tmp_path / "scratch")


def test_links_lead_where_the_system_leads_them(tmp_path: Path) -> None:
    """A folder with links, once as this system reads it and once from a disk that mke2fs has made of it."""
    folder = tmp_path / "root"
    (folder / "usr" / "lib").mkdir(parents=True)
    (folder / "etc").mkdir()
    (folder / "usr" / "lib" / "os-release").write_text("ID=test\n")
    (folder / "lib").symlink_to("usr/lib")
    (folder / "etc" / "os-release").symlink_to("../usr/lib/os-release")
    (folder / "etc" / "long").symlink_to("../" * 30 + "usr/lib/os-release")  # too long for the inode
    (folder / "etc" / "self").symlink_to("self")
    raw = tmp_path / "raw.img"
    run(require_tool("mke2fs"), "-q", "-t", "ext4", "-d", folder, raw, "16M")
    for name in ("etc/os-release", "lib/os-release"):
        assert b"".join(file_chunks(raw, name.encode())) == (folder / name).read_bytes()
    assert b"".join(file_chunks(raw, b"etc/long")) == b"ID=test\n"
    with pytest.raises(OSError, match="Too many levels"):
        (folder / "etc" / "self").read_bytes()
    with pytest.raises(UsageError, match="more than 40 symbolic links"):
        list(file_chunks(raw, b"etc/self"))


FOREIGN = {
    "defaults of mke2fs": ("-t", "ext4"),
    "1 KiB blocks": ("-t", "ext4", "-b", "1024"),
    "small inodes": ("-t", "ext4", "-I", "128", "-O", "^metadata_csum"),
    "meta_bg": ("-t", "ext4", "-O", "meta_bg,^resize_inode"),
    "no flex_bg, no journal": ("-t", "ext4", "-O", "^flex_bg,^has_journal,^64bit", "-L", "a label"),
    "bigalloc": ("-t", "ext4", "-O", "bigalloc", "-C", "16384"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "deep" / "file").write_bytes(os.urandom(200_000))
    (folder / "sub" / "link").symlink_to("deep/file")
    for number in range(300):
        (folder / f"name-{number}").write_text(str(number))
    return folder


@pytest.mark.parametrize("options", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_system_is_what_the_judges_say(tmp_path: Path, folder: Path, options: tuple[str, ...]) -> None:
    raw = tmp_path / "raw.img"
    run(require_tool("mke2fs"), "-q", *options, "-d", folder, raw, "300M")
    agree(raw, raw)
    report = inspect_disk(raw)
    assert report.kind == "ext4 file system" and report.missing == ("the guest configuration /.minivm/config",)
    same_files(raw, raw, tmp_path / "scratch")
    converted = tmp_path / "converted.qcow2"
    for kind in ("cluster_size=512", "cluster_size=2M", "compat=0.10"):
        run(require_tool("qemu-img"), "convert", "-c", "-O", "qcow2", "-o", kind, raw, converted)
        agree(converted, raw)
        assert inspect_disk(converted).compression == "zlib"
    zstd = ("-o", "compression_type=zstd")
    run("qemu-img", "convert", "-c", "-O", "qcow2", *zstd, raw, converted)
    assert inspect_disk(converted).compression == "zstd"
    same_files(converted, raw, tmp_path / "scratch")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.qcow2"
    make_disk(tree(), path, 300 * MIB)
    return path


def overlay(path: Path, backing: str, form: str = "qcow2") -> Path:
    run(require_tool("qemu-img"), "create", "-q", "-f", "qcow2", "-F", form, "-b", backing, path)
    return path


def test_an_overlay_is_read_with_what_it_lies_on(tmp_path: Path, base: Path) -> None:
    middle = overlay(tmp_path / "middle.qcow2", base.name)
    top = overlay(tmp_path / "top.qcow2", str(middle))
    before = inspect_disk(top)
    assert [file.path.name for file in before.files] == ["top.qcow2", "middle.qcow2", "base.qcow2"]
    # The label, and the flag by which the kernel marks a journal that is in use.
    run(require_tool("qemu-io"), "-c", "write -P 0x41 1144 3", "-c", "write -P 0x46 1120 1", top)
    agree(top, raw_of(top))
    report = inspect_disk(top)
    assert report.filesystem is not None and report.filesystem.label == "AAA" and report.filesystem.needs_recovery
    assert report.kind == "root disk" and report.config == before.config
    assert any("journal is dirty" in warning for warning in report.warnings)
    assert inspect_disk(middle).filesystem == before.filesystem
    same_files(top, raw_of(top), tmp_path / "scratch")


def test_an_overlay_larger_than_its_base_reads_zeros_behind_it(tmp_path: Path, base: Path) -> None:
    top = tmp_path / "top.qcow2"
    run(require_tool("qemu-img"), "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, top, "1G")
    agree(top, raw_of(top))


def test_a_journal_with_changes_is_told(tmp_path: Path, base: Path) -> None:
    raw = raw_of(base)
    (tmp_path / "block").write_bytes(b"j" * 4096)
    script = tmp_path / "commands"
    script.write_text(f"jo\njw -b 20000 {tmp_path}/block\njc\n")
    run(require_tool("debugfs"), "-w", "-f", script, raw)
    fields = dumpe2fs(raw)
    assert "needs_recovery" in fields["Filesystem features"] and fields["Journal start"] != "0"
    agree(raw, raw)
    report = inspect_disk(raw)
    assert report.filesystem and report.filesystem.journal and not report.filesystem.journal.is_empty
    assert any("journal is dirty" in warning for warning in report.warnings)


JOURNALS = {
    "ours": None,
    "defaults of mke2fs": ("-t", "ext4"),
    "64bit, checksums": ("-t", "ext4", "-O", "64bit,metadata_csum"),
    "1 KiB blocks": ("-t", "ext4", "-b", "1024"),
}


@pytest.mark.parametrize("options", JOURNALS.values(), ids=JOURNALS.keys())
def test_what_waits_in_the_journal_is_shown_as_e2fsck_would_replay_it(
    tmp_path: Path, base: Path, folder: Path, options: tuple[str, ...] | None
) -> None:
    raw, name = tmp_path / "raw.img", b"sub/deep/file"
    if options is None:
        raw, name = raw_of(base), b"etc/large"
    else:
        run(require_tool("mke2fs"), "-q", *options, "-d", folder, raw, "300M")
    size = int(dumpe2fs(raw)["Block size"])
    blocks = [int(word) for word in run(require_tool("debugfs"), "-R", f"blocks /{name.decode()}", raw).split()]
    before = b"".join(file_chunks(raw, name))
    for letter, count in (("a", 2), ("b", 1), ("c", 1)):
        (tmp_path / letter).write_bytes(letter.encode() * size * count)
    # What the kernel would take for the journal's own block, were it not escaped.
    (tmp_path / "magic").write_bytes(bytes.fromhex("c03b3998") + b"m" * (size - 4))
    checks = " -c" if options and "64bit,metadata_csum" in options else ""
    script = tmp_path / "commands"
    script.write_text(
        f"jo{checks}\njw -b {blocks[0]},{blocks[1]} {tmp_path}/a\njw -b {blocks[2]} {tmp_path}/magic\n"
        f"jw -r {blocks[1]}\njw -b {blocks[0]} {tmp_path}/b\njw -b {blocks[3]} {tmp_path}/c\njc\n"
    )
    run("debugfs", "-w", "-f", script, raw)
    shutil.copyfile(raw, tmp_path / "replayed.img")
    words = ["e2fsck", "-y", "-E", "journal_only", str(tmp_path / "replayed.img")]
    subprocess.run(words, check=False, capture_output=True)  # its exit status only says that there was something to do
    shown = b"".join(file_chunks(raw, name))
    assert shown == b"".join(file_chunks(tmp_path / "replayed.img", name)) != before
    assert inspect_disk(tmp_path / "replayed.img").filesystem.needs_recovery is False  # type: ignore[union-attr]
    assert [shown[place * size] for place in (0, 3)] == [ord("b"), ord("c")]
    assert shown[size : 2 * size] == before[size : 2 * size]


def test_a_backing_file_that_is_not_there_is_told(tmp_path: Path, base: Path) -> None:
    top = overlay(tmp_path / "top.qcow2", base.name)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(DamagedImageError, match=r"top\.qcow2: its backing file .*base\.qcow2 does not exist") as caught:
        inspect_disk(top)
    assert "qemu-img rebase" in caught.value.hint
    run("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", tmp_path / "elsewhere", top)
    assert inspect_disk(top).kind == "root disk"


def test_backing_files_in_a_circle_are_told(tmp_path: Path, base: Path) -> None:
    one, two = overlay(tmp_path / "one.qcow2", base.name), overlay(tmp_path / "two.qcow2", "one.qcow2")
    run("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", two.name, one)
    with pytest.raises(DamagedImageError, match="leads back to itself"):
        inspect_disk(two)


def test_a_raw_backing_file_is_not_taken_for_qcow2_by_its_content(tmp_path: Path, base: Path) -> None:
    top = overlay(tmp_path / "top.qcow2", base.name, "raw")
    assert inspect_disk(top).kind == "other"


def test_an_overlay_of_a_network_disk_is_told(tmp_path: Path, base: Path) -> None:
    top = overlay(tmp_path / "top.qcow2", base.name)
    run("qemu-img", "rebase", "-u", "-F", "raw", "-b", "nbd://127.0.0.1/x", top)
    with pytest.raises(DamagedImageError, match="not a local file"):
        inspect_disk(top)


def test_other_disks_are_told_by_what_they_are(tmp_path: Path, base: Path) -> None:
    empty = tmp_path / "empty.qcow2"
    run(require_tool("qemu-img"), "create", "-q", "-f", "qcow2", empty, "1G")
    report = inspect_disk(empty)
    assert (report.kind, report.content) == ("other", "nothing but zeros at its start")
    vmdk = tmp_path / "disk.vmdk"
    run("qemu-img", "convert", "-O", "vmdk", base, vmdk)
    with pytest.raises(DamagedImageError, match="is a VMDK disk image") as caught:
        inspect_disk(vmdk)
    assert "qemu-img convert" in caught.value.hint
    partitioned = tmp_path / "partitioned.img"
    partitioned.write_bytes(bytes(510) + b"\x55\xaa" + bytes(MIB))
    assert inspect_disk(partitioned).content == "a partition table (MBR)"
    encrypted = tmp_path / "encrypted.qcow2"
    # By its header: making one takes qemu-img seconds, and fails where it cannot measure the CPU.
    data = bytearray(base.read_bytes())
    data[32:36] = (2).to_bytes(4, "big")
    encrypted.write_bytes(data)
    with pytest.raises(DamagedImageError, match="encryption, which is not supported"):
        inspect_disk(encrypted)
    extended = tmp_path / "extended.qcow2"
    run("qemu-img", "create", "-q", "-o", "extended_l2=on,cluster_size=128k", "-f", "qcow2", extended, "10M")
    with pytest.raises(DamagedImageError, match="extended L2 entries, which is not supported"):
        inspect_disk(extended)


async def test_the_command_tells_recipe_image_and_whether_the_file_was_changed(
    docker_host: str, tmp_path: Path
) -> None:
    cache, disk = tmp_path / "cache", tmp_path / "disk.qcow2"
    words = ("convert", "docker-daemon:debian:bookworm-slim", "-o", str(disk), "--size", "900M", "--json")
    converted = (await gns3_minivm(*words, cache=cache, environment={"DOCKER_HOST": docker_host})).result()
    found = (await gns3_minivm("inspect", str(disk), "--digest", "--json", cache=cache)).result()
    assert found["recipe"]["id"] == converted["recipe"] and found["recipe"]["size_bytes"] == 900 * MIB
    assert found["image"] and "bookworm-slim" in found["image"]
    assert found["as_converted"] is True and found["sha256"] == converted["disk"]["sha256"]
    assert found["guest"] is not None and len(found["diff_ids"]) == 1
    # Another machine does not know the image's name, and knows the recipe all the same.
    elsewhere = (await gns3_minivm("inspect", str(disk), "--json", cache=tmp_path / "none")).result()
    assert (elsewhere["image"], elsewhere["recipe"]) == (None, found["recipe"])
    node = overlay(tmp_path / "node.qcow2", str(disk))
    run(require_tool("qemu-io"), "-c", "write -P 0x41 1144 3", node)
    changed = await gns3_minivm("inspect", str(node), cache=cache)
    assert changed.status == 0 and "changed since" in changed.out and "bookworm-slim" in changed.out
    text = await gns3_minivm("inspect", str(disk), "--cat", "/etc/debian_version")
    assert re.fullmatch(r"12\.\d+\n", text.out)
    listed = await gns3_minivm("inspect", str(disk), "--files", "/etc/apt")
    assert " /etc/apt/sources.list.d\n" in listed.out and "/etc/passwd" not in listed.out
    missing = await gns3_minivm("inspect", str(disk), "--cat", "/no/such")
    assert missing.status == 2 and "has no '/no/such'" in missing.err
    folder = await gns3_minivm("inspect", str(tmp_path))
    assert folder.status == 2 and "is a folder" in folder.err


def test_the_memory_stays_small_on_a_large_disk(tmp_path: Path) -> None:
    run(require_tool("qemu-img"), "create", "-q", "-f", "raw", tmp_path / "raw", "4T")
    run(require_tool("mke2fs"), "-q", "-t", "ext4", "-E", "nodiscard,lazy_itable_init=1", tmp_path / "raw", timeout=300)
    script = (
        "import resource, sys; from pathlib import Path; from gns3_minivm.convert.inspect import inspect_disk\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(inspect_disk(Path(sys.argv[1])).filesystem.size_bytes)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "raw"], capture_output=True, text=True, check=True)
    size_bytes, grown_kib = map(int, done.stdout.split())
    assert size_bytes == 4 << 40 and grown_kib < 20_000
