"""``convert`` gives the user a file whether or not it could be copied while the disk's digests were taken."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import DiskFullError
from gns3_minivm.base.output import OutputCopy
from gns3_minivm.ops.context import ImageSettings, RunContext
from gns3_minivm.ops.disk import ConvertResult, convert_image
from gns3_minivm.settings import Settings
from tests.support.layers import file, tar_bytes


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "root.tar").write_bytes(tar_bytes([file("etc/motd", b"hello")]))
    return tmp_path


def converted(work: Path, name: str) -> ConvertResult:
    settings = Settings(cache_root=work / "cache")
    source = f"rootfs:{work / 'root.tar'}"
    return asyncio.run(
        convert_image(source, work / name, RunContext(settings=settings, image=ImageSettings(size="64M")))
    )


def test_the_copy_is_made_once_and_is_the_disk(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[Path] = []
    fill = OutputCopy.fill

    def noted(copy: OutputCopy, source: Path, *more: Any) -> None:
        filled.append(source)
        fill(copy, source, *more)

    monkeypatch.setattr(OutputCopy, "fill", noted)
    first, again = converted(work, "first"), converted(work, "again")
    assert first.artifact is not None and first.artifact.path.read_bytes() == (work / "first").read_bytes()
    assert (work / "first").read_bytes() == (work / "again").read_bytes()
    assert (first.cached, again.cached, len(filled)) == (False, True, 2)


def test_a_copy_that_failed_beside_the_conversion_is_made_after_it(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = OutputCopy.fill
    failures = [DiskFullError("no room")]

    def fails_once(copy: OutputCopy, source: Path, *more: Any) -> None:
        if failures:
            raise failures.pop()
        fill(copy, source, *more)

    monkeypatch.setattr(OutputCopy, "fill", fails_once)
    assert converted(work, "disk").artifact is not None
    assert failures == [] and (work / "disk").exists()


def test_a_disk_that_cannot_be_copied_is_in_the_cache_nevertheless(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_copy: OutputCopy, _source: Path, *_: Any) -> None:
        raise DiskFullError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(OutputCopy, "fill", fails)
        with pytest.raises(DiskFullError, match="no room"):
            converted(work, "disk")
    assert sorted(path.name for path in work.iterdir()) == ["cache", "root.tar"]
    assert converted(work, "disk").cached
