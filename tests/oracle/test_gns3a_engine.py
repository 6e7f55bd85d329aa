"""An appliance file whose image only a Docker engine has: another cache makes the same disk again from that engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.gns3a.read import read_gns3a
from gns3_minivm.ops.context import ImageSettings, RunContext
from gns3_minivm.ops.gns3a.export import ExportRequest, export_appliances
from gns3_minivm.ops.gns3a.images import ImageFinder
from gns3_minivm.settings import Settings
from tests.support.bundles import put_bundle

pytestmark = pytest.mark.long


async def test_the_image_is_found_by_its_digest_and_gives_the_checksum_of_the_file(
    docker_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    put_bundle(Cache(tmp_path / "cache"))
    request = ExportRequest(names=("debian:bookworm-slim",), folder=tmp_path / "out", template_name="vm")
    result = await export_appliances(
        request, RunContext(settings=Settings(cache_root=tmp_path / "cache"), image=ImageSettings(size="512M"))
    )
    path = result.appliances[0].path
    appliance = read_gns3a(path)
    [disk] = [image for image in appliance.images if image.filename.startswith("vm-")]
    (tmp_path / "out" / disk.filename).unlink()
    finder = ImageFinder(path, appliance, (), RunContext(settings=Settings(cache_root=tmp_path / "other")))
    try:
        obtained = await finder.obtain(disk)
    finally:
        await finder.close()
    assert obtained is not None
    place, artifact = obtained
    assert place.label.startswith("made again from docker-daemon:")
    assert (artifact.md5, artifact.size_bytes) == (disk.md5sum, disk.filesize)
