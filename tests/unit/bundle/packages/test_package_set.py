"""Which packages a bundle is made of: from files, and from an apt that answers, complains or is not there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import PackageError
from gns3_minivm.base.events import Events
from gns3_minivm.bundle.packages.apt import AptSource
from gns3_minivm.bundle.packages.package_set import DebFiles, DebPackage
from tests.support.debs import VERSION, bundle_debs, busybox_deb, e2fsck_deb, kernel_deb, make_deb

KERNEL = f"linux-image-{VERSION}"
Paragraphs = dict[str, dict[str, str]]


def refusal(paths: list[Path]) -> PackageError:
    with pytest.raises(PackageError) as caught, DebFiles(paths).resolve(Events()):
        pass
    return caught.value


def test_files_are_told_apart_by_their_fields_whatever_they_are_called(tmp_path: Path) -> None:
    renamed = [path.rename(tmp_path / f"{number}.deb") for number, path in enumerate(bundle_debs(tmp_path))]
    with DebFiles(renamed[::-1]).resolve(Events()) as found:
        assert [record.name for record in found.packages.kernel] == [KERNEL]
        assert found.packages.busybox.source == "busybox 1.35"
        assert found.packages.e2fsck.source == "e2fsck-static 1.0-1"
        assert found.packages.e2fsck.sha256 == hashlib.sha256(renamed[2].read_bytes()).hexdigest()
        assert found.fetch(tmp_path, Events())[KERNEL] == DebPackage(renamed[0])


def test_every_missing_package_is_named(tmp_path: Path) -> None:
    error = refusal([kernel_deb(tmp_path)])
    assert "missing: busybox-static, e2fsck-static" in error.message
    assert "--deb" in error.hint
    error = refusal([busybox_deb(tmp_path), e2fsck_deb(tmp_path)])
    assert "missing: linux-image-" in error.message


def test_a_package_for_another_cpu_is_told(tmp_path: Path) -> None:
    error = refusal([make_deb(tmp_path, "busybox-static", {}, architecture="arm64")])
    assert "is for the architecture arm64" in error.message


def test_a_package_that_is_no_part_of_a_bundle_is_told(tmp_path: Path) -> None:
    error = refusal([*bundle_debs(tmp_path), make_deb(tmp_path, "nano", {})])
    assert "holds the package nano" in error.message


def test_a_package_that_is_given_twice_is_told(tmp_path: Path) -> None:
    other = make_deb(tmp_path, "busybox-static", {}, version="2.0")
    error = refusal([*bundle_debs(tmp_path), other])
    assert "busybox-static is given 2 times" in error.message


# An apt that does what its files say: for what only a broken or another distribution's apt does.
FAKE_APT = """#!/bin/sh
folder=$(dirname "$0")
echo "$0 $*" >> "$folder/calls"
while [ "${1#-}" != "$1" ]; do
  case "$1" in -c|-o) shift;; esac
  shift
