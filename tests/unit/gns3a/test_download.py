"""Images are downloaded from where a file says, and only what has the right size and checksum counts."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import DamagedImageError, HostError, MiniVMError
from gns3_minivm.gns3a.download import UNPACKERS, download, without_login
from gns3_minivm.gns3a.model import COMPRESSIONS, ImageFile
from tests.support.gns3a import image
from tests.support.site import Site, running_site

CONTENT = b"an image, rather long " * 50_000


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as found:
        yield found


def wanted(url: str, **more: Any) -> ImageFile:
    return ImageFile.model_validate(image("disk.qcow2", CONTENT, direct_download_url=url, **more))


def get(what: ImageFile, target: Path) -> bytes:
    amounts: list[int] = []
    download(what, target, amounts.append)
    assert sum(amounts) == len(CONTENT)
    return target.read_bytes()


def test_what_the_file_says_is_what_arrives_also_by_way_of_redirects(site: Site, tmp_path: Path) -> None:
    site.answers = {"/a": (302, {"Location": "/b?x=1"}, b""), "/b": (200, {}, CONTENT)}
    assert get(wanted(f"{site.url}/a"), tmp_path / "x") == CONTENT


@pytest.mark.parametrize(
    ("compression", "pack"), [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)]
)
def test_what_is_packed_is_unpacked_and_measured_then(site: Site, tmp_path: Path, compression: str, pack: Any) -> None:
    site.answers = {"/a": (200, {}, pack(CONTENT)), "/cut": (200, {}, pack(CONTENT)[:-9])}
    assert get(wanted(f"{site.url}/a", compression=compression), tmp_path / "x") == CONTENT
    with pytest.raises(MiniVMError):
        get(wanted(f"{site.url}/cut", compression=compression), tmp_path / "x")


def test_a_packed_bomb_is_stopped_at_the_size_that_the_file_says(site: Site, tmp_path: Path) -> None:
    site.answers = {"/a": (200, {}, gzip.compress(bytes(20 << 20), 1))}
    with pytest.raises(DamagedImageError, match=f"more than the {len(CONTENT)} bytes"):
        get(wanted(f"{site.url}/a", compression="gzip"), tmp_path / "x")
    assert (tmp_path / "x").stat().st_size <= len(CONTENT)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((200, {}, CONTENT[:-1]), DamagedImageError, f"has {len(CONTENT) - 1} bytes"),
        ((200, {}, CONTENT[:-1] + b"!"), DamagedImageError, "and the md5"),
        ((200, {}, CONTENT + b"!"), DamagedImageError, "has more than"),
        ((200, {"Content-Length": str(len(CONTENT) + 9)}, CONTENT), HostError, "cannot be downloaded"),
        ((404, {}, b""), HostError, "answers 404 Not Found"),
        ((401, {"WWW-Authenticate": "Basic"}, b""), HostError, "answers 401"),
        ((302, {"Location": "/a"}, b""), HostError, "redirects"),
        ((302, {"Location": "ftp://127.0.0.1/x"}, b""), HostError, "cannot be downloaded"),
        ((302, {"Location": "file:///etc/passwd"}, b""), HostError, "cannot be downloaded"),
    ],
)
def test_anything_else_is_one_error(
    site: Site, tmp_path: Path, answer: Any, error: type[MiniVMError], said: str
) -> None:
    site.answers = {"/a": answer}
    with pytest.raises(error, match=said) as caught:
        get(wanted(f"{site.url}/a"), tmp_path / "x")
    assert f"{site.url}/a" in caught.value.message


def test_nobody_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"http://127.0.0.1:9/a cannot be downloaded: .*[Cc]onnection refused"):
        get(wanted("http://127.0.0.1:9/a"), tmp_path / "x")


def test_a_proxy_of_the_environment_is_used(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.setenv("no_proxy", "")
    site.answers = {"http://images.example/a": (200, {}, CONTENT)}
    assert get(wanted("http://images.example/a"), tmp_path / "x") == CONTENT


def test_a_login_that_the_user_keeps_goes_nowhere(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    site.answers = {"/a": (200, {}, CONTENT)}
    get(wanted(f"{site.url}/a"), tmp_path / "x")
    assert "Authorization" not in site.seen[0][1]


def test_a_password_in_an_address_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        get(wanted("http://me:secret@127.0.0.1:9/a?token=secret"), tmp_path / "x")
    assert "secret" not in caught.value.message
    assert without_login("to http://me:secret@h/x failed") == "to http://h/x failed"


@pytest.mark.parametrize(
    ("compression", "can"), [(None, True), ("", True), ("xz", True), ("7z", False), ("zip", False)]
)
def test_archives_are_left_to_people(compression: str | None, can: bool) -> None:
    assert wanted("http://h/a", compression=compression).can_be_downloaded is can
    assert not ImageFile.model_validate(image("a", b"a")).can_be_downloaded
    assert set(UNPACKERS) == set(COMPRESSIONS)
