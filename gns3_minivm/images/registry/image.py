"""Images that a registry has; no Docker engine is needed.

A name without a host does not say its registry; the user does, by an option (RegistryOptions) or in registries.conf.
There, a name of one part is looked for as it is and then below ``library/``, by Docker's convention.  By the same
convention a host may be a mere name: if it turns out not to be a registry, ``index.HOST`` is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ImageError, ImageNotFoundError, MiniVMError, RegistryError, UsageError
from gns3_minivm.base.pump import abandonable
from gns3_minivm.images.model import Image, ImageInfo, Layer, SourceDigest
from gns3_minivm.images.oci import guest_config, short_name
from gns3_minivm.images.registry.fetching import fetch_layers
from gns3_minivm.images.registry.manifests import Blobs, OciImage, read_image
from gns3_minivm.images.registry.options import RegistryOptions
from gns3_minivm.images.registry.reference import Reference, parse_place, parse_reference
from gns3_minivm.images.registry.registries_conf import RegistriesConf, read_registries_conf

if TYPE_CHECKING:
    from gns3_minivm.images.registry.client import Repository
    from gns3_minivm.images.registry.credentials import Credentials

_OFFICIAL = "library"
_INDEX = "index."
NO_REGISTRY_HINT = (
    "Write the registry into the name (docker://HOST/NAME), or set one for all such names with --registry HOST, "
    "GNS3_MINIVM_REGISTRY, or in registries.conf."
)


class OciSourceImage(Image):
    """An image of which manifest and configuration have been read, and whose blobs can be, from the first of ``places``
    that has them.
    """

    def __init__(
        self, info: ImageInfo, image: OciImage, places: Sequence[Blobs], source_digest: SourceDigest | None = None
    ) -> None:
        self.info = info
        self._image = image
        self._places = places
        self._source_digest = source_digest

    @property
    def source_digest(self) -> SourceDigest:
        return self._source_digest or super().source_digest

    def fetch(self, spool: Path, progress: Callable[[int], None]) -> list[Layer]:
        return fetch_layers(self._image, self._places, spool, progress)


def oci_info(reference: str, image: OciImage, name: str, version: str) -> ImageInfo:
    """What is known about an image after its configuration has been read."""
    return ImageInfo(
        reference=reference,
        name=name,
        version=version,
        architecture=str(image.config.get("architecture") or X86_64.oci),
        diff_ids=image.diff_ids,
        config=guest_config(image.config.get("config")),
        size_bytes=sum({layer.digest: layer.size for layer in image.layers}.values()) or None,
    )


def find_in_registry(text: str, options: RegistryOptions, environ: Mapping[str, str] | None = None) -> OciSourceImage:
    """Look an image up in its registry, its mirrors first (blocking).

    Raises UsageError, ImageNotFoundError, ArchitectureError, DamagedImageError, RegistryError, and ConfigError or
    ToolError for credentials or settings of the user that cannot be read.
    """
    # Spares their import where no registry is asked.
    from gns3_minivm.images.registry.client import NoRegistryError, Repository

    environ = os.environ if environ is None else environ
    conf = read_registries_conf(environ)
    places = _places(parse_reference(text), options, conf)
    insecure = options.insecure | {parse_place(place)[0] for rule in conf.rules for place in rule.insecure}
    credentials = partial(_credentials, environ=environ)
    repositories = [Repository(place.host, place.path, credentials, insecure) for place in places]
    failures: list[MiniVMError] = []
    # The lists grow while they are gone through: what a host stands for is known only when it has answered.
    for number, (place, repository) in enumerate(zip(places, repositories, strict=False)):
        try:
            image, digest = abandonable(_look_up, text, repository, place.target)
            meant = _without_mirrors(parse_reference(text), place, options, conf)
            found = SourceDigest(digest, f"{meant.host}/{meant.path}")
            # A mirror may have the manifest but not all that it names.
            return OciSourceImage(oci_info(text, image, *short_name(text)), image, repositories[number:], found)
        except (ImageNotFoundError, RegistryError, ImageError) as error:
            failures.append(error)
            if isinstance(error, NoRegistryError):
                more = _index_places(place)
                places += more
                repositories += [Repository(one.host, one.path, credentials, insecure) for one in more]
    # The last place is the registry itself (or the plain name's second form), and its words count most; but what is
    # denied or damaged in one place and not found in another is there.
    last = next((error for error in reversed(failures) if not isinstance(error, ImageNotFoundError)), failures[-1])
    others = list(dict.fromkeys(error.message for error in failures if error.message != last.message))
    before = f" (also: {'; '.join(others)})" if others else ""
    raise type(last)(f"{last.message}{before}", hint=last.hint) from last


def has_registry(name: str, options: RegistryOptions, environ: Mapping[str, str] | None = None) -> bool:
    """Whether there is a registry to ask for a name as the user has written it.  Raises ConfigError."""
    try:
        reference = parse_reference(name)
    except UsageError:
        return False  # an image ID, or no name at all
    if reference.host or options.default:
        return True
    conf = read_registries_conf(os.environ if environ is None else environ)
    return reference.path in conf.aliases or bool(conf.search)


def _places(reference: Reference, options: RegistryOptions, conf: RegistriesConf) -> list[Reference]:
    if reference.host:
        return _places_of_host(reference, options, conf)
    if not options.default and (alias := conf.aliases.get(reference.path)):
        host, path = parse_place(alias)
        return _places_of_host(reference.at(host, path), options, conf)
    places = [place for one in _candidates(reference, options, conf) for place in _places_of_host(one, options, conf)]
    if not places:
        raise ImageNotFoundError(f"the name {str(reference)!r} has no registry in it", hint=NO_REGISTRY_HINT)
    return places


def _candidates(reference: Reference, options: RegistryOptions, conf: RegistriesConf) -> list[Reference]:
    """What a name without a host may mean."""
    found = []
    for base in (options.default,) if options.default else conf.search:
        host, path = parse_place(base)
        found += [reference.at(host, _join(path, reference.path)), *_official(reference, host, path)]
    return found


def _without_mirrors(
    reference: Reference, place: Reference, options: RegistryOptions, conf: RegistriesConf
) -> Reference:
    """The registry's own name of an image that was found at ``place``: other users need not have the mirror."""
    if reference.host:
        return reference
    meant = (one for one in _candidates(reference, options, conf) if place in _places_of_host(one, options, conf))
    return next(meant, place)


