"""What differs between architectures stands in one value, and nowhere else in the code."""

from __future__ import annotations

import ast
import re
import struct

import pytest

from gns3_minivm.base import architecture
from gns3_minivm.base.architecture import X86_64, host_architecture
from tests.support.house import modules, name_of

OWN_WORDS = re.compile(r"x86[-_]64|qemu-system-|amd64|ttyS\d|/dev/vda|q35|bzImage|HdrS", re.IGNORECASE)


def strings(tree: ast.Module) -> list[tuple[int, str]]:
    """Line and text of all string and bytes constants, but for docstrings and other texts that nothing reads."""
    unread = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in unread and isinstance(node.value, (str, bytes)):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            found.append((node.lineno, text))
    return found


def test_no_other_module_has_a_word_that_is_an_architectures_own() -> None:
    wrong, own = [], []
    for path in modules():
        found = [(line, text) for line, text in strings(ast.parse(path.read_text("utf-8"))) if OWN_WORDS.search(text)]
        if name_of(path) == "base.architecture":
            own = found
        else:
            wrong += [f"{name_of(path)}:{line}: {text!r}" for line, text in found]
    assert own and not wrong


def test_every_field_is_read() -> None:
    read: set[str] = set()
    for path in modules():
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        read |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for kind in (architecture.Architecture, architecture.KernelImageFormat):
        assert not [name for name in kind.__dataclass_fields__ if name not in read]


@pytest.mark.parametrize("name", ["x86_64", "AMD64"])
def test_this_machine_is_known_by_what_python_calls_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: name)
    assert host_architecture() is X86_64


def test_a_machine_that_no_guests_are_made_for_has_no_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert host_architecture() is None


def test_the_header_of_a_kernel_image_says_version_and_memory() -> None:
    """Linux, Documentation/arch/x86/boot.rst: header, kernel_version, pref_address, init_size."""
    header = bytearray(0x264)
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x20E, 0x1234)
    struct.pack_into("<QI", header, 0x258, 0x1000000, 0x345000)
    image = X86_64.image
    assert image.is_start_of(bytes(header)) and not image.is_start_of(bytes(0x264))
    assert image.version_at(bytes(header)) == 0x1434
    assert image.version_at(bytes(0x264)) is None
    assert image.memory_end(bytes(header)) == 0x1345000
    assert image.memory_end(bytes(header[:-1])) is None
