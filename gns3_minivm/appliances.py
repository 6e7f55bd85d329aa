"""Reads ``appliances/*/appliance.yaml``: what an appliance is, and what its template on a server looks like.

Each appliance is a folder with the appliance's name.  The manifest says what the template needs; the other files of
the folder are the Docker context (``build: .``) or the files laid over an embedded root (``embedded: busybox``, folder
``root``).  docs/use/appliances.md lists the keys.  Unknown keys are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gns3_minivm.base import resources
from gns3_minivm.base.errors import ConfigError
from gns3_minivm.documents import read_document
from gns3_minivm.template_settings.keys import keys_of
from gns3_minivm.template_settings.table import TemplateSettings, usual

MANIFEST = "appliance.yaml"
SYMBOL = "symbol.svg"
"""The picture of an appliance that brings its own, in its folder."""
_HINT = "docs/use/appliances.md lists the keys and their values."
_SYMBOL_LIMIT_BYTES = 65536
_SVG = "{http://www.w3.org/2000/svg}svg"

NAME_PATTERN = r"[a-z0-9][a-z0-9_.-]{0,62}"


class RootSource(StrEnum):
    """Where an appliance's root comes from."""

    BUILD = "build"
    EMBEDDED = "embedded"
    IMAGE = "image"


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Appliance(_Manifest, keys_of("manifest")):  # type: ignore[misc]
    """The keys of an appliance's manifest; those of its template come from the table (``template_settings``)."""

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._+-]{0,30}$")]
    maintainer: str = ""
    maintainer_email: str = ""
    description: Annotated[str, Field(min_length=1)]
    build: Literal["."] | None = None
    embedded: Literal["busybox"] | None = None
    image: Annotated[str, Field(min_length=1)] | None = None
    cmd: tuple[str, ...] | None = None
    """What an embedded root runs; other roots say so themselves."""

    folder: Annotated[Path, Field(exclude=True)]

    @model_validator(mode="after")
    def _one_source(self) -> Appliance:
        given = [source for source in RootSource if getattr(self, source) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of build, embedded and image is needed, found {found}")
        if self.cmd is not None and self.embedded is None:
            raise ValueError("cmd is allowed with embedded only; other images define their own command")
        return self

    @model_validator(mode="after")
    def _own_symbol(self) -> Appliance:
        if self.symbol == SYMBOL:
            _check_svg(self.folder / SYMBOL)
        return self

    @property
    def settings(self) -> TemplateSettings:
        """The settings that its templates get by default."""
        stated = TemplateSettings.of(self)
        named = TemplateSettings(
            symbol=self._symbol_name, default_name_format=stated.default_name_format or self._node_names
        )
        return named.over(stated).over(usual())

    @property
    def symbol_svg(self) -> bytes | None:
        """The appliance's own picture; None if its symbol is one that servers already have."""
        return (self.folder / SYMBOL).read_bytes() if self.symbol == SYMBOL else None

    @property
    def _symbol_name(self) -> str | None:
        """The name on servers of its own picture: each has another, so none is ever overwritten."""
        svg = self.symbol_svg
        return None if svg is None else f"{self.name}-{hashlib.sha256(svg).hexdigest()[:12]}.svg"

    @property
    def source(self) -> RootSource:
        """Which of ``build``, ``embedded``, ``image`` is set."""
        return next(source for source in RootSource if getattr(self, source) is not None)

    @property
    def _node_names(self) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-") + "-{0}"


def _check_svg(path: Path) -> None:
    """Raise ValueError for a picture that GNS3 cannot show."""
    try:
        svg = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{SYMBOL} is not in the appliance's folder ({error.strerror})") from error
    if len(svg) > _SYMBOL_LIMIT_BYTES:
        raise ValueError(f"{SYMBOL} has {len(svg)} bytes; at most {_SYMBOL_LIMIT_BYTES} are allowed")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"{SYMBOL} is not an SVG: {error}") from error
    if root.tag != _SVG or not {"width", "height"} <= set(root.keys()):
        raise ValueError(f"{SYMBOL} has no width and height, which GNS3 needs to place it")
    if not svg.startswith((b"<svg", b"<?xml")):
        raise ValueError(f"{SYMBOL} does not start with <svg or <?xml, so GNS3 would not recognise it as an SVG")


def read_appliance(path: Path) -> Appliance:
    """Read one manifest; raises ConfigError that names file, line and column of every mistake."""
    document = read_document(path, what="an appliance")
    if "folder" in document.values:
        raise document.error(("folder",), "unknown key 'folder'", hint=_HINT)
    document.values["folder"] = path.parent
    appliance = document.read_as(Appliance, hint=_HINT)
    if appliance.name != path.parent.name:
        raise document.error(
            ("name",),
            f"the appliance is named {appliance.name!r} in a folder named {path.parent.name!r}",
            hint="Name the folder like the appliance.",
        )
    return appliance


class Appliances:
    """The appliances of some folders; one in an earlier folder hides one of the same name in a later one.

    A folder holds appliances' folders.  Manifests are read when they are asked for, so a broken one stops nobody who
    wants another.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self._given = tuple(folders)

    @cached_property
    def _paths(self) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        for folder in (*self._given, resources.folder("appliances")):
            if not folder.is_dir():
                raise ConfigError(
                    f"the appliance folder {folder} does not exist", hint="Create it, or leave out the option."
                )
            for path in sorted(folder.glob(f"*/{MANIFEST}")):
                paths.setdefault(path.parent.name, path)
        return paths

    def names(self) -> list[str]:
        """The names of all appliances, sorted."""
        return sorted(self._paths)

    def find(self, name: str) -> Appliance | None:
        """The appliance of this name, or None; raises ConfigError if its manifest is broken."""
        path = self._paths.get(name)
        return read_appliance(path) if path else None

    def all(self) -> list[Appliance]:
        """All appliances, sorted by name; raises ConfigError for the first broken manifest."""
        return [read_appliance(self._paths[name]) for name in self.names()]
