"""``kernel list`` says where the distribution has a newer kernel; apt is a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.bundle.model import Bundle, PackageRecord
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels import newer as kernel_news
from gns3_minivm.ops.kernels.newer import newer_kernels
from gns3_minivm.settings import Settings
from tests.support.blobs import random_artifact

APT = r"""#!/bin/sh
for word; do last=$word; done
case $last in
linux-source | linux-source=*) echo 'Package: linux-source
Version: 6.1.6-1
Architecture: all
Depends: linux-source-6.1 (= 6.1.6-1)
SHA256: 00
' ;;
linux-source-6.1=6.1.6-1) echo 'Package: linux-source-6.1
Version: 6.1.6-1
Architecture: all
SHA256: 00
' ;;
update) echo 'W: one of the servers is asleep' ;;
*) exit 100 ;;
esac
"""


@pytest.fixture(autouse=True)
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("apt-get", "apt-cache"):
        (folder / name).write_text(APT)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def bundle(folder: Path, version: str, flavour: str = "monolithic") -> Bundle:
    record = PackageRecord(
        name="linux-source-6.1",
        version=version,
        architecture="all",
        source=f"linux {version}",
        filename="x.deb",
        sha256="00",
        size_bytes=1,
    )
    return Bundle(
        id="0" * 64,
        flavour=flavour,
        kernel_version=f"{version}-monolithic",
        architecture="amd64",
        kernel=random_artifact(folder),
        initrd=None,
        modules=None,
        packages=(record,),
        made_by={},
        folder=folder,
    )


async def test_a_newer_source_is_told_for_the_newest_bundle_of_a_flavour(tmp_path: Path) -> None:
    settings = Settings(cache_root=tmp_path / "cache")
    old, new = bundle(tmp_path, "6.1.5-2"), bundle(tmp_path, "6.1.6-1")
    (newer,) = await newer_kernels([old], RunContext(settings=settings))
    assert newer.as_dict() == {
        "flavour": "monolithic",
        "packages": [{"name": "linux-source-6.1", "version": "6.1.6-1"}],
    }
    assert await newer_kernels([new, old], RunContext(settings=settings)) == []


async def test_a_source_that_lags_behind_the_bundle_is_not_newer(tmp_path: Path) -> None:
    settings = Settings(cache_root=tmp_path / "cache")
    for version in ("6.1.10-1", "6.1.6-2", "6.1.6-1+b1", "6.12.1-1~bpo12+1"):
        assert await newer_kernels([bundle(tmp_path, version)], RunContext(settings=settings)) == []
    (newer,) = await newer_kernels([bundle(tmp_path, "6.1.6-1~deb12u1")], RunContext(settings=settings))
    assert newer.text == "linux-source-6.1 6.1.6-1"


async def test_what_apt_cannot_say_is_a_warning(tmp_path: Path) -> None:
    seen: list[Event] = []
    bundles = [bundle(tmp_path, "6.1.6-1"), bundle(tmp_path, "6.1.5-1", "debian")]
    assert (
        await newer_kernels(
            bundles, RunContext(settings=Settings(cache_root=tmp_path / "cache"), events=Events(seen.append))
        )
        == []
    )
    notes = [event.message for event in seen if isinstance(event, Note)]
    assert any("apt offers no kernel for virtual machines" in note for note in notes)
    assert any("one of the servers is asleep" in note for note in notes)


async def test_without_an_apt_or_a_bundle_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(cache_root=tmp_path / "cache")
    assert await newer_kernels([], RunContext(settings=settings)) == []
    assert await newer_kernels([bundle(tmp_path, "6.1.5-2", "custom")], RunContext(settings=settings)) == []
    monkeypatch.setattr(kernel_news, "has_apt", lambda: False)
    assert await newer_kernels([bundle(tmp_path, "6.1.5-2")], RunContext(settings=settings)) == []
