"""Reads what a bundle needs from 64-bit little-endian ELF files: sections, program headers, module information.

Format: elf(5); ``.modinfo`` and ``__ksymtab_`` symbols as the Linux kernel writes them (include/linux/moduleparam.h,
include/linux/export.h).  Not supported: 32-bit and big-endian files.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from gns3_minivm.base.architecture import Architecture
from gns3_minivm.base.errors import PackageError

_IDENT = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_PT_INTERP = 3
_SHT_NOBITS = 8
_EXPORT = re.compile(rb"\0__ksymtab_([^\0]+)(?=\0)")


class _Header(NamedTuple):
    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    program_offset: int
    section_offset: int
    flags: int
    header_size: int
    program_size: int
    program_count: int
    section_size: int
    section_count: int
    names_index: int


def sections(data: bytes, what: str) -> dict[str, bytes]:
    """The named sections of a file with contents; ``what`` names it in a PackageError."""
    header = _header(data, what)
    try:
        rows = [
            _SECTION.unpack_from(data, header.section_offset + index * header.section_size)
            for index in range(header.section_count)
        ]
        _, _, _, _, start, size, *_ = rows[header.names_index]
    except (struct.error, IndexError) as error:
        raise PackageError(f"{what} is damaged: its section table is cut off") from error
    names = data[start : start + size]
    found = {}
    for name_offset, kind, _, _, offset, length, *_ in rows:
        end = names.find(b"\0", name_offset)
        if end > name_offset and kind != _SHT_NOBITS:
            found[names[name_offset:end].decode("ascii", "replace")] = data[offset : offset + length]
    return found


def modinfo(found: dict[str, bytes]) -> list[tuple[str, str]]:
    """The (key, value) pairs of a module's ``.modinfo`` section, in order."""
    return parse_modinfo(found.get(".modinfo", b""))


def parse_modinfo(data: bytes) -> list[tuple[str, str]]:
    """NUL-ended ``key=value`` strings."""
    pairs = (item.decode("utf-8", "replace").partition("=") for item in data.split(b"\0") if item)
    return [(key, value) for key, _, value in pairs]


def exported_symbols(found: dict[str, bytes]) -> list[str]:
    """The symbols that a module gives to others, sorted."""
    # One local symbol for each; __ksymtab_strings has the same names, but those of name spaces among them.
    return sorted({name.decode("ascii", "replace") for name in _EXPORT.findall(found.get(".strtab", b""))})


def check_static_program(data: bytes, what: str, architecture: Architecture) -> None:
    """Raise PackageError unless this is a static program for the architecture (the initramfs holds no libraries)."""
    header = _header(data, what)
    wanted = architecture.elf_machine
    if header.machine != wanted:
        raise PackageError(
            f"{what} is for another CPU (ELF machine {header.machine}, not {wanted}: {architecture.label})"
        )
    for index in range(header.program_count):
        offset = header.program_offset + index * header.program_size
        if _PROGRAM.unpack_from(data, offset)[0] == _PT_INTERP:
            raise PackageError(f"{what} is not a static program", hint="Use the package whose name ends in -static.")


def _header(data: bytes, what: str) -> _Header:
    if not data.startswith(_IDENT) or len(data) < _HEADER.size:
        raise PackageError(f"{what} is not a 64-bit little-endian ELF file")
    return _Header(*_HEADER.unpack_from(data))
