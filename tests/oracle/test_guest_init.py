"""The guest's init, compiled with the compilers that kernel/build-init.sh takes."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from gns3_minivm.base import resources
from tests.support.tools import require_tool


@pytest.mark.parametrize("compiler", ["musl-gcc", "cc"])
def test_init_compiles_without_warnings_into_a_static_program(compiler: str, tmp_path: Path) -> None:
    path = require_tool(compiler)
    script = resources.folder("kernel") / "build-init.sh"
    outputs = [tmp_path / "first", tmp_path / "second"]
    for output in outputs:
        subprocess.run([script, output], check=True, env={"CC": f"{path} -Werror", "PATH": "/usr/bin:/bin"})
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert not has_interpreter(outputs[0].read_bytes())


def has_interpreter(elf: bytes) -> bool:
    """Whether a 64-bit ELF program has a PT_INTERP segment: it is not static then."""
    (offset,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return any(struct.unpack_from("<I", elf, offset + size * i)[0] == 3 for i in range(count))
