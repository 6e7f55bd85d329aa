"""The guest's init: ready-made in a wheel, else compiled from ``kernel/init``.

A wheel carries ``kernel/init-x86_64``.  In a checkout it is compiled, with musl's gcc if there is one.  The binary goes
into the recipe of a bundle, because compilers differ; whether a bundle in the cache is up to date is told by the
sources, so that finding one needs no compiler.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base import resources
from gns3_minivm.base.architecture import X86_64, host_architecture
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.command import run
from gns3_minivm.base.errors import PackageError, ToolError
from gns3_minivm.bundle.modules.elf import check_static_program

PREBUILT = X86_64.init_file
LIBRARIES_SUFFIX = ".libraries"
SCRIPT = "build-init.sh"
_COMPILER_HINT = "Run `sudo apt install gcc musl-tools`, or install gns3-minivm from a wheel, which has it ready-made."


@dataclass(frozen=True, kw_only=True)
class Library:
    """An archive that the init is linked with; what the machine that compiled it did not know is empty."""

    file: str
    sha256: str
    package: str
    version: str
    licences: tuple[str, ...]


class InitBinary(bytes):
    """The program, with what is in it beside its own sources."""

    libraries: tuple[Library, ...] = ()


def source_digest() -> str:
    """The sha256 of the init's sources and of how they are compiled."""
    kernel = resources.folder("kernel")
    digest = hashlib.sha256()
    for path in sorted([kernel / SCRIPT, *(kernel / "init").rglob("*.[ch]")]):
        digest.update(f"{path.relative_to(kernel)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def init_record(init: bytes) -> dict[str, Any]:
    """What a bundle's manifest says about its init."""
    libraries = init.libraries if isinstance(init, InitBinary) else ()
    return {
        "sha256": hashlib.sha256(init).hexdigest(),
        "libraries": [asdict(library) | {"licences": list(library.licences)} for library in libraries],
    }


def init_binary(cache: Cache) -> InitBinary:
    """The init as a static program (blocking).  Raises ToolError if it cannot be compiled."""
    prebuilt = resources.folder("kernel") / PREBUILT
    if prebuilt.is_file():
        data = _read(prebuilt)
    else:
        with cache.scratch() as folder:
            data = compile_init(folder)
    try:
        check_static_program(data, "the guest's init", X86_64)
    except PackageError as error:
        raise ToolError(
            f"the compiler does not make what the guest needs: {error.message}", hint=_COMPILER_HINT
        ) from error
    return data


def _read(program: Path) -> InitBinary:
    data = InitBinary(program.read_bytes())
    data.libraries = tuple(_libraries(program.with_name(program.name + LIBRARIES_SUFFIX)))
    return data


def _libraries(path: Path) -> Iterator[Library]:
    if not path.is_file():
        return
    for line in path.read_text("utf-8", "replace").splitlines():
        fields = line.split("\t")
        if len(fields) == 5:
            file, sha256, package, version, licences = fields
            yield Library(
                file=file,
                sha256=sha256,
                package=package,
                version=version,
                licences=tuple(name for name in licences.split(",") if name),
            )


def compile_init(folder: Path) -> InitBinary:
    """Compile the init with the compiler of this machine, in ``folder``."""
    if host_architecture() is not X86_64:
        raise ToolError(
            f"the guest's init is for {X86_64.label} and cannot be compiled on {platform.machine()}",
            hint="Install gns3-minivm from a wheel, which has it ready-made.",
        )
    if not any(shutil.which(name) for name in ("musl-gcc", "cc")):
        raise ToolError("there is no C compiler to make the guest's init with", hint=_COMPILER_HINT)
    output = folder / "init"
    run(("sh", str(resources.folder("kernel") / SCRIPT), str(output)), hint=_COMPILER_HINT)
    return _read(output)
