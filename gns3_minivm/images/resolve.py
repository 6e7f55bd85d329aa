"""Finds the image that a name means.

A bare name is looked for among the appliances, then in the Docker engine, then in a registry: the one in the name, or
the one that the user has named for names without.  With a transport before it, as skopeo and podman write it
(containers-transports(5)), a name means an image of that kind only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gns3_minivm.base.errors import EngineError, ImageNotFoundError, RegistryError, UsageError
from gns3_minivm.base.events import Events
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images.engine.client import BuildOptions, Engine
from gns3_minivm.images.engine.image import find_image
from gns3_minivm.images.model import Image
from gns3_minivm.images.oci import short_name
from gns3_minivm.images.registry.options import RegistryOptions
from gns3_minivm.images.registry.reference import is_reference

if TYPE_CHECKING:
    from gns3_minivm.appliances import Appliance, Appliances
    from gns3_minivm.images.engine.build import Build

ENGINE_SCHEME = "docker-daemon"
REGISTRY_SCHEME = "docker"


def _oci_folder(place: str) -> Image:
    from gns3_minivm.images.files.oci_layout import find_in_folder

    return find_in_folder(place)


def _oci_archive(place: str) -> Image:
    from gns3_minivm.images.files.oci_layout import find_in_oci_archive

    return find_in_oci_archive(place)


def _docker_archive(place: str) -> Image:
    from gns3_minivm.images.files.docker_archive import find_in_docker_archive

    return find_in_docker_archive(place)


def _rootfs(place: str) -> Image:
    from gns3_minivm.images.files.rootfs import find_rootfs

    return find_rootfs(place)


# A module is loaded when its function is called.
FILE_SCHEMES: dict[str, Callable[[str], Image]] = {
    "oci": _oci_folder,
    "oci-archive": _oci_archive,
    "docker-archive": _docker_archive,
    "rootfs": _rootfs,
}
# More transports of skopeo and podman: a user who knows them writes them, and no registry image is named like them.
OTHER_SCHEMES = frozenset(("containers-storage", "dir", "http", "https", "ostree", "sif"))
EMBEDDED_ROOT = "root"
DEFAULT_COMMAND = ("/bin/sh", "-l")


def build_now(engine: Engine, build: Build, options: BuildOptions, events: Events) -> str:
    """``build_image``, loaded when there is something to build."""
    from gns3_minivm.images.engine.build import build_image

    return build_image(engine, build, options, events)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where images are looked for; what can be called is called only when it is needed."""

    appliances: Callable[[], Appliances]
    connect: Callable[[], Engine]
    busybox: Callable[[], bytes]
    """The kernel bundle's busybox, for embedded roots."""
    registries: RegistryOptions = field(default_factory=RegistryOptions)
    build: BuildOptions = field(default_factory=BuildOptions)
    make: Callable[[Engine, Build, BuildOptions, Events], str] = build_now
    """Builds a Dockerfile's context and returns the image's tag."""


@dataclass(frozen=True)
class Resolved:
    """What a name means; ``appliance`` is None for an image that is not an appliance."""

    image: Image
    appliance: Appliance | None


def resolve(name: str, sources: Sources, events: Events) -> Resolved:
    """Find an image by name, building an appliance where needed (blocking).

    Raises UsageError, ImageNotFoundError, ArchitectureError, DamagedImageError, EngineError, RegistryError, BuildError,
    ConfigError.
    """
    scheme, rest = split_scheme(name)
    if scheme == ENGINE_SCHEME:
        return Resolved(find_image(sources.connect(), rest), None)
    if scheme == REGISTRY_SCHEME:
        from gns3_minivm.images.registry.image import find_in_registry

        return Resolved(find_in_registry(rest, _with_default(rest, sources)), None)
    if scheme in FILE_SCHEMES:
        return Resolved(FILE_SCHEMES[scheme](rest), None)
    appliance = sources.appliances().find(name)
    if appliance is not None:
        return Resolved(_appliance_image(appliance, sources, events), appliance)
    return Resolved(_bare_image(name, sources), None)


