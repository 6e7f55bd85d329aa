"""Reads qcow2 images: a BlockSource for tests and for looking into finished disks."""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self

from gns3_minivm.errors import DamagedImageError, HostError
from gns3_minivm.formats.qcow2 import structs as s
from gns3_minivm.formats.qcow2.codec import decompress

_CLUSTERS_KEPT = 64
_L2_TABLES_KEPT = 64


@dataclass(frozen=True)
class Qcow2Info:
    """What the header says; ``compression`` is the kind that compressed clusters would have."""

    virtual_size: int
    cluster_size: int
    compression: s.Compression


class Qcow2Reader:
    """A BlockSource of a qcow2 file (a path, or a seekable binary file that is left open); a context manager.

    Raises DamagedImageError for a file that is damaged or uses what is not supported, HostError if it cannot be read.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        self._name = "the disk file"
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
        self._l2: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._clusters: OrderedDict[int, bytes] = OrderedDict()
        try:
            self._cluster_bits = 0
            self.info = self._read_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._owns_file:
            self._file.close()

    def _damaged(self, what: str) -> DamagedImageError:
        return DamagedImageError(f"{self._name}: {what}", hint="Convert the image again.")

    def _read_file(self, offset: int, size: int, *, short: bool = False) -> bytes:
        try:
            self._file.seek(offset)
            data = b""
            while len(data) < size and (more := self._file.read(size - len(data))):
                data += more
        except OSError as error:
            raise HostError(f"cannot read {self._name}: {error.strerror}") from error
        if len(data) < size and not short:
            raise self._damaged(f"the qcow2 file ends at {offset + len(data)}, before {offset + size}")
        return data

    def _read_header(self) -> Qcow2Info:
        data = self._read_file(0, s.HEADER_LENGTH + 1, short=True)
        if len(data) <= s.HEADER_LENGTH or data[:4] != s.MAGIC.to_bytes(4, "big"):
            raise self._damaged("this is no qcow2 file")
        fields = s.HEADER.unpack(data[: s.HEADER_LENGTH])
        _, version, backing, _, self._cluster_bits, size, crypt, l1_size, l1_offset = fields[:9]
        incompatible, header_length = fields[13], fields[17]
        if version != s.VERSION or not 9 <= self._cluster_bits <= 21:
            raise self._damaged(f"qcow2 version {version} with cluster bits {self._cluster_bits} is not supported")
        if backing or crypt or incompatible & ~s.INCOMPATIBLE_COMPRESSION_TYPE:
            raise self._damaged(
                f"it has a backing file, encryption or features that are not supported ({incompatible:#x})"
            )
        compression_type = data[s.HEADER_LENGTH] if header_length > s.HEADER_LENGTH else s.COMPRESSION_TYPE_ZLIB
        if compression_type not in (s.COMPRESSION_TYPE_ZLIB, s.COMPRESSION_TYPE_ZSTD):
            raise self._damaged(f"its compression type {compression_type} is not known")
        l2_span = (1 << self._cluster_bits) * (1 << self._cluster_bits - 3)
        if l1_size * l2_span < size or l1_size > 1 << 22:
            raise self._damaged(f"its L1 table has {l1_size} entries, which does not suit {size} bytes")
        self._l1 = struct.unpack(f">{l1_size}Q", self._read_file(l1_offset, 8 * l1_size))
        return Qcow2Info(size, 1 << self._cluster_bits, "zstd" if compression_type else "zlib")

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
            parts.append(data[within : within + take] if data else bytes(take))
            offset, size = offset + take, size - take
        return b"".join(parts)

    def _cluster(self, cluster: int) -> bytes:
        """A cluster's bytes; empty if it reads as zeros."""
        data = self._clusters.get(cluster)
        if data is not None:
            self._clusters.move_to_end(cluster)
            return data
        entry = self._entry(cluster)
        if entry & s.COMPRESSED:
            place, most = s.compressed_place(entry, self._cluster_bits)
            packed = self._read_file(place, most, short=True)
            data = decompress(self.info.compression, packed, self.info.cluster_size)
        elif entry & s.ZERO_CLUSTER or not entry & s.OFFSET_MASK:
            return b""
        else:
            data = self._read_file(entry & s.OFFSET_MASK, self.info.cluster_size)
        self._clusters[cluster] = data
        if len(self._clusters) > _CLUSTERS_KEPT:
            self._clusters.popitem(last=False)
        return data

    def _entry(self, cluster: int) -> int:
        entries = self.info.cluster_size // 8
        index, within = divmod(cluster, entries)
        table = self._l2.get(index)
        if table is None:
            place = self._l1[index] & s.OFFSET_MASK
            table = struct.unpack(f">{entries}Q", self._read_file(place, 8 * entries)) if place else (0,) * entries
            self._l2[index] = table
            if len(self._l2) > _L2_TABLES_KEPT:
                self._l2.popitem(last=False)
        return table[within]
