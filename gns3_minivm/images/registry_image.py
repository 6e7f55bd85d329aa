"""Images that a registry has; no Docker engine is needed.

A name without a host has no registry of its own: which one is meant, the user says (RegistryOptions).  There, a name of
one part is looked for as it is and then below ``library/``, as Docker's convention has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gns3_minivm.cancel import abandonable
from gns3_minivm.errors import ImageNotFoundError, MiniVMError, RegistryError, UsageError
from gns3_minivm.images.fetching import fetch_layers
from gns3_minivm.images.manifests import Blobs, OciImage, read_image
from gns3_minivm.images.model import Image, ImageInfo, Layer
from gns3_minivm.images.oci import ARCHITECTURE, guest_config, short_name
from gns3_minivm.images.reference import Reference, parse_place, parse_reference

_OFFICIAL = "library"
NO_REGISTRY_HINT = (
    "Write the registry into the name (docker://HOST/NAME), or name one for all such names with --registry HOST or "
    "GNS3_MINIVM_REGISTRY."
)


@dataclass(frozen=True)
class RegistryOptions:
    """Which registries are asked, and how; places are ``HOST[:PORT][/PATH]``."""

    default: str = ""
    """Where names without a host are looked for."""
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Places that are asked before a host."""
    insecure: frozenset[str] = frozenset()
    """Hosts (with ports) that may use http or any certificate."""

    @classmethod
    def parse(cls, default: str, mirrors: tuple[str, ...], insecure: tuple[str, ...]) -> RegistryOptions:
        """From the user's words; a mirror is written ``HOST=PLACE``.  Raises UsageError."""
        found: dict[str, tuple[str, ...]] = {}
        for word in mirrors:
            host, equals, place = word.partition("=")
            if not equals:
                raise UsageError(
                    f"the mirror {word!r} is not written HOST=MIRROR", hint="Such as a.example=b.example:5000."
                )
            parse_place(place)
            key = parse_place(host)[0]
            found[key] = (*found.get(key, ()), place)
        if default:
            parse_place(default)
        return cls(default, found, frozenset(parse_place(host)[0] for host in insecure))


class OciSourceImage(Image):
    """An image of which manifest and configuration have been read, and whose blobs can be."""

    def __init__(self, info: ImageInfo, image: OciImage, blobs: Blobs) -> None:
        self.info = info
        self._image = image
        self._blobs = blobs

    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        return fetch_layers(self._image, self._blobs, spool, progress)


def oci_info(reference: str, image: OciImage, name: str, version: str) -> ImageInfo:
    """What is known of an image after its configuration has been read."""
    return ImageInfo(
        reference=reference,
        name=name,
        version=version,
        architecture=str(image.config.get("architecture") or ARCHITECTURE),
        diff_ids=image.diff_ids,
        config=guest_config(image.config.get("config")),
        size_bytes=sum({layer.digest: layer.size for layer in image.layers}.values()) or None,
    )


def find_in_registry(text: str, options: RegistryOptions, environ: Mapping[str, str] | None = None) -> OciSourceImage:
    """Look an image up in its registry, its mirrors first (blocking).

    Raises UsageError, ImageNotFoundError, ArchitectureError, DamagedImageError, RegistryError, and ConfigError or
    ToolError for credentials that cannot be had.
    """
    reference = parse_reference(text)
    failures: list[MiniVMError] = []
    for place in _places(reference, options):
        try:
            return abandonable(_look_up, place, text, options, os.environ if environ is None else environ)
        except (ImageNotFoundError, RegistryError) as error:
            failures.append(error)
    # The last place is the registry itself (or the plain name's second form): its words count most, but a name that is
    # denied in one form and not found in the other is mostly denied.
    last = next((error for error in failures if isinstance(error, RegistryError)), failures[-1])
    others = [error.message for error in failures if error is not last]
    before = f" (also: {'; '.join(others)})" if others else ""
    raise type(last)(f"{last.message}{before}", hint=last.hint)


def _places(reference: Reference, options: RegistryOptions) -> list[Reference]:
    if reference.host:
        mirrors = [parse_place(place) for place in options.mirrors.get(reference.host, ())]
        return [*(reference.at(host, _join(path, reference.path)) for host, path in mirrors), reference]
    if not options.default:
        raise ImageNotFoundError(f"the name {str(reference)!r} says no registry", hint=NO_REGISTRY_HINT)
    host, path = parse_place(options.default)
    found = [reference.at(host, _join(path, reference.path))]
    if "/" not in reference.path:
        found.append(reference.at(host, _join(path, _OFFICIAL, reference.path)))
    return [place for one in found for place in _places(one, options)]


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _look_up(place: Reference, text: str, options: RegistryOptions, environ: Mapping[str, str]) -> OciSourceImage:
    # Spares their import where no registry is asked.
    from gns3_minivm.images.credentials import find_credentials
    from gns3_minivm.images.registry import Repository

    repository = Repository(place.host, place.path, partial(find_credentials, environ=environ), options.insecure)
    image = read_image(text, repository, repository.manifest(place.target))
    return OciSourceImage(oci_info(text, image, *short_name(text)), image, repository)
