"""What an image is to the rest of the program, wherever it comes from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gns3_minivm.guest.contract import GuestConfig


@dataclass(frozen=True)
class Layer:
    """One uncompressed layer: ``size`` bytes of tar from ``offset`` on in the file ``path``.

    ``diff_id`` ("sha256:<64 hex>") has been verified against the bytes.
    """

    diff_id: str
    path: Path
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What is known about an image before a byte of its layers is read.

    The identity of an image is its ordered diff IDs and the carried configuration: manifest and config digests differ
    between sources of the same image.
    """

    reference: str
    """As the user named it, or the source's canonical form of that."""
    name: str
    """A short name for files and templates: the last part of the repository name."""
    version: str
    """The tag, or the start of the digest where there is none."""
    architecture: str
    diff_ids: tuple[str, ...]
    config: GuestConfig
    size_bytes: int | None
    """Roughly how many bytes the layers have, for progress; None if the source does not say."""


@dataclass(frozen=True)
class SourceDigest:
    """The digest that says which image was meant: of its manifest where it came from a registry, else its source's own.

    ``repository`` (HOST/PATH) is where anybody can get it by that digest; empty where that is not known.
    """

    digest: str
    repository: str = ""

    @property
    def pinned(self) -> str:
        """A name that will always mean this image, empty if there is none."""
        return f"{self.repository}@{self.digest}" if self.repository else ""


class Image(ABC):
    """A resolved image: its identity is known, its layers can be fetched."""

    info: ImageInfo

    @property
    def source_digest(self) -> SourceDigest:
        """Which image this is, for people and for anyone who makes its disk again."""
        return SourceDigest(chain_id(self.info.diff_ids))

    @abstractmethod
    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        """Bring the layers into the folder ``spool``, base layer first (blocking; call it in a thread).

        A layer that lies unpacked in a file on this machine may stay there.

        ``progress`` is called with the bytes that have arrived since the last call.  Raises EngineError,
        DamagedImageError (a wrong digest or a truncated stream), DiskFullError.
        """

    def confirm(self) -> None:  # noqa: B027  (most images have all that they gave in the spool)
        """Raise DamagedImageError if layers that ``fetch`` left in a file of the user's have changed since."""


def chain_id(diff_ids: Sequence[str]) -> str:
    """The digest of a stack of layers (OCI image-spec, config.md, "Layer ChainID")."""
    chain = ""
    for diff_id in diff_ids:
        chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}" if chain else diff_id
    return chain