done
case "$1" in
  update) cat "$folder/update"; exit $(cat "$folder/update.status");;
  show) [ -f "$folder/show/${2%%=*}" ] && cat "$folder/show/${2%%=*}" || { echo "E: No packages found"; exit 100; };;
  download) shift; for name; do cp "$folder/debs/${name%%=*}"/* . || exit 100; done;;
  *) exit 2;;
esac
"""


@pytest.fixture
def fake_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts an apt on PATH that offers these packages, and says this when it updates."""

    def put(packages: Paragraphs, *, said: str = "", status: int = 0) -> Path:
        folder = tmp_path / "apt-bin"
        (folder / "show").mkdir(parents=True)
        for program in ("apt-get", "apt-cache"):
            (folder / program).write_text(FAKE_APT)
            (folder / program).chmod(0o755)
        (folder / "update").write_text(said)
        (folder / "update.status").write_text(str(status))
        for name, fields in packages.items():
            text = "".join(f"{key}: {value}\n" for key, value in {"Package": name, **fields}.items())
            (folder / "show" / name).write_text(f"{text}\n")
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return folder

    return put


def offered(**fields: str) -> dict[str, str]:
    return {"Version": "1:1.0-1", "Architecture": "amd64", "SHA256": "ab" * 32, "Size": "1000", **fields}


STATIC = {"busybox-static": offered(), "e2fsck-static": offered()}


def resolve(cache: Path) -> list[tuple[str, str]]:
    with AptSource(Cache(cache)).resolve(Events()) as found:
        return [(record.name, record.version) for record in found.packages.all]


def test_the_kernel_that_the_meta_package_stands_for_is_taken(tmp_path: Path, fake_apt: Callable[..., Path]) -> None:
    meta = offered(Depends="linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)")
    fake_apt(
        {"linux-image-cloud-amd64": meta, "linux-image-6.1.0-56-cloud-amd64": offered(Version="6.1.192-2"), **STATIC}
    )
    assert resolve(tmp_path)[0] == ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2")
    calls = (tmp_path / "apt-bin" / "calls").read_text()
    assert "linux-image-6.1.0-56-cloud-amd64=6.1.192-2" in calls


def test_ubuntus_kernel_comes_with_its_module_package(tmp_path: Path, fake_apt: Callable[..., Path]) -> None:
    image, modules = "linux-image-6.8.0-31-generic", "linux-modules-6.8.0-31-generic"
    fake_apt(
        {
            "linux-image-virtual": offered(Depends=f"{image}, linux-firmware | wireless-regdb"),
            image: offered(Depends=f"kmod, linux-base (>= 4.5ubuntu1~16.04.1), {modules}"),
            modules: offered(),
            **STATIC,
        }
    )
    names = [name for name, _ in resolve(tmp_path)]
    assert names == [image, modules, "busybox-static", "e2fsck-static"]


def test_a_source_that_fails_does_not_matter_if_the_packages_are_there(
    tmp_path: Path, fake_apt: Callable[..., Path]
) -> None:
    meta = {"linux-image-cloud-amd64": offered(Depends=KERNEL), KERNEL: offered()}
    fake_apt({**meta, **STATIC}, said="E: The repository 'x' does not have a Release file.\n", status=100)
    assert len(resolve(tmp_path)) == 3


def test_a_failing_apt_is_shown_with_its_own_words_and_a_command_to_paste(
    tmp_path: Path, fake_apt: Callable[..., Path]
) -> None:
    fake_apt({}, said="Err:1 x\nE: Failed to fetch x  Temporary failure resolving 'x'\n", status=100)
    with pytest.raises(PackageError) as caught:
        resolve(tmp_path)
    assert "apt offers no kernel" in caught.value.message
    assert "Temporary failure resolving 'x'" in caught.value.message
    assert f"`apt-get -c {tmp_path}/apt/apt.conf" in caught.value.message
    assert "--deb" in caught.value.hint


def test_an_apt_without_e2fsck_static_is_told(tmp_path: Path, fake_apt: Callable[..., Path]) -> None:
    meta = {"linux-image-cloud-amd64": offered(Depends=KERNEL), KERNEL: offered()}
    fake_apt({**meta, "busybox-static": offered()})
    with pytest.raises(PackageError, match="apt offers no package e2fsck-static") as caught:
        resolve(tmp_path)
    assert "universe" in caught.value.hint


def test_a_meta_package_whose_kernel_is_gone_is_told(tmp_path: Path, fake_apt: Callable[..., Path]) -> None:
    fake_apt({"linux-image-cloud-amd64": offered(Depends=KERNEL), **STATIC})
    with pytest.raises(PackageError, match=f"apt offers no {KERNEL}, which linux-image-cloud-amd64 needs"):
        resolve(tmp_path)


def test_a_package_that_is_not_what_the_list_says_is_refused(tmp_path: Path, fake_apt: Callable[..., Path]) -> None:
    meta = {"linux-image-cloud-amd64": offered(Depends=KERNEL), KERNEL: offered()}
    folder = fake_apt({**meta, **STATIC})
    for name in (KERNEL, *STATIC):
        (folder / "debs" / name).mkdir(parents=True)
        (folder / "debs" / name / f"{name}_1%3a1.0-1_amd64.deb").write_text("something else")
    target = tmp_path / "debs"
    target.mkdir()
    with AptSource(Cache(tmp_path)).resolve(Events()) as found, pytest.raises(PackageError, match="sha256"):
        found.fetch(target, Events())


def test_a_machine_without_apt_is_told_of_package_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(PackageError, match="no apt") as caught:
        resolve(tmp_path)
    assert "--deb" in caught.value.hint
