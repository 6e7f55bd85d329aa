"""Damaged and generated archives: the right tree or a DamagedImageError, never another exception."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gns3_minivm.base.errors import DamagedImageError, DiskTooSmallError
from gns3_minivm.formats import ext4, qcow2
from gns3_minivm.formats.content import ContentReader
from gns3_minivm.formats.tar import read_layers
from tests.support.disks import MIB, options
from tests.support.layers import file, layer_of, tar_bytes
from tests.support.odd_tars import (
    ARCHIVES,
    HEADER_FIELDS,
    RECORD_KEYS,
    RECORD_VALUES,
    VALUES,
    resigned,
    with_field,
    with_records,
)


def read_or_refuse(layers: list[bytes]) -> None:
    """Read layers and write a disk of them; only the image's own errors are allowed."""
    with tempfile.TemporaryDirectory() as folder:
        files = [layer_of(Path(folder) / str(number), data) for number, data in enumerate(layers)]
        try:
            tree = read_layers(files)
            plan = ext4.plan(tree, options(16 * MIB))
        except (DamagedImageError, DiskTooSmallError):
            return
        with qcow2.Qcow2Writer(io.BytesIO(), 16 * MIB, "none") as sink:
            ext4.write(plan, sink)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ARCHIVES),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)), max_size=4),
    st.one_of(st.none(), st.integers(0, 1 << 14)),
    st.booleans(),
)
def test_a_damaged_archive_is_read_or_refused(
    archive: bytes, changes: list[tuple[int, bytes]], cut: int | None, sign: bool
) -> None:
    data = bytearray(archive)
    for place, value in changes:
        place %= len(data)
        data[place : place + len(value)] = value[: len(data) - place]
    if sign:
        data = resigned(data)
    read_or_refuse([ARCHIVES[0], bytes(data[:cut])])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ARCHIVES), st.integers(0, 1000), st.sampled_from(HEADER_FIELDS), VALUES)
def test_an_odd_value_in_any_header_field_is_read_or_refused(
    archive: bytes, header: int, field: tuple[int, int], value: bytes
) -> None:
    read_or_refuse([with_field(archive, header, field, value)])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(RECORD_KEYS), RECORD_VALUES, max_size=6), st.binary(max_size=900))
def test_odd_pax_records_are_read_or_refused(records: dict[str, str], content: bytes) -> None:
    read_or_refuse([with_records(records, content)])


NAMES = st.text(alphabet="ab.é-", min_size=1, max_size=120).filter(lambda name: name not in (".", ".."))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.dictionaries(
        NAMES, st.tuples(st.binary(max_size=1500), st.integers(0, 0o7777), st.integers(0, 2**21 - 1)), max_size=6
    ),
)
def test_pythons_reader_finds_the_same(tar_format: int, wanted: dict[str, tuple[bytes, int, int]]) -> None:
    wanted = {name: value for name, value in wanted.items() if len(name.encode()) < 99 and not name.startswith(".wh.")}
    entries = [
        file(name, data, mode=mode, uid=number, gid=number // 2, mtime=number)
        for name, (data, mode, number) in wanted.items()
    ]
    archive = tar_bytes(entries, tar_format)
    with tempfile.TemporaryDirectory() as folder, ContentReader() as reader:
        tree = read_layers([layer_of(Path(folder) / "layer", archive)])
        ours = {
            path.decode(): (
                reader.read(node.content, 0, node.size),
                node.mode & 0o7777,
                node.uid,
                node.gid,
                node.mtime_ns,
            )
            for path, node in tree.walk()
        }
    with tarfile.open(fileobj=io.BytesIO(archive)) as python:
        theirs = {
            info.name: (python.extractfile(info).read(), info.mode, info.uid, info.gid, int(info.mtime) * 10**9)  # type: ignore[union-attr]
            for info in python
        }
    assert ours == theirs