def _places_of_host(reference: Reference, options: RegistryOptions, conf: RegistriesConf) -> list[Reference]:
    mirrors = [_join(place, reference.path) for place in options.mirrors.get(reference.host, ())]
    name = f"{reference.host}/{reference.path}"
    rule = conf.rule_for(name)
    if rule and rule.blocked:
        raise RegistryError(
            f"{rule.prefix} is blocked by the user's registries.conf",
            hint="Remove `blocked` there, or use another registry.",
        )
    names = [*mirrors, *(rule.rewritten(name) if rule else (name,))]
    return [reference.at(*parse_place(one)) for one in names]


def _official(reference: Reference, host: str, path: str = "") -> list[Reference]:
    return [] if "/" in reference.path else [reference.at(host, _join(path, _OFFICIAL, reference.path))]


def _index_places(place: Reference) -> list[Reference]:
    """Where the images are if a host is not a registry itself."""
    if ":" in place.host or "." not in place.host or place.host.startswith(_INDEX):
        return []
    host = _INDEX + place.host
    return [place.at(host, place.path), *_official(place, host)]


def _credentials(place: str, environ: Mapping[str, str]) -> Credentials | None:
    from gns3_minivm.images.registry.credentials import find_credentials

    found = find_credentials(place, environ)
    if found is None and place.startswith(_INDEX):
        found = find_credentials(place.removeprefix(_INDEX), environ)
    return found


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _look_up(text: str, repository: Repository, target: str) -> tuple[OciImage, str]:
    top = repository.manifest(target)
    return read_image(text, repository, top), top.digest
