"""Reads Debian packages: control fields, and files by name.

Format: deb(5), https://manpages.debian.org/bookworm/dpkg-dev/deb.5.en.html: an ar archive of ``debian-binary``,
``control.tar*`` and ``data.tar*``, compressed with xz, zstd (Ubuntu), gzip, bzip2 or not at all.  Not supported: lzma.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from gns3_minivm.base.errors import PackageError
from gns3_minivm.formats.ar import read_ar

_COPY_SIZE = 1 << 20


@dataclass(frozen=True)
class DebFile:
    """A package file; ``control`` holds its fields (Package, Version, Architecture, ...)."""

    path: Path
    control: Mapping[str, str]


@dataclass(frozen=True)
class DebMember:
    """A file in a package; ``path`` is without the leading "./".

    ``read`` gives its content, before the next member is asked for; it raises PackageError if that is damaged.
    """

    path: str
    read: Callable[[], bytes]
    modified_at: int = 0
    """In seconds since 1970, as the package says."""


def open_deb(path: Path) -> DebFile:
    """Read the control fields.  Raises PackageError if this is not a package."""
    with _reading(path), _member(path, "control.tar") as archive:
        for entry in archive:
            if entry.name.removeprefix("./") == "control":
                stream = archive.extractfile(entry)
                assert stream is not None
                return DebFile(path, parse_control(stream.read().decode("utf-8", "replace")))
    raise PackageError(f"{path} has no control file", hint=_HINT)


def members(deb: DebFile, wanted: Callable[[str], bool]) -> Iterator[DebMember]:
    """The regular files whose path is wanted, in the archive's order.  Raises PackageError if it is damaged."""
    with _reading(deb.path), _member(deb.path, "data.tar") as archive:
        for entry in archive:
            path = entry.name.removeprefix("./")
            if entry.isreg() and wanted(path):
                stream = archive.extractfile(entry)
                assert stream is not None
                yield DebMember(path, functools.partial(_read, deb.path, stream), int(entry.mtime))


def _read(path: Path, stream: IO[bytes]) -> bytes:
    with _reading(path):
        return stream.read()


def sha256_of(path: Path) -> str:
    """The sha256 of a file, as package indexes give it."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise PackageError(f"cannot read {path}: {error.strerror}", hint=_HINT) from error


def parse_control(text: str) -> dict[str, str]:
    """One paragraph of deb822(5) fields; continuation lines are joined by newlines."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if line[:1] in (" ", "\t") and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


_HINT = "Name a .deb file as the distribution ships it; download it again if it is damaged."
_DAMAGED = (tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError, gzip.BadGzipFile, ValueError)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except PackageError as error:
        # What reads the archive does not know the file's name.
        if str(path) in error.message:
            raise
        raise PackageError(f"{path}: {error.message}", hint=_HINT) from error
    except _DAMAGED as error:
        raise PackageError(f"{path} is damaged: {error}", hint=_HINT) from error
    except OSError as error:
        # bz2 and gzip tell damage this way too, without an errno.
        why = f"cannot read {path}: {error.strerror}" if error.errno else f"{path} is damaged: {error}"
        raise PackageError(why, hint=_HINT) from error


@contextmanager
def _member(path: Path, stem: str) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as file:
        for member in read_ar(file):
            if member.name.startswith(stem):
                break
        else:
            raise PackageError(f"{path} is not a Debian package: it has no {stem}", hint=_HINT)
        with (
            _decompressed(io.BytesIO(member.data), member.name, path) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            yield archive


@contextmanager
def _decompressed(raw: IO[bytes], name: str, path: Path) -> Iterator[IO[bytes]]:
    suffix = name.rpartition(".")[2]
    if suffix == "tar":
        yield raw
    elif suffix == "zst":
        # Debian's tools may write several frames.
        with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
            yield cast(IO[bytes], io.BufferedReader(cast(Any, stream), _COPY_SIZE))
    elif suffix == "xz":
        with lzma.LZMAFile(raw) as stream:
            yield cast(IO[bytes], stream)
    elif suffix == "gz":
        with gzip.GzipFile(fileobj=raw) as stream:
            yield cast(IO[bytes], stream)
    elif suffix == "bz2":
        with bz2.BZ2File(raw) as stream:
            yield cast(IO[bytes], stream)
    else:
        raise PackageError(f"{path}: {name} is compressed in a way that is not supported", hint=_HINT)
