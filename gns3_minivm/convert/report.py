"""What ``inspect`` reports about a disk."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any, Literal

from gns3_minivm.convert.open_disk import DiskFile
from gns3_minivm.convert.options import Compression
from gns3_minivm.convert.recipe import FoundRecipe
from gns3_minivm.formats.ext4.reader import Stat
from gns3_minivm.formats.ext4.reader_journal import Journal
from gns3_minivm.formats.tree import Node
from gns3_minivm.guest.contract import GuestConfig

DiskKind = Literal["root disk", "module disk", "ext4 file system", "other"]


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """``free_bytes``, ``used_inodes`` and ``directories`` as the kernel would count them at a mount."""

    label: str
    uuid: str
    features: tuple[str, ...]
    state: str
    size_bytes: int
    block_size: int
    free_bytes: int
    inodes: int
    used_inodes: int
    directories: int
    needs_recovery: bool
    journal: Journal | None
    replayed: int | None
    """The transactions in the journal that are shown as if on the disk; None if there was nothing to replay."""

    def as_dict(self) -> dict[str, Any]:
        journal = self.journal
        return {
            "type": "ext4",
            "label": self.label,
            "uuid": self.uuid,
            "features": list(self.features),
            "state": self.state,
            "size_bytes": self.size_bytes,
            "block_size": self.block_size,
            "free_bytes": self.free_bytes,
            "inodes": self.inodes,
            "used_inodes": self.used_inodes,
            "directories": self.directories,
            "journal": {
                "size_bytes": journal.size_bytes,
                "is_empty": journal.is_empty,
                "needs_recovery": self.needs_recovery,
                "replayed_transactions": self.replayed,
            }
            if journal
            else None,
        }


@dataclass(frozen=True, kw_only=True)
class DiskReport:
    """What ``inspect`` found.  ``missing`` says in words what a root disk of gns3-minivm has and this disk lacks."""

    files: tuple[DiskFile, ...]
    virtual_size: int
    compression: Compression | None
    kind: DiskKind = "other"
    content: str = ""
    filesystem: FileSystem | None = None
    config: GuestConfig | None = None
    diff_ids: tuple[str, ...] = ()
    recipe: FoundRecipe | None = None
    node_id: str = ""
    kernel_versions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        top = self.files[0]
        info = top.info
        return {
            "file": str(top.path),
            "format": top.format,
            "size_bytes": top.size_bytes,
            "virtual_size_bytes": self.virtual_size,
            "compression": self.compression,
            "qcow2": {
                "version": info.version,
                "cluster_size": info.cluster_size,
                "compression_type": info.compression,
                "snapshots": info.snapshots,
                "dirty": info.is_dirty,
                "corrupt": info.is_corrupt,
            }
            if info
            else None,
            "backing_files": [str(file.path) for file in self.files[1:]],
            "kind": self.kind,
            "content": self.content,
            "filesystem": self.filesystem.as_dict() if self.filesystem else None,
            "guest": self._guest() if self.config else None,
            "diff_ids": list(self.diff_ids),
            "recipe": self.recipe.as_dict() if self.recipe else None,
            "node_id": self.node_id or None,
            "kernel_versions": list(self.kernel_versions),
            "missing": list(self.missing),
            "warnings": list(self.warnings),
        }

    def _guest(self) -> dict[str, Any]:
        config = self.config
        assert config is not None
        return {
            "entrypoint": None if config.entrypoint is None else list(config.entrypoint),
            "cmd": None if config.cmd is None else list(config.cmd),
            "env": list(config.env),
            "user": config.user,
            "working_dir": config.working_dir,
            "stop_signal": config.stop_signal,
            "exposed_ports": list(config.exposed_ports),
            "volumes": list(config.volumes),
            "labels": dict(config.labels),
        }


@dataclass(frozen=True)
class FoundFile:
    """A file on a disk; ``target`` is a symbolic link's."""

    path: bytes
    stat: Stat
    target: bytes

    def as_dict(self) -> dict[str, Any]:
        found = self.stat
        return {
            "path": "/" + os.fsdecode(self.path),
            "mode": stat.filemode(found.mode),
            "uid": found.uid,
            "gid": found.gid,
            "size_bytes": found.size,
            "mtime": found.mtime_ns / 1e9,
            "links": found.links,
            "target": os.fsdecode(self.target) or None,
            "device": list(found.device) if Node(found.mode, None).is_device else None,
        }
