"""The user's copy of a disk is whole or not there, and replaces nothing unasked."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base import output
from gns3_minivm.base.cancel import Interrupted
from gns3_minivm.base.errors import DiskFullError, UsageError
from gns3_minivm.base.events import Event, Events, StepAdvanced
from gns3_minivm.base.output import OutputCopy, check_output, copy_output, write_output

DATA = os.urandom(1 << 20) * 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "cache" / "disk.qcow2"
    path.parent.mkdir()
    path.write_bytes(DATA)
    path.chmod(0o444)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "mine.qcow2"


@pytest.fixture(params=[True, False], ids=["swaps", "renames"])
def swaps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system can let two names be swapped, and where it cannot."""
    if not request.param:
        monkeypatch.setattr(output, "_exchange", lambda *_: False)


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def without_sharing(*_: Any) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_the_copy_is_a_file_of_its_own_that_can_be_written(source: Path, target: Path) -> None:
    old = os.umask(0o022)
    try:
        copy_output(source, target, replace=False)
    finally:
        os.umask(old)
    assert target.read_bytes() == DATA
    assert target.stat().st_mode & 0o777 == 0o644
    assert not target.samefile(source) and target.stat().st_nlink == 1
    assert names(target) == ["mine.qcow2"]


@pytest.mark.parametrize("kernel_copies", [True, False])
def test_it_works_where_blocks_cannot_be_shared(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, kernel_copies: bool
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", without_sharing)
    if not kernel_copies:
        monkeypatch.setattr(os, "copy_file_range", without_sharing)
    seen: list[Event] = []
    with Events(seen.append).step("copy", total=len(DATA)) as step:
        copy_output(source, target, replace=False, step=step)
    assert target.read_bytes() == DATA
    assert any(isinstance(event, StepAdvanced) for event in seen)


def test_a_file_that_exists_is_not_replaced(source: Path, target: Path) -> None:
    target.write_text("precious")
    with pytest.raises(UsageError, match=r"mine\.qcow2 exists") as caught:
        copy_output(source, target, replace=False)
    assert "--force" in caught.value.hint
    assert target.read_text() == "precious" and names(target) == ["mine.qcow2"]


def test_a_file_made_meanwhile_is_not_replaced(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = output.name_output

    def name_late(temporary: Path, path: Path, *, replace: bool) -> None:
        target.write_text("precious")
        real(temporary, path, replace=replace)

    monkeypatch.setattr(output, "name_output", name_late)
    with pytest.raises(UsageError, match="exists"):
        copy_output(source, target, replace=False)
    assert target.read_text() == "precious" and names(target) == ["mine.qcow2"]


@pytest.mark.usefixtures("swaps")
def test_a_file_is_replaced_if_that_is_asked_for(source: Path, target: Path) -> None:
    for old in (None, "old"):
        if old is not None:
            target.write_text(old)
        copy_output(source, target, replace=True)
        assert target.read_bytes() == DATA and names(target) == ["mine.qcow2"]


@pytest.mark.usefixtures("swaps")
def test_a_link_is_replaced_and_what_it_leads_to_stays(source: Path, target: Path) -> None:
    other = target.parent.parent / "precious"
    other.write_text("precious")
    target.symlink_to(other)
    copy_output(source, target, replace=True)
    assert not target.is_symlink() and target.read_bytes() == DATA
    assert other.read_text() == "precious" and names(target) == ["mine.qcow2"]


def test_names_are_swapped_in_one_step_or_not_at_all(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other \udcff"
    one.write_text("1")
    assert not output._exchange(one, other) and one.read_text() == "1" and not other.exists()
    other.write_text("2")
    if output._exchange(one, other):  # some file systems cannot
        assert (one.read_text(), other.read_text()) == ("2", "1")


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.ENOSPC, "No space left on device"), DiskFullError), (Interrupted(), Interrupted)],
)
def test_a_copy_that_fails_leaves_nothing(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, raised: type[BaseException]
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(fcntl, "ioctl", without_sharing)
    monkeypatch.setattr(os, "copy_file_range", fail)
    with pytest.raises(raised):
        copy_output(source, target, replace=False)
    assert names(target) == []


def test_a_place_that_cannot_be_written_is_told_beforehand(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path, replace=True)
    with pytest.raises(UsageError, match="does not exist"):
        check_output(tmp_path / "no" / "disk.qcow2", replace=False)
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists"):
        check_output(tmp_path / "dangling", replace=False)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Not a directory"):
        check_output(tmp_path / "file" / "disk.qcow2", replace=False)
    with pytest.raises(UsageError, match="File name too long"):
        check_output(tmp_path / ("x" * 256), replace=False)


@pytest.mark.parametrize("kind", ["device", "pipe", "link to a device"])
def test_what_is_no_ordinary_file_is_never_replaced_by_one(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place = Path("/dev/null")
    else:
        place.symlink_to("/dev/null")
    before = place.lstat()
    with pytest.raises(UsageError, match="is not a regular file"):
        check_output(place, replace=True)
    assert place.lstat() == before


@pytest.mark.parametrize("name", ["x" * 255, "\N{GRINNING FACE}" * 63, "\udcff" * 255])
def test_a_file_may_have_any_name_that_a_file_can_have(source: Path, target: Path, name: str) -> None:
    target = target.with_name(name)
    for nameless in (True, False):
        with pytest.MonkeyPatch.context() as patched:
            if not nameless:
                patched.setattr(output, "_open_nameless", lambda _: None)
            copy_output(source, target, replace=not nameless)
        assert os.listdir(target.parent) == [name]
    write_output(target, b"other", replace=True)
    assert os.listdir(target.parent) == [name]


@pytest.mark.parametrize("nameless", [True, False])
def test_a_copy_that_is_killed_leaves_nothing_where_the_file_system_can_make_files_without_names(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    seen: list[list[str]] = []

    def look(*_: Any) -> None:
        seen.append(names(target))
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if not nameless:
        monkeypatch.setattr(output, "_open_nameless", lambda _: None)
    monkeypatch.setattr(fcntl, "ioctl", look)
    copy_output(source, target, replace=False)
    assert len(seen[0]) == (0 if nameless else 1)
    assert names(target) == ["mine.qcow2"] and target.read_bytes() == DATA


def test_a_copy_that_failed_can_be_tried_again_and_is_dropped_without_a_name(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OutputCopy(target, replace=False) as copy, monkeypatch.context() as patched:
        patched.setattr(output, "_open_nameless", lambda _: None)
        with pytest.raises(OSError, match="No such file"):
            copy.fill(source.with_name("other"))
        assert names(target) == [] and not copy.is_filled
        copy.fill(source)
        assert len(names(target)) == 1 and copy.is_filled
    assert names(target) == []
