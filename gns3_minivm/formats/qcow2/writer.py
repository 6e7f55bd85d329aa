"""Writes a qcow2 image in one pass; clusters are compressed on threads and stored in the order of arrival."""

from __future__ import annotations

import os
from array import array
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, Self

from gns3_minivm.base.errors import BugError, DiskFullError
from gns3_minivm.formats.qcow2 import structs as s
from gns3_minivm.formats.qcow2.codec import Cluster, compressor

_ZEROS = bytes(s.CLUSTER_SIZE)
_BATCH_CLUSTERS = 32
"""Compressed in one go: more of them leave the processor's caches, fewer cost more for handing over."""
_Packed = list[bytes | None]


class Qcow2Writer:
    """A BlockSink that writes a qcow2 file; a context manager, and the file is complete when it ends.

    ``target`` is a path, or a seekable binary file that is empty and is left open.  The bytes of the file do not
    depend on ``threads``.  After an exception the file is useless; the caller discards it.
    Writing raises DiskFullError where the file cannot be written.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        virtual_size: int,
        compression: s.Compression = "zstd",
        threads: int = 2,
    ) -> None:
        if virtual_size <= 0 or virtual_size % s.SECTOR:
            raise BugError(f"a qcow2 disk of {virtual_size} bytes; it takes a multiple of {s.SECTOR}")
        self._virtual_size = virtual_size
        self._compression = compression
        self._compress = compressor(compression)
        self._threads = max(1, threads)
        self._name = "the disk file"
        self._file: BinaryIO
        self._owns_file = isinstance(target, (str, os.PathLike))
        if isinstance(target, (str, os.PathLike)):
            self._name = os.fspath(target)
            try:
                self._file = open(target, "wb", buffering=0)  # noqa: SIM115
            except OSError as error:
                raise self._disk_error(error) from error
        else:
            self._file = target
        self._pool: ThreadPoolExecutor | None = None
        self._running: deque[tuple[list[int], list[Cluster], Future[_Packed]]] = deque()
        self._batch: list[tuple[int, Cluster]] = []
        self._partial: dict[int, tuple[bytearray, int]] = {}
        self._l2: dict[int, array[int]] = {}
        self._refcounts = array("H", [1])
        # The cluster that takes the next compressed data: from here to its end.
        self._tail = self._tail_end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
            if self._owns_file:
                self._file.close()

    def _disk_error(self, error: OSError) -> DiskFullError:
        return DiskFullError(
            f"cannot write {self._name}: {error.strerror or error}",
            hint="Free some space, or choose another folder.",
        )

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` at the byte ``offset`` of the disk; every byte at most once."""
        if offset < 0 or offset + len(data) > self._virtual_size:
            raise BugError(f"{len(data)} bytes at {offset} are outside the disk of {self._virtual_size} bytes")
        view = memoryview(data)
        position = 0
        while position < len(view):
            cluster, within = divmod(offset + position, s.CLUSTER_SIZE)
            part = view[position : position + s.CLUSTER_SIZE - within]
            if len(part) == s.CLUSTER_SIZE:
                self._put(cluster, part)
            else:
                self._put_part(cluster, within, part)
            position += len(part)

    def _put_part(self, cluster: int, within: int, part: memoryview) -> None:
        buffer, filled = self._partial.get(cluster) or (bytearray(s.CLUSTER_SIZE), 0)
        buffer[within : within + len(part)] = part
        filled += len(part)
        if filled < s.CLUSTER_SIZE:
            self._partial[cluster] = (buffer, filled)
        else:
            self._partial.pop(cluster, None)
            self._put(cluster, bytes(buffer))

    def _put(self, cluster: int, data: Cluster) -> None:
        if not data[0] and data == _ZEROS:
            return
        self._batch.append((cluster, data))
        if len(self._batch) >= _BATCH_CLUSTERS:
            self._submit()

    def _submit(self) -> None:
        clusters = [cluster for cluster, _ in self._batch]
        plain = [data for _, data in self._batch]
        self._batch = []
        if self._compress is None:
            self._store(clusters, plain, [None] * len(plain))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="qcow2")
        self._running.append((clusters, plain, self._pool.submit(self._pack, plain)))
        # A bound on what lies in memory, with enough waiting to keep all threads at work.
        if len(self._running) > 2 * self._threads + 1:
            self._collect()

    def _pack(self, plain: list[Cluster]) -> _Packed:
        assert self._compress is not None
        return [data if len(data) < s.CLUSTER_SIZE else None for data in self._compress(plain)]

    def _collect(self) -> None:
        clusters, plain, future = self._running.popleft()
        self._store(clusters, plain, future.result())

    def _store(self, clusters: list[int], plain: list[Cluster], packed: _Packed) -> None:
        """Give clusters their places in the file and write them; neighbours go out in one write."""
        pending: list[Cluster] = []
        start = end = 0
        for cluster, raw, small in zip(clusters, plain, packed, strict=True):
            if small is None:
                place = self._append_clusters(1)
                entry, data = s.COPIED | place, raw
            else:
                place = self._place_packed(len(small))
                entry, data = s.compressed_entry(place, len(small)), small
            self._set_entry(cluster, entry)
            if place != end:
                self._write_at(start, pending)
                pending, start, end = [], place, place
            pending.append(data)
            end += len(data)
        self._write_at(start, pending)

    def _append_clusters(self, count: int) -> int:
        """Add clusters with the refcount 1 to the file's end; returns the first one's offset."""
        place = len(self._refcounts) * s.CLUSTER_SIZE
        self._refcounts.extend([1] * count)
        return place

    def _place_packed(self, size: int) -> int:
        """A place for compressed data, which may run on into a cluster that follows at once."""
        file_end = len(self._refcounts) * s.CLUSTER_SIZE
        if self._tail + size > self._tail_end:
            if self._tail_end == file_end and self._tail < self._tail_end:
                self._refcounts.append(0)
            else:
                self._tail = file_end
                self._refcounts.append(0)
            self._tail_end = len(self._refcounts) * s.CLUSTER_SIZE
        place = self._tail
        self._tail += size
        for host in range(place // s.CLUSTER_SIZE, (self._tail - 1) // s.CLUSTER_SIZE + 1):
            self._refcounts[host] += 1
        return place

    def _set_entry(self, cluster: int, entry: int) -> None:
        l1_index, l2_index = divmod(cluster, s.L2_ENTRIES)
        table = self._l2.get(l1_index)
        if table is None:
            table = self._l2[l1_index] = array("Q", bytes(s.CLUSTER_SIZE))
        if table[l2_index]:
            raise BugError(f"the disk's cluster {cluster} was written twice")
        table[l2_index] = entry

    def _write_at(self, offset: int, parts: list[Cluster]) -> None:
        data = memoryview(b"".join(parts))
        try:
            self._file.seek(offset)
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._disk_error(error) from error

    def _finish(self) -> None:
        for cluster, (buffer, _) in sorted(self._partial.items()):
            self._put(cluster, bytes(buffer))
        self._partial = {}
        if self._batch:
            self._submit()
        while self._running:
            self._collect()
        l1 = array("Q", bytes(8 * -(-self._virtual_size // (s.CLUSTER_SIZE * s.L2_ENTRIES))))
        for index, table in sorted(self._l2.items()):
            l1[index] = s.COPIED | self._append_clusters(1)
            self._write_at(l1[index] & s.OFFSET_MASK, [_big_endian(table)])
        l1_data = _big_endian(l1)
        l1_offset = self._append_clusters(_clusters(len(l1_data)))
        self._write_at(l1_offset, [_filled(l1_data)])
        table_offset, table_clusters = self._write_refcounts()
        self._write_at(0, [self._header(len(l1), l1_offset, table_offset, table_clusters)])

    def _write_refcounts(self) -> tuple[int, int]:
        """Write refcount blocks and table, which count themselves; returns the table's offset and clusters."""
        blocks = table_clusters = 0
        while True:
            total = len(self._refcounts) + blocks + table_clusters
            wanted = -(-total // s.REFCOUNTS_PER_BLOCK)
            if blocks == wanted and table_clusters == _clusters(8 * wanted):
                break
            blocks, table_clusters = wanted, _clusters(8 * wanted)
        block_offset = self._append_clusters(blocks)
        table_offset = self._append_clusters(table_clusters)
        self._write_at(block_offset, [_filled(_big_endian(self._refcounts))])
        table = array("Q", (block_offset + index * s.CLUSTER_SIZE for index in range(blocks)))
        self._write_at(table_offset, [_filled(_big_endian(table))])
        return table_offset, table_clusters

    def _header(self, l1_size: int, l1_offset: int, table_offset: int, table_clusters: int) -> bytes:
        is_zstd = self._compression == "zstd"
        incompatible = s.INCOMPATIBLE_COMPRESSION_TYPE if is_zstd else 0
        length = s.HEADER_LENGTH_WITH_COMPRESSION_TYPE if is_zstd else s.HEADER_LENGTH
        fixed = (s.MAGIC, s.VERSION, 0, 0, s.CLUSTER_BITS, self._virtual_size, 0, l1_size, l1_offset)
        refcounts = (table_offset, table_clusters, 0, 0)
        header = s.HEADER.pack(*fixed, *refcounts, incompatible, 0, 0, s.REFCOUNT_ORDER, length)
        if is_zstd:
            # A QEMU too old for zstd names the missing feature from this table.
            name = s.FEATURE_NAME.pack(0, 3, b"compression type")
            header += bytes([s.COMPRESSION_TYPE_ZSTD]).ljust(8, b"\0")
            header += s.EXTENSION_FEATURE_NAMES.to_bytes(4, "big") + len(name).to_bytes(4, "big") + name
        return _filled(header + s.EXTENSION_END.to_bytes(4, "big") + bytes(4))


def _clusters(size: int) -> int:
    return -(-size // s.CLUSTER_SIZE)


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % s.CLUSTER_SIZE)


def _big_endian(values: array[int]) -> bytes:
    swapped = array(values.typecode, values)
    if array("H", [1]).tobytes() == b"\1\0":
        swapped.byteswap()
    return swapped.tobytes()
