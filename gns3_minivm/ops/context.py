"""The circumstances of an operation, as one value: made at the edge, handed down whole."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from gns3_minivm.base.events import Events
from gns3_minivm.convert.options import Compression, DiskOptions, parse_size
from gns3_minivm.images.engine.client import BuildOptions
from gns3_minivm.images.registry.options import RegistryOptions
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How images are found, built and converted, as the user chose it; ``size`` as in "8G"."""

    size: str | None = None
    compression: Compression = "zstd"
    rebuild: bool = False
    build_network: str | None = None
    registry: str | None = None
    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()

    @property
    def disk(self) -> DiskOptions:
        """Raises UsageError for what is not a size."""
        plain = DiskOptions(compression=self.compression)
        if self.size is None:
            return plain
        return DiskOptions(size_bytes=parse_size(self.size), compression=self.compression)

    @property
    def build(self) -> BuildOptions:
        return BuildOptions(rebuild=self.rebuild, network=self.build_network)

    @property
    def registries(self) -> RegistryOptions:
        """Raises UsageError for what is not the name of a registry."""
        return RegistryOptions.parse(self.registry or "", self.registry_mirrors, self.insecure_registries)


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Everything that an operation needs beside its request.

    ``settings`` say where things are on this machine, ``image`` and ``kernel`` how disks and kernel bundles are made,
    ``events`` who is told of the progress.  In a dry run nothing is made or written.
    """

    settings: Settings = field(default_factory=Settings.from_environment)
    image: ImageSettings = field(default_factory=ImageSettings)
    kernel: KernelChoice = field(default_factory=KernelChoice)
    events: Events = field(default_factory=Events)
    dry_run: bool = False

    def with_image(self, **values: Any) -> Self:
        """The same, with these fields of ``image`` replaced; None leaves a field as it is."""
        given = {name: value for name, value in values.items() if value is not None}
        return replace(self, image=replace(self.image, **given)) if given else self
