"""What a catalogue file may hold: the keys, their values, and their defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gns3_minivm.template_settings.keys import keys_of
from gns3_minivm.template_settings.table import TemplateSettings

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PASSWORDS = ("password", "password_env", "password_file", "keyring")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name has at most 63 letters, digits, '.', '_' and '-', with a letter or digit at both ends")
    return value


ServerName = Annotated[str, AfterValidator(_name)]
Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    """Refuses unknown keys, and values of another type (``yes`` for a text, ``"2"`` for a number)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CatalogueServer(_Part):
    """A GNS3 server: where it is, how to log in, which compute runs the nodes.

    At most one of ``password``, ``password_env`` (an environment variable), ``password_file`` (its first line) and
    ``keyring`` (the name of the service under which the user's keyring has it) is set.
    """

    url: Text = Field(repr=False)
    username: Text | None = None
    password: Text | None = Field(default=None, repr=False)
    password_env: Text | None = None
    password_file: Text | None = None
    keyring: Text | None = None
    ca_file: Text | None = None
    verify: bool = True
    compute: Text | None = None

    @model_validator(mode="after")
    def _one_password(self) -> CatalogueServer:
        given = [key for key in _PASSWORDS if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"only one source of the password is allowed, found {' and '.join(given)}")
        if given and self.username is None and "@" not in self.url:
            raise ValueError(f"{given[0]} needs username")
        if not self.verify and self.ca_file is not None:
            raise ValueError("ca_file and verify: false contradict each other; leave one of them out")
        return self


class CatalogueAppliance(_Part, keys_of("catalogue")):  # type: ignore[misc]
    """An appliance or image, and the settings of its template (``template_settings``); a setting that is None is left
    to the appliance and the user.

    ``servers`` are names of the catalogue's servers, None for all of them.
    """

    name: Text | None = None
    image: Text | None = None
    servers: list[ServerName] | None = Field(default=None, min_length=1)
    size: Text | None = None
    kernel: Text | None = None

    @model_validator(mode="after")
    def _named(self) -> CatalogueAppliance:
        if self.name is None and self.image is None:
            raise ValueError("an appliance needs a name or an image")
        return self

    @property
    def source(self) -> str:
        """The name to look up: the image's, else the appliance's."""
        return self.image or self.name or ""

    @property
    def settings(self) -> TemplateSettings:
        return TemplateSettings.of(self)


def _bare_word(value: Any) -> Any:
    # A bare word is an appliance or image with nothing stated, so its name is not stated either.
    return {"image": value} if isinstance(value, str) else value


class Catalogue(_Part):
    """A catalogue; ``name`` marks its templates on the servers, and is None for a catalogue that never prunes."""

    name: Annotated[str, AfterValidator(_name)] | None = None
    compression: Literal["zstd", "zlib", "none"] = "zstd"
    size: Text | None = None
    kernel: Text | None = None
    """As ``--kernel`` has it: a flavour, FLAVOUR:VERSION, or the start of a bundle's id."""
    servers: dict[ServerName, CatalogueServer] = Field(min_length=1)
    appliances: list[Annotated[CatalogueAppliance, BeforeValidator(_bare_word)]]

    path: Path = Field(exclude=True)
    """The file; relative names in it start from its folder."""

    def appliances_of(self, server: str) -> list[CatalogueAppliance]:
        """The appliances that a server should have."""
        return [item for item in self.appliances if item.servers is None or server in item.servers]
