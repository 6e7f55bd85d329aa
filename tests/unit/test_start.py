"""What a command loads before it does anything: a tenth of a second is a lot beside a conversion."""

from __future__ import annotations

import subprocess
import sys

LOADED = "import sys; import gns3_minivm.cli.run, gns3_minivm.ops.disk; print(*sys.modules)"


def test_converting_loads_neither_models_nor_formats_before_the_source_is_asked() -> None:
    output = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True).stdout
    loaded = set(output.split())
    assert "gns3_minivm.convert.pipeline" in loaded
    for late in ("pydantic", "aiohttp", "docker", "requests", "zstandard", "rich", "yaml"):
        assert late not in loaded, late
    assert not [name for name in loaded if name.startswith(("gns3_minivm.formats", "gns3_minivm.bundle"))]
