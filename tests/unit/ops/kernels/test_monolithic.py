"""Where the monolithic kernel is compiled: here, in the container that was named, or in one if tools are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.base.errors import EngineError, ToolError
from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.bundle.packages.apt import AptSource
from gns3_minivm.bundle.packages.package_set import DebFiles, PackageSource
from gns3_minivm.bundle.source import monolithic
from gns3_minivm.bundle.source.toolchain import HostTools, Toolchain
from gns3_minivm.ops.kernels import monolithic as kernel_monolithic
from gns3_minivm.ops.kernels.container import CONTAINER_IMAGE, ContainerTools
from gns3_minivm.ops.kernels.monolithic import build_monolithic

Asked = list[tuple[PackageSource | None, Toolchain]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What is asked of the builder, on a machine with apt and all tools."""
    calls: Asked = []

    def build(source: Any, toolchain: Any, *_: Any) -> str:
        calls.append((source, toolchain))
        return "a bundle"

    monkeypatch.setattr(monolithic, "build", build)
    monkeypatch.setattr(kernel_monolithic, "has_apt", lambda: True)
    monkeypatch.setattr(kernel_monolithic, "missing_tools", list)
    return calls


def image_of(toolchain: Toolchain) -> str:
    assert isinstance(toolchain, ContainerTools)
    return toolchain._image


def test_with_all_tools_it_is_compiled_here_from_apts_source(asked: Asked, tmp_path: Path) -> None:
    assert build_monolithic(Cache(tmp_path), Events()) == "a bundle"  # type: ignore[comparison-overlap]
    ((source, toolchain),) = asked
    assert isinstance(source, AptSource) and isinstance(toolchain, HostTools)


def test_a_container_that_is_named_is_taken_and_so_are_packages(asked: Asked, tmp_path: Path) -> None:
    build_monolithic(Cache(tmp_path), Events(), debs=(tmp_path / "x.deb",), container="debian:trixie")
    ((source, toolchain),) = asked
    assert isinstance(source, DebFiles) and image_of(toolchain) == "debian:trixie"


def test_without_the_tools_it_is_a_container_and_without_an_apt_its_source_too(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_monolithic, "has_apt", lambda: False)
    monkeypatch.setattr(kernel_monolithic, "missing_tools", lambda: ["bc", "flex"])
    seen: list[Event] = []
    build_monolithic(Cache(tmp_path), Events(seen.append))
    ((source, toolchain),) = asked
    assert source is None and image_of(toolchain) == CONTAINER_IMAGE
    assert [event.message for event in seen if isinstance(event, Note)] == [
        "this machine lacks bc, flex, so the kernel is compiled in a container"
    ]


def test_without_tools_and_engine_the_error_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise EngineError("no Docker engine answers")

    monkeypatch.setattr(monolithic, "build", refuse)
    monkeypatch.setattr(kernel_monolithic, "missing_tools", lambda: ["bc", "flex"])
    with pytest.raises(ToolError, match=r"\(bc, flex\), and no container is available: no Docker engine") as caught:
        build_monolithic(Cache(tmp_path), Events())
    assert "sudo apt install bc flex" in caught.value.hint and "pip install gns3-minivm-kernel" in caught.value.hint
