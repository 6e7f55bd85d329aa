"""Debian packages are read, whatever their compression, and damaged ones are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gns3_minivm.base.errors import PackageError
from gns3_minivm.bundle.packages.deb import members, open_deb, parse_control
from tests.support.debs import COMPRESSIONS, ar, make_deb

FILES = {"bin/tool": b"tool " * 1000, "etc/odd": b"x", "usr/share/doc/p/copyright": b"License: MIT\n"}


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
def test_fields_and_wanted_files_are_read(tmp_path: Path, compression: str) -> None:
    deb = open_deb(make_deb(tmp_path, "p", FILES, compression=compression, Depends="a, b"))
    assert deb.control["Package"] == "p"
    assert deb.control["Depends"] == "a, b"
    found = {m.path: m.read() for m in members(deb, lambda path: "/" in path and "etc" not in path)}
    assert found == {path: data for path, data in FILES.items() if not path.startswith("etc")}


def test_continuation_lines_belong_to_their_field() -> None:
    assert parse_control("Depends: a,\n b\nDescription: one\n two: not a field\n") == {
        "Depends": "a,\nb",
        "Description": "one\ntwo: not a field",
    }


def test_what_is_no_package_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(PackageError, match="x.deb") as caught:
        open_deb(path)
    assert caught.value.hint


def test_an_archive_without_data_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(ar([("debian-binary", b"2.0\n")]))
    with pytest.raises(PackageError, match=r"x\.deb is not a Debian package: it has no control\.tar"):
        open_deb(path)


def test_an_unknown_compression_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(ar([("control.tar.lzma", b"abc")]))
    with pytest.raises(PackageError, match="compression"):
        open_deb(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="No such file"):
        open_deb(tmp_path / "none.deb")


@pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_package_is_an_error_that_names_it(tmp_path: Path, compression: str, kept: float) -> None:
    path = make_deb(tmp_path, "p", {"data": bytes(range(256)) * 400}, compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(PackageError, match="p_1.0-1_amd64.deb"):
        for member in members(open_deb(path), lambda _: True):
            member.read()


@pytest.mark.parametrize("compression", [".gz", ".xz", ".bz2", ".zst"])
def test_a_flipped_byte_never_crashes(tmp_path: Path, compression: str) -> None:
    path = make_deb(tmp_path, "p", {"data": bytes(range(256)) * 40}, compression=compression)
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            for member in members(open_deb(path), lambda _: True):
                member.read()
        except PackageError as error:
            assert "p_1.0-1_amd64.deb" in error.message
