"""Reads qcow2 images: a BlockSource for tests and for looking into disks, also foreign and damaged ones.

Every place that the file names is checked against the file's end before it is read, and what is kept in memory does not
depend on the disk's size.  Reference counts and snapshots are not looked at: `qemu-img check` does that.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from gns3_minivm.base.errors import DamagedImageError, HostError
from gns3_minivm.base.streams import read_at
from gns3_minivm.formats.qcow2 import structs as s
from gns3_minivm.formats.qcow2.codec import decompress

_CACHE_BYTES = 4 << 20
_CACHE_ENTRIES_MIN = 2
_L1_BYTES_MAX = 32 << 20
"""QEMU's own limit (block/qcow2.h, QCOW_MAX_L1_SIZE)."""
_BACKING_NAME_MAX = 1023
_EXTENSIONS_MAX = 64
_L1_ENTRIES_READ = 8192
_CENSUS_BYTES_MAX = 64 << 20


class SizedSource(Protocol):
    """A disk being read, and its size in bytes."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...


@dataclass(frozen=True)
class Qcow2Info:
    """What the header says; ``compression`` is the kind that compressed clusters would have.

    ``is_dirty``: it was not closed, and its reference counts may be wrong.  ``is_corrupt``: QEMU found it damaged.
    """

    virtual_size: int
    cluster_size: int
    compression: s.Compression
    version: int = s.VERSION
    snapshots: int = 0
    backing_file: str = ""
    backing_format: str = ""
    is_dirty: bool = False
    is_corrupt: bool = False


class Qcow2Reader:
    """A BlockSource of a qcow2 file (a path, or a seekable binary file that is left open); a context manager.

    Set ``backing`` to read what an overlay takes from its backing file.  Raises DamagedImageError for a file that is
    damaged or uses what is not supported, HostError if it cannot be read.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO, name: str = "the disk file") -> None:
        self._name = name
        self._file: BinaryIO
        self._owns_file = isinstance(source, (str, os.PathLike))
        if isinstance(source, (str, os.PathLike)):
            self._name = os.fspath(source)
            try:
                self._file = open(source, "rb", buffering=0)  # noqa: SIM115
            except OSError as error:
                raise HostError(f"cannot read {self._name}: {error.strerror}") from error
        else:
            self._file = source
        self.backing: SizedSource | None = None
        self._l2: OrderedDict[int, array[int]] = OrderedDict()
        self._clusters: OrderedDict[int, bytes] = OrderedDict()
        try:
            self._file_size = self._file.seek(0, os.SEEK_END)
            self._cluster_bits = self._l1_size = self._l1_offset = 0
            self.info = self._read_header()
        except OSError as error:
            self.close()
            raise HostError(f"cannot read {self._name}: {error.strerror}") from error
        except BaseException:
            self.close()
            raise
        self._kept = max(_CACHE_ENTRIES_MIN, _CACHE_BYTES >> self._cluster_bits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._owns_file:
            self._file.close()

    @property
    def size(self) -> int:
        """The disk's (virtual) size in bytes."""
        return self.info.virtual_size

    def _damaged(self, what: str) -> DamagedImageError:
        return DamagedImageError(f"{self._name}: {what}", hint="Make or copy it again; `qemu-img check` shows more.")

    def _read_file(self, offset: int, size: int, what: str, *, short: bool = False) -> bytes:
        """Bytes of the file; ``short``: it may end before, but not before ``offset``."""
        if offset + (1 if short else size) > self._file_size:
            raise self._damaged(f"{what} would be at byte {offset}, but the qcow2 file ends at {self._file_size}")
        try:
            data = read_at(self._file, offset, size)
        except OSError as error:
            raise HostError(f"cannot read {self._name}: {error.strerror}") from error
        if len(data) < size and not short:
            raise self._damaged(f"the qcow2 file became shorter while {what} was read")
        return data

    def _read_header(self) -> Qcow2Info:
        data = self._read_file(0, s.HEADER_LENGTH + 8, "its header", short=True) if self._file_size else b""
        if data[:4] != s.MAGIC.to_bytes(4, "big"):
            raise self._damaged("this is not a qcow2 file")
        if len(data) < s.HEADER_LENGTH_V2:
            raise self._damaged(f"the qcow2 file ends at byte {len(data)}, within its header")
        fields = s.HEADER.unpack(data[: s.HEADER_LENGTH].ljust(s.HEADER_LENGTH, b"\0"))
        _, version, backing, backing_length, self._cluster_bits, size, crypt, self._l1_size, self._l1_offset = fields[
            :9
        ]
        snapshots, incompatible, header_length = fields[11], fields[13], fields[17]
        if version == 2:
            incompatible, header_length = 0, s.HEADER_LENGTH_V2
        elif version != 3:
            raise self._damaged(f"qcow2 version {version} is not supported")
        if not 9 <= self._cluster_bits <= 21:
            raise self._damaged(f"its header says {self._cluster_bits} cluster bits; 9 to 21 are allowed")
        if crypt or incompatible & ~s.INCOMPATIBLE_READABLE:
            raise self._damaged(f"it has {_unsupported(crypt, incompatible)}, which is not supported")
        compression_type = data[s.HEADER_LENGTH] if header_length > s.HEADER_LENGTH else s.COMPRESSION_TYPE_ZLIB
        if compression_type not in (s.COMPRESSION_TYPE_ZLIB, s.COMPRESSION_TYPE_ZSTD):
            raise self._damaged(f"its compression type {compression_type} is not supported")
        self._check_l1(size)
        # Not read here, but at the end of files that were written in one go: one that was cut off is told.
        self._check_place("its refcount table", fields[9], fields[10] << self._cluster_bits)
        return Qcow2Info(
            virtual_size=size,
            cluster_size=1 << self._cluster_bits,
            compression="zstd" if compression_type else "zlib",
            version=version,
            snapshots=snapshots,
            backing_file=self._backing_name(backing, backing_length) if backing else "",
            backing_format=self._backing_format(header_length) if backing else "",
            is_dirty=bool(incompatible & s.INCOMPATIBLE_DIRTY),
            is_corrupt=bool(incompatible & s.INCOMPATIBLE_CORRUPT),
        )

    def _check_l1(self, size: int) -> None:
        l2_span = 1 << self._cluster_bits + self._cluster_bits - 3
        if self._l1_size * l2_span < size or self._l1_size * 8 > _L1_BYTES_MAX:
            raise self._damaged(f"its L1 table has {self._l1_size} entries, which is wrong for {size} bytes")
        self._check_place("its L1 table", self._l1_offset, 8 * self._l1_size)

    def _check_place(self, what: str, offset: int, size: int) -> None:
        if offset + size > self._file_size:
            raise self._damaged(f"{what} ends at byte {offset + size}, but the qcow2 file ends at {self._file_size}")

    def _backing_name(self, offset: int, length: int) -> str:
        if not 0 < length <= _BACKING_NAME_MAX:
            raise self._damaged(f"the name of its backing file has {length} bytes; 1 to {_BACKING_NAME_MAX} is allowed")
        name = self._read_file(offset, length, "the name of its backing file").decode("utf-8", "surrogateescape")
        if "\0" in name:
            raise self._damaged("the name of its backing file holds a zero byte")
        return name

    def _backing_format(self, header_length: int) -> str:
        """Read from the header extensions: type, length, data padded to 8 bytes."""
        place = header_length
        for _ in range(_EXTENSIONS_MAX):
            head = self._read_file(place, 8, "a header extension")
            kind, length = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            if kind == s.EXTENSION_END or length > 1 << self._cluster_bits:
                break
            if kind == s.EXTENSION_BACKING_FORMAT:
                return self._read_file(place + 8, length, "a header extension").decode("ascii", "replace")
            place += 8 + (length + 7 & ~7)
        return ""

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from the byte ``offset`` of the disk."""
        if offset < 0 or size < 0 or offset + size > self.info.virtual_size:
            raise self._damaged(f"{size} bytes at {offset} are outside the disk of {self.info.virtual_size} bytes")
        parts = []
        cluster_size = self.info.cluster_size
        while size:
            cluster, within = divmod(offset, cluster_size)
            take = min(cluster_size - within, size)
            data = self._cluster(cluster)
            if data is None:
                parts.append(self._read_backing(offset, take))
            else:
                parts.append(data[within : within + take] if data else bytes(take))
            offset, size = offset + take, size - take
        return b"".join(parts)

    def has_compressed_clusters(self) -> bool | None:
        """Whether any cluster is compressed; None if that takes more than 64 MiB of tables to tell."""
        seen: set[int] = set()
        for start in range(0, self._l1_size, _L1_ENTRIES_READ):
            size = 8 * min(_L1_ENTRIES_READ, self._l1_size - start)
            entries = _big_endian(self._read_file(self._l1_offset + 8 * start, size, "its L1 table"))
            for place in sorted({entry & s.OFFSET_MASK for entry in set(entries)} - seen - {0}):
                if len(seen) << self._cluster_bits >= _CENSUS_BYTES_MAX:
                    return None
                seen.add(place)
                # Of the big-endian entries, the byte that holds the flag.
                flags = self._read_file(place, 1 << self._cluster_bits, "an L2 table")[::8]
                if flags.translate(_IS_COMPRESSED).strip(b"\0"):
                    return True
        return False

    def _read_backing(self, offset: int, size: int) -> bytes:
        if self.backing is None:
            raise self._damaged(f"the bytes from {offset} are in its backing file {self.info.backing_file}")
        there = max(0, min(size, self.backing.size - offset))
        return (self.backing.read(offset, there) if there else b"") + bytes(size - there)

    def _cluster(self, cluster: int) -> bytes | None:
        """A cluster's bytes; empty if it reads as zeros, None if it reads as the backing file has it."""
        data = self._clusters.get(cluster)
        if data is not None:
            self._clusters.move_to_end(cluster)
            return data
        entry = self._entry(cluster)
        what = f"cluster {cluster} of the disk"
        if entry & s.COMPRESSED:
            place, most = s.compressed_place(entry, self._cluster_bits)
            packed = self._read_file(place, most, what, short=True)
            data = decompress(self.info.compression, packed, self.info.cluster_size)
        elif entry & s.ZERO_CLUSTER and self.info.version > 2:
            return b""
        elif not entry & s.OFFSET_MASK:
            return None if self.info.backing_file else b""
        else:
            place = entry & s.OFFSET_MASK
            if place % self.info.cluster_size:
                raise self._damaged(f"{what} would be at byte {place}, which is within another cluster")
            # QEMU leaves out zeros at the end of the last cluster of the file.
            data = self._read_file(place, self.info.cluster_size, what, short=True)
            data = data.ljust(self.info.cluster_size, b"\0")
        self._clusters[cluster] = data
        if len(self._clusters) > self._kept:
            self._clusters.popitem(last=False)
        return data

    def _entry(self, cluster: int) -> int:
        index, within = divmod(cluster, self.info.cluster_size // 8)
        table = self._l2.get(index)
        if table is None:
            place = self._l2_place(index)
            if not place:
                return 0
            table = _big_endian(self._read_file(place, 1 << self._cluster_bits, f"L2 table {index}"))
            self._l2[index] = table
            if len(self._l2) > self._kept:
                self._l2.popitem(last=False)
        return table[within]

    def _l2_place(self, index: int) -> int:
        entry = self._read_file(self._l1_offset + 8 * index, 8, "its L1 table")
        place = int.from_bytes(entry, "big") & s.OFFSET_MASK
        if place % (1 << self._cluster_bits):
            raise self._damaged(f"L2 table {index} would be at byte {place}, which is within a cluster")
        return place


_IS_COMPRESSED = bytes(1 if byte & s.COMPRESSED >> 56 else 0 for byte in range(256))


def _big_endian(data: bytes) -> array[int]:
    values = array("Q", data)
    if sys.byteorder == "little":
        values.byteswap()
    return values


def _unsupported(crypt: int, incompatible: int) -> str:
    if crypt:
        return "encryption"
    names = {2: "an external data file", 4: "extended L2 entries"}
    unknown = incompatible & ~s.INCOMPATIBLE_READABLE
    return " and ".join(
        names.get(bit, f"the unknown incompatible feature {bit}") for bit in range(64) if unknown >> bit & 1
    )
