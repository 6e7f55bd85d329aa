"""The guest's init, compiled with the compilers that kernel/build-init.sh takes, and the wheel that carries it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gns3_minivm.base import resources
from gns3_minivm.base.cache import Cache
from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.bundle import init_binary as module
from gns3_minivm.bundle.init_binary import compile_init, init_binary, pinned_compiler, source_digest
from tests.support.tools import require_module, require_tool

ROOT = Path(__file__).resolve().parents[2]
"""The checkout; the package may be an installed one."""


def build(script: Path, output: Path, *options: str, **environment: str) -> bytes:
    """Run a build script; nothing of the environment but what compilers need reaches it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "ZIG_GLOBAL_CACHE_DIR")}
    subprocess.run([script, output, *options], check=True, env={**kept, "PYTHON": sys.executable, **environment})
    return output.read_bytes()


@pytest.mark.parametrize("compiler", ["ziglang", "musl-gcc", "cc"])
def test_init_compiles_without_warnings_into_a_static_program(compiler: str, tmp_path: Path) -> None:
    if compiler == "ziglang":
        require_module("ziglang")
    chosen = {} if compiler == "ziglang" else {"CC": require_tool(compiler)}
    script = resources.folder("kernel") / "build-init.sh"
    first, second = (build(script, tmp_path / name, "-Werror", **chosen) for name in ("first", "second"))
    assert first == second
    assert not has_interpreter(first)


def test_the_pinned_compiler_makes_the_same_bytes_in_any_folder_for_any_user(tmp_path: Path) -> None:
    require_module("ziglang")
    copy = shutil.copytree(resources.folder("kernel"), tmp_path / "another place" / "kernel")
    ours = build(resources.folder("kernel") / "build-init.sh", tmp_path / "ours")
    before = os.umask(0o077)
    try:
        theirs = build(
            copy / "build-init.sh", tmp_path / "theirs", TZ="Asia/Tokyo", LC_ALL="C.UTF-8", HOME=str(tmp_path)
        )
    finally:
        os.umask(before)
    assert theirs == ours
    # Neither of the two folders, nor the compiler's, is in it.
    for place in (str(tmp_path), str(resources.folder("kernel")), sys.prefix):
        assert os.fsencode(place) not in ours


def test_wheels_built_in_different_folders_and_this_installation_have_the_same_init(tmp_path: Path) -> None:
    for module_name in ("ziglang", "setuptools.command.bdist_wheel"):
        require_module(module_name)
    inits = []
    for name in ("one", "other place"):
        ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "init-*", "__pycache__")
        copy = shutil.copytree(ROOT, tmp_path / name / "checkout", ignore=ignored)
        # With isolation the compiler lies in a new place each time, and compiles its C library again.
        options = ["--no-build-isolation", "--no-deps", "--wheel-dir", str(tmp_path / name)]
        subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", *options, copy], check=True)
        (wheel,) = (tmp_path / name).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            inits.append(archive.read("gns3_minivm/_kernel/init-x86_64"))
            carried = {file for file in archive.namelist() if file.startswith("gns3_minivm/_kernel/init/")}
        sources = (ROOT / "kernel" / "init").rglob("*.[ch]")
        assert carried >= {f"gns3_minivm/_kernel/init/{path.relative_to(ROOT / 'kernel' / 'init')}" for path in sources}
    assert inits == [compile_init(tmp_path)] * 2 == [init_binary(Cache(tmp_path / "cache"), Events())] * 2


def test_another_compiler_serves_and_it_is_told_that_names_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", require_tool("cc"))
    monkeypatch.setattr(module, "PREBUILT", "not as in a wheel")
    told: list[Event] = []
    assert not init_binary(Cache(tmp_path / "cache"), Events(told.append)).is_everybodys
    (warning,) = (event.message for event in told if isinstance(event, Note))
    assert f"was not compiled with {pinned_compiler()}" in warning
    assert f"run `{sys.executable} -m pip install {pinned_compiler()}`" in warning


def test_a_change_of_any_source_or_of_the_compiler_makes_another_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(resources.folder("kernel"), tmp_path / "kernel")
    monkeypatch.setattr(resources, "folder", lambda _: copy)
    known = {source_digest()}
    for name in ("init/main.c", "init/paths.h", "init/lib/text.c", "init/lib/text.h", "build-init.sh", "compiler.txt"):
        with (copy / name).open("a") as file:
            file.write("\n")
        known.add(source_digest())
    assert len(known) == 7


def has_interpreter(elf: bytes) -> bool:
    """Whether a 64-bit ELF program has a PT_INTERP segment: it is not static then."""
    (offset,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return any(struct.unpack_from("<I", elf, offset + size * i)[0] == 3 for i in range(count))
