"""The command inspect, and its result as text."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gns3_minivm.base.errors import UsageError
from gns3_minivm.base.sizes import binary_size, size
from gns3_minivm.cli.frame import options
from gns3_minivm.cli.frame.options import pass_session
from gns3_minivm.cli.frame.progress import JsonLines
from gns3_minivm.cli.frame.session import Session

if TYPE_CHECKING:
    from gns3_minivm.convert.report import DiskReport, FileSystem, FoundFile
    from gns3_minivm.guest.contract import GuestConfig
    from gns3_minivm.ops.inspect import InspectResult


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--digest", is_flag=True, help="Read the whole file and show its md5 and sha256.")
@click.option("--files", "top", metavar="PATH", help="List the files below PATH instead (/ for all).")
@click.option("--cat", metavar="PATH", help="Print the file PATH of the disk instead.")
@options.common
@pass_session
def inspect(session: Session, /, file: Path, digest: bool, top: str | None, cat: str | None) -> None:
    """Show what is in a disk image: image, files, free space, guest configuration.

    FILE is a disk of this program or another qcow2 or raw file; it is only read, and nothing is mounted.
    """
    from gns3_minivm.ops.inspect import inspect as perform
    from gns3_minivm.ops.inspect import list_disk_files, read_disk_file

    if sum((digest, top is not None, cat is not None)) > 1:
        raise UsageError("--digest, --files and --cat are different questions", hint="Use one at a time.")
    if cat is not None:
        if session.as_json:
            raise UsageError("--cat prints the file's own bytes, not JSON", hint="Leave out --json.")
        write = sys.stdout.buffer.write
        session.perform(lambda _: read_disk_file(file, os.fsencode(cat), write))
        sys.stdout.buffer.flush()
    elif top is not None:
        count = session.perform(lambda _: list_disk_files(file, os.fsencode(top), lambda f: _list(session, f)))
        session.show({"file": str(file), "files": count}, "")
    else:
        result = session.perform(lambda context: perform(file, context, digest=digest))
        session.show(result.as_dict(), _text(result))


def _list(session: Session, file: FoundFile) -> None:
    """Show one file at once: a disk may hold more than fit into the memory."""
    renderer = session.renderer
    if isinstance(renderer, JsonLines):
        renderer.write({"event": "file", **file.as_dict()})
        return
    found = file.stat
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(found.mtime_ns // 10**9))
    is_device = stat.S_ISCHR(found.mode) or stat.S_ISBLK(found.mode)
    amount = ",".join(map(str, found.device)) if is_device else str(found.size)
    target = f" -> {_printable(file.target)}" if file.target else ""
    owner = f"{found.uid}:{found.gid}"
    click.echo(f"{stat.filemode(found.mode)} {owner:>9} {amount:>12} {when} /{_printable(file.path)}{target}")


def _printable(name: bytes) -> str:
    """A name on one line: control characters and what is no UTF-8 are escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _text(result: InspectResult) -> str:
    report = result.report
    rows = [("", f"{report.files[0].path}: {_kind(report)}")]
    if report.kind == "root disk":
        rows.append(("image", result.image or "its name is neither on the disk nor in the cache"))
        rows += [("layer", diff_id) for diff_id in report.diff_ids]
        rows.append(("recipe", _recipe(result)))
    rows += [("modules", f"of the kernel {version}") for version in report.kernel_versions]
    rows.append(("file", _file(report)))
    rows += [("on top of", str(file.path)) for file in report.files[1:]]
    if report.filesystem:
        rows += _filesystem(report.filesystem)
    if report.config:
        rows += _guest(report.config)
    if report.node_id:
        rows.append(("booted as", f"node {report.node_id}"))
    rows += [("missing", text) for text in report.missing]
    if result.measured:
        rows += [("md5", result.measured.md5), ("sha256", result.measured.sha256)]
    rows += [("warning", text) for text in report.warnings]
    return "\n".join(f"  {name:12}{_one_line(text)}" if name else text for name, text in rows)


def _one_line(text: str) -> str:
    return _printable(text.encode("utf-8", "surrogateescape"))


def _kind(report: DiskReport) -> str:
    if report.kind == "root disk":
        return "root disk of a MiniVM"
    if report.kind == "module disk":
        return "module disk of a kernel bundle"
    return f"not a disk of gns3-minivm; it holds {report.content}"


def _recipe(result: InspectResult) -> str:
    found = result.report.recipe
    if found is None:
        return "unknown to this release, or the disk was enlarged"
    how = {True: ", unchanged since", False: ", changed since", None: ""}[result.is_as_converted]
    recipe = found.recipe
    told = f"disk format {recipe['format']}, {recipe['architecture']}, {binary_size(recipe['size_bytes'])}"
    return f"{found.id[:12]} ({told}, {recipe['compression']}){how}"


def _file(report: DiskReport) -> str:
    top = report.files[0]
    if top.info is None:
        return f"raw, {binary_size(top.size_bytes)}"
    packed = "not compressed" if report.compression == "none" else f"compressed with {report.compression}"
    snapshots = f", {top.info.snapshots} snapshots" if top.info.snapshots else ""
    return (
        f"qcow2 version {top.info.version}, {size(top.size_bytes)}, {packed}, clusters of "
        f"{top.info.cluster_size >> 10} KiB{snapshots}; the disk has {binary_size(report.virtual_size)}"
    )


def _filesystem(found: FileSystem) -> list[tuple[str, str]]:
    label = f"label {found.label}, " if found.label else ""
    journal = "none"
    if found.journal:
        state = "dirty: the next boot will replay it" if found.needs_recovery else "clean"
        journal = f"{binary_size(found.journal.size_bytes)}, {state}"
    elif "has_journal" in found.features:
        journal = "on another disk" if not found.needs_recovery else "dirty"
    return [
        ("file system", f"ext4, {label}UUID {found.uuid}, {found.state}, {binary_size(found.size_bytes)}"),
        ("journal", journal),
        ("files", f"{found.used_inodes} inodes in use, {found.directories} of them folders; {found.inodes} in all"),
        ("free", binary_size(found.free_bytes)),
    ]


def _guest(config: GuestConfig) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, words in (("entrypoint", config.entrypoint), ("cmd", config.cmd)):
        if words is not None:
            rows.append((name, " ".join(map(_quoted, words)) or "empty"))
    for name, text in (("user", config.user), ("workdir", config.working_dir), ("stop signal", config.stop_signal)):
        rows += [(name, text)] if text else []
    rows += [("env", item) for item in config.env]
    rows += [("port", item) for item in config.exposed_ports]
    rows += [("volume", item) for item in config.volumes]
    return rows + [("label", f"{name}={value}") for name, value in config.labels.items()]


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
