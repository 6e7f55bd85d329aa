"""A file is written out while it grows; whether that works changes nothing about the file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gns3_minivm.convert import writeback
from gns3_minivm.convert.writeback import written_out_early


def test_what_was_appended_is_written_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = tmp_path / "file", threading.Event()
    ranges: list[tuple[int, int]] = []

    def advise(_descriptor: int, offset: int, length: int, _advice: int) -> None:
        ranges.append((offset, length))
        asked.set()

    monkeypatch.setattr(os, "posix_fadvise", advise)
    monkeypatch.setattr(writeback, "_INTERVAL_S", 0.01)
    with written_out_early(path), path.open("wb", buffering=0) as file:
        for _ in range(3):
            asked.clear()
            file.write(bytes(5 << 20))
            assert asked.wait(30)
    assert [start for start, _ in ranges] == [sum(length for _, length in ranges[:n]) for n in range(len(ranges))]
    # The file may have been looked at in the middle of a write; less than a step is left to the end.
    assert 11 << 20 < sum(length for _, length in ranges) <= 15 << 20


def test_a_system_that_refuses_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def refuse(*_: object) -> None:
        asked.set()
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    monkeypatch.setattr(writeback, "_INTERVAL_S", 0.01)
    with written_out_early(tmp_path / "file"):
        (tmp_path / "file").write_bytes(bytes(5 << 20))
        assert asked.wait(30)
    assert (tmp_path / "file").stat().st_size == 5 << 20


def test_a_file_that_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="mine"), written_out_early(tmp_path / "none"):
        raise ValueError("mine")
    assert threading.active_count() == before
