"""What a command loads before it does anything: a tenth of a second is a lot beside a conversion."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

LOADED = (
    "import sys; import gns3_minivm.cli.frame.run, gns3_minivm.cli.images, gns3_minivm.ops.disk; print(*sys.modules)"
)


def modules_loaded() -> set[str]:
    return set(
        subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True).stdout.split()
    )


def test_converting_loads_neither_models_nor_formats_before_the_source_is_asked() -> None:
    loaded = modules_loaded()
    assert "gns3_minivm.convert.pipeline" in loaded
    for late in ("pydantic", "aiohttp", "docker", "requests", "zstandard", "rich", "yaml", "configparser"):
        assert late not in loaded, late
    assert not [name for name in loaded if name.startswith(("gns3_minivm.formats", "gns3_minivm.bundle"))]


def test_other_commands_and_other_sources_are_not_loaded() -> None:
    loaded = modules_loaded()
    commands = {"labs", "gns3a", "sync", "project", "servers", "kernels", "doctor"}
    sources = {"registry.client", "registry.image", "registry.registries_conf", "registry.fetching", "engine.build"}
    sources |= {"files.docker_archive", "files.oci_layout", "files.rootfs"}
    late = {f"gns3_minivm.cli.{name}" for name in commands} | {f"gns3_minivm.images.{name}" for name in sources}
    assert not [name for name in late if importlib.util.find_spec(name) is None]
    assert not late & loaded
