"""What building a disk starts from: the kernel bundle, the appliances, the Docker engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gns3_minivm.artifacts import Artifact
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.cache import Cache
from gns3_minivm.cancel import run_blocking
from gns3_minivm.catalog import Catalog
from gns3_minivm.config import Settings
from gns3_minivm.convert.options import Compression, DiskOptions, parse_size
from gns3_minivm.convert.pipeline import convert
from gns3_minivm.convert.recipe import DiskRecipe
from gns3_minivm.events import Events
from gns3_minivm.images.engine import BuildOptions, Engine, connect_engine
from gns3_minivm.images.resolve import Resolved, Sources, resolve
from gns3_minivm.ops.kernel import bundle_at_hand


@dataclass(frozen=True)
class ImageSettings:
    """How images are built and converted, as the user says it; ``size`` as in "8G"."""

    size: str | None = None
    compression: Compression = "zstd"
    rebuild: bool = False
    build_network: str | None = None

    @property
    def disk(self) -> DiskOptions:
        """Raises UsageError for a size that is none."""
        plain = DiskOptions(compression=self.compression)
        return plain if self.size is None else DiskOptions(parse_size(self.size), self.compression)

    @property
    def build(self) -> BuildOptions:
        return BuildOptions(rebuild=self.rebuild, network=self.build_network)


@dataclass(frozen=True)
class Source:
    """An image that has been found, and the recipe of its disk."""

    resolved: Resolved
    recipe: DiskRecipe


class Workshop:
    """Finds images and makes their disks; one for each operation."""

    def __init__(
        self, settings: Settings, image: ImageSettings, events: Events, *, debs: tuple[Path, ...] = ()
    ) -> None:
        self._cache = Cache(settings.cache_root)
        self._image = image
        self._disk = image.disk
        self._events = events
        self._debs = debs
        self._bundle: Bundle | None = None
        self._engine: Engine | None = None
        self._sources = Sources(Catalog(), self._connect, self._busybox, image.build)

    async def bundle(self) -> Bundle:
        """The kernel bundle, made now if there is none."""
        return await run_blocking(self._bundle_now)

    async def find(self, name: str) -> Source:
        """Find an image or appliance, building its Dockerfile where needed."""
        resolved = await run_blocking(resolve, name, self._sources, self._events)
        return Source(resolved, DiskRecipe(resolved.image.info, self._disk))

    async def disk(self, source: Source) -> Artifact:
        """The disk of an image, from the cache or converted now."""
        return await run_blocking(convert, source.resolved.image, self._disk, self._cache, self._events)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _bundle_now(self) -> Bundle:
        if self._bundle is None:
            self._bundle = bundle_at_hand(self._cache, self._events, self._debs)
        return self._bundle

    def _busybox(self) -> bytes:
        return self._bundle_now().busybox()

    def _connect(self) -> Engine:
        if self._engine is None:
            self._engine = connect_engine()
        return self._engine
