"""The guest's init: ready-made in a wheel, else compiled from ``kernel/init``.

A wheel carries ``kernel/init-x86_64``.  In a checkout it is compiled, with musl's gcc if there is one.  The binary goes
into the recipe of a bundle, because compilers differ; whether a bundle in the cache is up to date is told by the sources,
so that finding one needs no compiler.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from pathlib import Path

from gns3_minivm import resources
from gns3_minivm.bundle.command import run
from gns3_minivm.bundle.elf import check_static_program
from gns3_minivm.cache import Cache
from gns3_minivm.errors import PackageError, ToolError

PREBUILT = "init-x86_64"
SCRIPT = "build-init.sh"
_COMPILER_HINT = "Run `sudo apt install gcc musl-tools`, or install gns3-minivm from a wheel, which has it ready-made."


def source_digest() -> str:
    """The sha256 of the init's sources and of how they are compiled."""
    kernel = resources.folder("kernel")
    digest = hashlib.sha256()
    for path in sorted([kernel / SCRIPT, *(kernel / "init").glob("*.[ch]")]):
        digest.update(f"{path.relative_to(kernel)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def init_binary(cache: Cache) -> bytes:
    """The init as a static x86-64 program (blocking).  Raises ToolError if it cannot be compiled."""
    prebuilt = resources.folder("kernel") / PREBUILT
    if prebuilt.is_file():
        data = prebuilt.read_bytes()
    else:
        with cache.scratch() as folder:
            data = compile_init(folder)
    try:
        check_static_program(data, "the guest's init")
    except PackageError as error:
        raise ToolError(
            f"the compiler does not make what the guest needs: {error.message}", hint=_COMPILER_HINT
        ) from error
    return data


def compile_init(folder: Path) -> bytes:
    """Compile the init with the compiler of this machine, in ``folder``."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise ToolError(
            f"the guest's init is for x86-64 and cannot be compiled on {platform.machine()}",
            hint="Install gns3-minivm from a wheel, which has it ready-made.",
        )
    if not any(shutil.which(name) for name in ("musl-gcc", "cc")):
        raise ToolError("there is no C compiler to make the guest's init with", hint=_COMPILER_HINT)
    output = folder / "init"
    run(("sh", str(resources.folder("kernel") / SCRIPT), str(output)), hint=_COMPILER_HINT)
    return output.read_bytes()
