"""The guest's init: ready-made in a wheel, else compiled from ``kernel/init``.

A wheel carries ``kernel/init-x86_64``.  In a checkout it is compiled, with the ziglang package that
``kernel/compiler.txt`` names, if this Python has it: then its bytes are those of the wheel.  Another compiler serves
too, but makes other bytes, so the binary goes into the recipe of a bundle; whether a bundle in the cache is up to date
is told by the sources and the compiler's version, so that finding one needs no compiler.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.base import resources
from gns3_minivm.base.architecture import X86_64, host_architecture
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.command import run
from gns3_minivm.base.errors import PackageError, ToolError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.modules.elf import check_static_program

PREBUILT = X86_64.init_file
LIBRARIES_SUFFIX = ".libraries"
SCRIPT = "build-init.sh"
COMPILER_FILE = "compiler.txt"
COMPILER = "ziglang"


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

    @property
    def is_everybodys(self) -> bool:
        """Whether the pinned compiler has made it: its bytes are the same wherever that is done."""
        return any(library.package == COMPILER for library in self.libraries)


def pinned_compiler() -> str:
    """The requirement, as pip takes it, of the package that compiles the init."""
    lines = (resources.folder("kernel") / COMPILER_FILE).read_text("utf-8").splitlines()
    (requirement,) = (line for line in lines if line.startswith(f"{COMPILER}=="))
    return requirement


def source_digest() -> str:
    """The sha256 of the init's sources and of how they are compiled."""
    kernel = resources.folder("kernel")
    digest = hashlib.sha256()
    for path in sorted([kernel / SCRIPT, kernel / COMPILER_FILE, *(kernel / "init").rglob("*.[ch]")]):
        digest.update(f"{path.relative_to(kernel)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def init_record(init: bytes) -> dict[str, Any]:
    """What a bundle's manifest says about its init."""
    libraries = init.libraries if isinstance(init, InitBinary) else ()
    return {
        "sha256": hashlib.sha256(init).hexdigest(),
        "libraries": [asdict(library) | {"licences": list(library.licences)} for library in libraries],
    }


def init_binary(cache: Cache, events: Events) -> InitBinary:
    """The init as a static program (blocking).  Raises ToolError if it cannot be compiled."""
    prebuilt = resources.folder("kernel") / PREBUILT
    if prebuilt.is_file():
        data = _read(prebuilt)
    else:
        with cache.scratch() as folder, events.step("Compiling the guest's init") as step:
            data = compile_init(folder)
            step.detail = f"{len(data)} bytes"
    if not data.is_everybodys:
        remedy = "build the wheel with it" if prebuilt.is_file() else f"run `{_install()}`"
        events.warn(
            f"the guest's init was not compiled with {pinned_compiler()}, so the initial RAM disk has another name "
            f"than other people's; for theirs, {remedy}"
        )
    try:
        check_static_program(data, "the guest's init", X86_64)
    except PackageError as error:
        raise ToolError(
            f"the compiler does not make what the guest needs: {error.message}", hint=_compiler_hint()
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
    """Compile the init in ``folder``, with the pinned compiler or else that of this machine."""
    has_pinned = _has_pinned_compiler()
    if not has_pinned and host_architecture() is not X86_64:
        raise ToolError(
            f"the guest's init is for {X86_64.label}, which the compiler of {platform.machine()} does not make",
            hint=_compiler_hint(),
        )
    if not has_pinned and not any(shutil.which(name) for name in ("musl-gcc", "cc")):
        raise ToolError("there is no C compiler to make the guest's init with", hint=_compiler_hint())
    output = folder / "init"
    script = str(resources.folder("kernel") / SCRIPT)
    run(("sh", script, str(output)), environment={"PYTHON": sys.executable}, hint=_compiler_hint())
    return _read(output)


def _has_pinned_compiler() -> bool:
    from importlib import metadata

    try:
        return f"{COMPILER}=={metadata.version(COMPILER)}" == pinned_compiler()
    except metadata.PackageNotFoundError:
        return False


def _install() -> str:
    return f"{sys.executable} -m pip install {pinned_compiler()}"


def _compiler_hint() -> str:
    return f"Run `{_install()}`, or install gns3-minivm from a wheel, which has it ready-made."