def split_scheme(name: str) -> tuple[str, str]:
    """Split ``SCHEME:NAME``; the scheme is empty for a bare name.  Raises UsageError for what is not supported."""
    scheme, colon, rest = name.partition(":")
    ours = scheme == ENGINE_SCHEME or scheme in FILE_SCHEMES or (scheme == REGISTRY_SCHEME and rest.startswith("//"))
    # A registry's image may be named "docker" and have a tag; the other transports are no likely names.
    if scheme == REGISTRY_SCHEME and ours:
        rest = rest.removeprefix("//")
    known = ours or scheme in OTHER_SCHEMES
    if not name.strip() or (known and colon and not rest):
        raise UsageError(
            f"{name!r} does not name an image", hint="Name an appliance or an image, such as debian-minivm."
        )
    if colon and not ours and (rest.startswith("//") or scheme in OTHER_SCHEMES):
        all_ours = ", ".join(f"{one}:" for one in (ENGINE_SCHEME, *FILE_SCHEMES))
        raise UsageError(
            f"images cannot be read from {scheme}: ({shown(name)!r})",
            hint=f"A name is an appliance, an image of the Docker engine or of a registry, or starts with {all_ours} "
            f"or {REGISTRY_SCHEME}://.",
        )
    return (scheme, rest) if colon and ours else ("", name)


def shown(name: str) -> str:
    """A name for messages, without a password that somebody may have written into it."""
    before, slashes, rest = name.partition("//")
    login, at, place = rest.partition("@")
    return f"{before}//...@{place}" if slashes and at and ":" in login and "/" not in login else name


def _appliance_image(appliance: Appliance, sources: Sources, events: Events) -> Image:
    name, version = appliance.name, appliance.version
    if appliance.embedded:
        # Brings the writer of tar files with it.
        from gns3_minivm.images.embedded import EmbeddedImage

        config = GuestConfig(cmd=appliance.cmd or DEFAULT_COMMAND)
        root = appliance.folder / EMBEDDED_ROOT
        return EmbeddedImage(sources.busybox(), root, name=name, version=version, config=config)
    engine = sources.connect()
    reference = appliance.image
    if not reference:
        from gns3_minivm.images.engine.build import Build

        reference = sources.make(engine, Build(name, appliance.folder), sources.build, events)
    return find_image(engine, reference, name=name, version=version)


def _bare_image(name: str, sources: Sources) -> Image:
    """An image of the engine, else of a registry."""
    try:
        return _engine_image(name, sources)
    except (EngineError, ImageNotFoundError) as error:
        from gns3_minivm.images.registry.image import find_in_registry, has_registry

        registries = _with_default(name, sources)
        if not has_registry(name, registries):
            raise
        try:
            return find_in_registry(name, registries)
        except (ImageNotFoundError, RegistryError) as refusal:
            raise type(refusal)(f"{error.message}; {refusal.message}", hint=error.hint) from refusal


def _with_default(name: str, sources: Sources) -> RegistryOptions:
    """The options; with the engine's own default where neither the name nor the user says a registry."""
    from gns3_minivm.images.registry.image import has_registry

    if has_registry(name, sources.registries) or not is_reference(name):
        return sources.registries
    try:
        place = sources.connect().default_registry()
    except EngineError:
        return sources.registries
    return replace(sources.registries, default=place)


def _engine_image(name: str, sources: Sources) -> Image:
    import difflib

    close = difflib.get_close_matches(name, sources.appliances().names(), n=3, cutoff=0.75)
    try:
        engine = sources.connect()
    except EngineError as error:
        meant = f"Did you mean {' or '.join(close)}? " if close else ""
        raise EngineError(
            f"{name!r} is not an appliance, and the Docker engine cannot be reached: {error.message}",
            hint=f"{meant}{error.hint} Without an engine, docker://HOST/NAME gets an image from a registry, and "
            "--registry HOST looks for plain names there.",
        ) from error
    try:
        return find_image(engine, name)
    except ImageNotFoundError as error:
        images = engine.image_names()
        candidates = {tag: tag for tag in images} | {short_name(tag)[0]: tag for tag in images}
        near = [candidates[match] for match in difflib.get_close_matches(name, list(candidates), n=3, cutoff=0.75)]
        close = list(dict.fromkeys([*close, *near]))
        meant = f"Did you mean {' or '.join(close)}? " if close else ""
        known = ", ".join(sources.appliances().names()) or "none"
        raise ImageNotFoundError(
            f"{name!r} is neither an appliance nor an image of the Docker engine at {engine}",
            hint=f"{meant}Appliances: {known}. `docker pull {name}` gets an image from a registry; "
            "docker://HOST/NAME gets one without the engine, and --registry HOST looks for plain names there.",
        ) from error
