"""Images that a Docker engine holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import EngineError
from gns3_minivm.images.engine.client import Engine
from gns3_minivm.images.engine.store import OutOfReachError, copy_layers, layer_folders
from gns3_minivm.images.model import Image, ImageInfo, Layer, SourceDigest
from gns3_minivm.images.oci import check_diff_ids, check_platform, guest_config, short_name
from gns3_minivm.images.registry.reference import Reference, is_reference, parse_reference

_IMAGE_ID = re.compile(r"(sha256:)?[0-9a-f]{4,64}")


class EngineImage(Image):
    """An image in an engine, pinned by its ID: what a tag means may change while it is read."""

    def __init__(
        self,
        engine: Engine,
        info: ImageInfo,
        image_id: str,
        names: Sequence[str] = (),
        folders: Sequence[Path] = (),
    ) -> None:
        self.info = info
        self.image_id = image_id
        self._engine = engine
        self._names = names
        self.folders = folders
        """The layers' places on this machine, if known."""

    @property
    def source_digest(self) -> SourceDigest:
        """By the name under which the engine says that a registry has it.

        Engines with containerd's store say so of what they have built, too; of our own builds that is never true.
        """
        from gns3_minivm.images.engine.build import REPOSITORY

        reference = self.info.reference
        own = parse_reference(reference).path if is_reference(reference) else ""
        names = [parse_reference(name) for name in self._names if is_reference(name)]
        for name in sorted(names, key=lambda name: (not own.endswith(name.path), str(name))):
            is_build = not name.host and name.path.startswith(f"{REPOSITORY}/")
            if name.digest and not is_build and (place := self._with_host(name)):
                return SourceDigest(name.digest, place)
        return SourceDigest(self.image_id)

    def _with_host(self, name: Reference) -> str:
        if name.host:
            return f"{name.host}/{name.path}"
        try:
            host = self._engine.default_registry()
        except EngineError:
            return ""
        # What the engine calls its index is, by Docker's convention, the name index.HOST of the registry HOST.
        host = host.removeprefix("index.")
        return f"{host}/{name.path}" if host else ""

    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        if self.folders:
            read = 0

            def count(amount: int) -> None:
                nonlocal read
                read += amount
                progress(amount)

            try:
                return copy_layers(self.folders, self.info.diff_ids, spool, count)
            except OutOfReachError:
                progress(-read)  # all anew
        with closing(self._engine.save(self.image_id)) as pieces:
            # Brings the reader of tar archives with it, which an image that is in the cache already does not need.
            from gns3_minivm.images.files.archive import spool_layers

            return spool_layers(pieces, self.info.diff_ids, spool, progress)


def find_image(engine: Engine, reference: str, *, name: str = "", version: str = "") -> EngineImage:
    """Look an image up in the engine; ``name`` and ``version`` replace those of the reference.

    Raises ImageNotFoundError, ArchitectureError, DamagedImageError, EngineError.
    """
    found = engine.inspect(reference)
    check_platform(reference, found.get("Os", ""), found.get("Architecture", ""))
    own_name, own_version = _name_of(reference, found)
    info = ImageInfo(
        reference=reference,
        name=name or own_name,
        version=version or own_version,
        architecture=found.get("Architecture") or X86_64.oci,
        diff_ids=check_diff_ids(reference, (found.get("RootFS") or {}).get("Layers")),
        config=guest_config(found.get("Config")),
        size_bytes=found.get("Size") or None,
    )
    names = [str(name) for name in found.get("RepoDigests") or ()]
    folders = layer_folders(found, info.diff_ids) if engine.is_local else []
    return EngineImage(engine, info, found["Id"], names, folders)


def _name_of(reference: str, found: dict[str, Any]) -> tuple[str, str]:
    digits = found["Id"].rpartition(":")[2]
    tags = [tag for tag in found.get("RepoTags") or () if tag != "<none>:<none>"]
    by_id = _IMAGE_ID.fullmatch(reference) and digits.startswith(reference.removeprefix("sha256:"))
    if not by_id or f"{reference}:latest" in tags:
        return short_name(reference)
    # Named by its ID: a tag of the image says more, and the ID's start tells versions apart.
    return short_name(tags[0] if tags else "image")[0], digits[:12]
