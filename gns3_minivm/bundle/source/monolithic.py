"""The monolithic kernel, for network labs: compiled from the distribution's source, one file, everything built in.

The initramfs is inside the kernel image, so a template names no initrd; and there are no modules, so no module disk.
Which options it has, and why, says ``kernel/monolithic.config``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gns3_minivm.base import resources
from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.artifacts import Kind, measure, recipe_id, server_filename
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import PackageError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle import initramfs
from gns3_minivm.bundle.init_binary import init_binary, init_record, source_digest
from gns3_minivm.bundle.model import CONFIG_FILE, KERNEL_FILE, Bundle, PackageRecord, is_whole, load
from gns3_minivm.bundle.packages.package_set import BUSYBOX, E2FSCK, Package, PackageSet, PackageSource
from gns3_minivm.bundle.source.compile import Compiled, compile_kernel, read_configuration
from gns3_minivm.bundle.source.toolchain import Toolchain, Workplace
from gns3_minivm.bundle.unpack import unpack, with_licence

FLAVOUR = "monolithic"
FORMAT = 1
"""Goes up when the same packages, configuration and compiler give other bytes than before."""
_SOURCE = re.compile(r"usr/src/(?:[^/]+/)?linux-source-[^/]+\.tar\.(?:xz|bz2|gz)")
_COPYRIGHT = re.compile(r"usr/share/doc/[^/]+/copyright")
_NOT_IN_A_VERSION = re.compile(r"[^A-Za-z0-9.+~-]+")


def made_by() -> Mapping[str, Any]:
    """What of this release decides a bundle of this flavour."""
    return {"guest_sources": source_digest(), "configuration": _sha256(_configuration().read_bytes()), "format": FORMAT}


def build(source: PackageSource | None, toolchain: Toolchain, cache: Cache, events: Events) -> Bundle:
    """Compile the kernel that ``source`` offers, or return the bundle if it exists (blocking).

    Without ``source`` it comes from where the tools come from.  Raises PackageError, ToolError, DiskFullError.
    """
    init = init_binary(cache, events)
    with cache.scratch() as scratch, toolchain.open(scratch, events) as workplace:
        # What brings the packages is given up before the long part: others may want it too.
        with (source or workplace.packages()).resolve(events) as resolved:
            packages = resolved.packages
            recipe = _recipe(packages, init, workplace.compiler)
            bundle_id = recipe_id({"flavour": FLAVOUR, "parts": [recipe]})
            there = cache.use("kernels", bundle_id)
            sources = {} if there and is_whole(there) else resolved.fetch(scratch, events)
        with cache.make("kernels", bundle_id, is_whole) as work:
            if not work.ready:
                with events.step("Building the kernel bundle") as step:
                    bundle = _make(work.folder, scratch, workplace, packages, sources, init, recipe, bundle_id, events)
                    work.manifest = {**bundle.as_dict(), "init": init_record(init)}
                    step.detail = bundle.kernel_version
    cache.trim(events)
    return load(work.entry)


def _recipe(packages: PackageSet, init: bytes, compiler: str) -> str:
    return recipe_id(
        {
            "kind": "one-file kernel",
            "format": FORMAT,
            "packages": sorted(package.sha256 for package in packages.all),
            "init": _sha256(init),
            "configuration": _sha256(_configuration().read_bytes()),
            "compiler": compiler,
        }
    )


def _make(
    folder: Path,
    scratch: Path,
    workplace: Workplace,
    packages: PackageSet,
    sources: Mapping[str, Package],
    init: bytes,
    recipe: str,
    bundle_id: str,
    events: Events,
) -> Bundle:
    programs = unpack(replace(packages, kernel=()), sources, folder, scratch / "none", events)
    (package,) = packages.kernel
    tarball = scratch / "linux-source.tar"
    record, timestamp = _take_source(package, sources[package.name], tarball, folder)
    archive = initramfs.make_initramfs(
        init=init, busybox=programs.programs[BUSYBOX], e2fsck=programs.programs[E2FSCK],
        kernel_version="", boot=(), late=(), contents={},
    )  # fmt: skip
    compiled = compile_kernel(
        workplace, tarball, read_configuration(_configuration()), archive,
        local_version=local_version(package), timestamp=timestamp, events=events,
    )  # fmt: skip
    return _write(folder, compiled, (record, *programs.packages), workplace.compiler, recipe, bundle_id)


def _write(
    folder: Path,
    compiled: Compiled,
    packages: tuple[PackageRecord, ...],
    compiler: str,
    recipe: str,
    bundle_id: str,
) -> Bundle:
    (folder / KERNEL_FILE).write_bytes(compiled.image)
    (folder / CONFIG_FILE).write_bytes(compiled.configuration)
    filename = server_filename("vmlinuz", compiled.version, recipe)
    return Bundle(
        id=bundle_id,
        flavour=FLAVOUR,
        kernel_version=compiled.version,
        architecture=X86_64.debian,
        kernel=measure(Kind.KERNEL, folder / KERNEL_FILE, filename),
        initrd=None,
        modules=None,
        packages=packages,
        made_by=made_by(),
        folder=folder,
        compiled={"compiler": compiler, "configuration": _sha256(compiled.configuration)},
    )


def _take_source(record: PackageRecord, package: Package, tarball: Path, folder: Path) -> tuple[PackageRecord, int]:
    """Write the source's archive; returns the record with its licence, and when the distribution made the archive."""
    found: int | None = None
    for member in package.members(lambda path: bool(_SOURCE.fullmatch(path) or _COPYRIGHT.fullmatch(path))):
        if _SOURCE.fullmatch(member.path):
            tarball.write_bytes(member.read())
            found = member.modified_at
        else:
            record = with_licence(record, member, folder)
    if found is None:
        raise PackageError(
            f"{record.filename} has no archive usr/src/linux-source-VERSION.tar.xz",
            hint="A package without a version in its name only points to another one: name that one.",
        )
    return record, found


def local_version(package: PackageRecord) -> str:
    """What is added to the kernel's own version: the distribution's revision, which names the exact source."""
    revision = package.version.rpartition("-")[2] if "-" in package.version else ""
    return "-".join(["", *filter(None, [_NOT_IN_A_VERSION.sub(".", revision)]), FLAVOUR])


def _configuration() -> Path:
    return resources.folder("kernel") / "monolithic.config"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
