"""Finds the image that a name means.

A bare name is looked for among the appliances, then in the Docker engine.  ``docker-daemon:NAME[:TAG]`` means the
engine's image even where an appliance has the same name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gns3_minivm.errors import EngineError, ImageNotFoundError, UsageError
from gns3_minivm.events import Events
from gns3_minivm.guest import GuestConfig
from gns3_minivm.images.build import Build, build_image
from gns3_minivm.images.embedded import EmbeddedImage
from gns3_minivm.images.engine import BuildOptions, Engine
from gns3_minivm.images.engine_image import find_image
from gns3_minivm.images.model import Image
from gns3_minivm.images.oci import short_name

if TYPE_CHECKING:
    from gns3_minivm.catalog import Appliance, Catalog

ENGINE_SCHEME = "docker-daemon"
# The transports of skopeo and podman: a user who knows them writes them, and no registry image is named like them.
OTHER_SCHEMES = frozenset(
    ("containers-storage", "dir", "docker", "docker-archive", "http", "https", "oci", "oci-archive", "ostree", "sif")
)
EMBEDDED_ROOT = "root"
DEFAULT_COMMAND = ("/bin/sh", "-l")


@dataclass(frozen=True)
class Sources:
    """Where images are looked for.  ``connect`` and ``busybox`` are called only when they are needed."""

    catalog: Catalog
    connect: Callable[[], Engine]
    busybox: Callable[[], bytes]
    """The kernel bundle's busybox, for embedded roots."""
    build: BuildOptions = field(default_factory=BuildOptions)
    make: Callable[[Engine, Build, BuildOptions, Events], str] = build_image
    """Builds a Dockerfile's context and returns the image's tag."""


@dataclass(frozen=True)
class Resolved:
    """What a name means; ``appliance`` is None for an image that is not one."""

    image: Image
    appliance: Appliance | None


def resolve(name: str, sources: Sources, events: Events) -> Resolved:
    """Find an image by name, building an appliance where needed (blocking).

    Raises UsageError, ImageNotFoundError, ArchitectureError, EngineError, BuildError, ConfigError.
    """
    scheme, rest = split_scheme(name)
    if scheme == ENGINE_SCHEME:
        return Resolved(find_image(sources.connect(), rest), None)
    appliance = sources.catalog.find(name)
    if appliance is not None:
        return Resolved(_appliance_image(appliance, sources, events), appliance)
    return Resolved(_engine_image(name, sources), None)


def split_scheme(name: str) -> tuple[str, str]:
    """Split ``SCHEME:NAME``; the scheme is empty for a bare name.  Raises UsageError for what is not supported."""
    scheme, colon, rest = name.partition(":")
    known = scheme in OTHER_SCHEMES or scheme == ENGINE_SCHEME
    if not name.strip() or (known and colon and not rest):
        raise UsageError(f"{name!r} names no image", hint="Name an appliance or an image, such as debian-minivm.")
    if colon and (rest.startswith("//") or scheme in OTHER_SCHEMES):
        raise UsageError(
            f"images cannot be taken from {scheme}: ({name!r})",
            hint=f"A name is an appliance, an image of the Docker engine, or {ENGINE_SCHEME}:NAME[:TAG] for the latter.",
        )
    return (scheme, rest) if colon and scheme == ENGINE_SCHEME else ("", name)


def _appliance_image(appliance: Appliance, sources: Sources, events: Events) -> Image:
    name, version = appliance.name, appliance.version
    if appliance.embedded:
        config = GuestConfig(cmd=appliance.cmd or DEFAULT_COMMAND)
        root = appliance.folder / EMBEDDED_ROOT
        return EmbeddedImage(sources.busybox(), root, name=name, version=version, config=config)
    engine = sources.connect()
    reference = appliance.image or sources.make(engine, Build(name, appliance.folder), sources.build, events)
    return find_image(engine, reference, name=name, version=version)


def _engine_image(name: str, sources: Sources) -> Image:
    close = difflib.get_close_matches(name, sources.catalog.names(), n=3, cutoff=0.75)
    try:
        engine = sources.connect()
    except EngineError as error:
        meant = f"Did you mean {' or '.join(close)}? " if close else ""
        raise EngineError(
            f"{name!r} is no appliance, and the Docker engine cannot be asked: {error.message}",
            hint=meant + error.hint,
        ) from error
    try:
        return find_image(engine, name)
    except ImageNotFoundError as error:
        images = engine.image_names()
        candidates = {tag: tag for tag in images} | {short_name(tag)[0]: tag for tag in images}
        near = [candidates[match] for match in difflib.get_close_matches(name, list(candidates), n=3, cutoff=0.75)]
        close = list(dict.fromkeys([*close, *near]))
        meant = f"Did you mean {' or '.join(close)}? " if close else ""
        known = ", ".join(sources.catalog.names()) or "none"
        raise ImageNotFoundError(
            f"{name!r} is neither an appliance nor an image of the Docker engine at {engine}",
            hint=f"{meant}Appliances: {known}. `docker pull {name}` gets an image from a registry.",
        ) from error
