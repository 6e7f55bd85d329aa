"""A node's settings as people write them in YAML, and the payload that they become.

The keys are those of a node in a lab file as well; docs/use/settings.md lists them.  Unknown keys are refused.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gns3_minivm.base.errors import ConfigError, UsageError
from gns3_minivm.documents import read_document
from gns3_minivm.guest.payload import ConsoleMode, GuestCommand, GuestFile, GuestFolder, NodePayload, When

_HINT = "docs/use/settings.md lists the keys and their values."
_CONTENTS = ("content", "source", "base64")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_text(value: Any) -> Any:
    # A YAML `yes` is no text, and nobody can tell what was meant.
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _mode(value: Any) -> int:
    if isinstance(value, str) and value.isdigit() and not set(value) & set("89"):
        return int(value, 8)
    raise ValueError('should be octal digits in quotation marks, as in "640"')


Text = Annotated[str, BeforeValidator(_as_text)]
Texts = Annotated[list[Text], BeforeValidator(_as_list)]
Mode = Annotated[int, BeforeValidator(_mode)]
WhenWord = Literal["once", "boot"]


_SOME_INTERFACE = "eth0"


def _check(kind: type[Any], **values: Any) -> None:
    """Make a part of a payload; values that the guest would refuse are errors."""
    try:
        kind(**values)
    except UsageError as error:
        # The place tells which interface it is.
        raise ValueError(error.message.removeprefix(f"interface {_SOME_INTERFACE}: ")) from error


def _guest_path(value: str) -> str:
    try:
        GuestFolder(value)
    except UsageError as error:
        raise ValueError(error.message.removeprefix(f"folder {value!r} ")) from error
    return value


GuestPath = Annotated[str, AfterValidator(_guest_path)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InterfaceSettings(_Part):
    """Addresses of an interface, and the default gateways behind it."""

    address: Texts = Field(default_factory=list)
    gateway: Texts = Field(default_factory=list)

    @field_validator("address", "gateway")
    @classmethod
    def _are_addresses(cls, value: list[str], info: ValidationInfo) -> list[str]:
        # Here, and not for all interfaces at once: the mistake is told with the place of the one that is wrong.
        for text in value:
            if info.field_name == "address":
                _check(NodePayload, addresses={_SOME_INTERFACE: (text,)})
            else:
                _check(NodePayload, gateways=(text,))
        return value


class FolderSettings(_Part):
    owner: Text | None = None
    mode: Mode | None = None


class FileSettings(FolderSettings):
    """What a file of the guest holds: a text, a file or folder of this machine, or base64."""

    content: str | None = None
    source: str | None = None
    base64: str | None = None
    when: WhenWord = "once"

    @model_validator(mode="after")
    def _one_content(self) -> FileSettings:
        given = [key for key in _CONTENTS if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(_CONTENTS)} is needed, found {' and '.join(given) or 'none'}")
        return self

    @field_validator("base64")
    @classmethod
    def _is_base64(cls, value: str) -> str:
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(f"should be base64: {error}") from error
        return value


class CommandSettings(_Part):
    run: str | list[Text]
    when: WhenWord = "boot"


def _as_interface(value: Any) -> Any:
    return value if isinstance(value, dict) else {"address": value}


def _as_file(value: Any) -> Any:
    return {"content": value} if isinstance(value, str) else value


def _as_folder(value: Any) -> Any:
    return {} if value is None else value


def _as_command(value: Any) -> Any:
    return value if isinstance(value, dict) else {"run": value}


class NodeSettings(_Part):
    """The settings of one node; the image decides whatever is not set."""

    hostname: str | None = None
    user: Text | None = None
    workdir: str | None = None
    stop_signal: str | None = None
    console: ConsoleMode | None = None
    entrypoint: list[Text] | None = None
    args: list[Text] | None = None
    env: dict[str, Text] = Field(default_factory=dict)
    interfaces: dict[str, Annotated[InterfaceSettings, BeforeValidator(_as_interface)]] = Field(default_factory=dict)
    routes: dict[str, str] = Field(default_factory=dict)
    dns: Texts = Field(default_factory=list)
    sysctls: dict[str, Text] = Field(default_factory=dict)
    modules: list[str] = Field(default_factory=list)
    folders: dict[GuestPath, Annotated[FolderSettings, BeforeValidator(_as_folder)]] = Field(default_factory=dict)
    files: dict[GuestPath, Annotated[FileSettings, BeforeValidator(_as_file)]] = Field(default_factory=dict)
    commands: list[Annotated[CommandSettings, BeforeValidator(_as_command)]] = Field(default_factory=list)

    @field_validator(
        "hostname", "user", "workdir", "stop_signal", "entrypoint", "args", "env", "sysctls", "dns", "modules"
    )
    @classmethod
    def _is_taken(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        _check(NodePayload, **{info.field_name: value})
        return value

    @field_validator("interfaces")
    @classmethod
    def _are_interfaces(cls, value: dict[str, InterfaceSettings]) -> dict[str, InterfaceSettings]:
        _check(NodePayload, addresses=_addresses(value), gateways=_gateways(value))
        return value

    @field_validator("routes")
    @classmethod
    def _are_routes(cls, value: dict[str, str]) -> dict[str, str]:
        _check(NodePayload, routes=tuple(value.items()))
        return value

    @field_validator("folders", "files")
    @classmethod
    def _are_places(cls, value: dict[str, FolderSettings]) -> dict[str, FolderSettings]:
        for path, entry in value.items():
            extra = {"content": b""} if isinstance(entry, FileSettings) else {}
            _check(GuestFile if extra else GuestFolder, path=path, owner=entry.owner, mode=entry.mode, **extra)
        return value

    @field_validator("commands")
    @classmethod
    def _are_commands(cls, value: list[CommandSettings]) -> list[CommandSettings]:
        for command in value:
            _check(GuestCommand, command=_words(command))
        return value

    def payload(self, folder: Path) -> NodePayload:
        """The payload; ``source`` is looked for in ``folder`` (blocking).

        Raises ConfigError for a source that cannot be read, UsageError for settings that contradict each other.
        """
        files = [file for path, entry in self.files.items() for file in _files(path, entry, folder)]
        return NodePayload(
            hostname=self.hostname,
            user=self.user,
            workdir=self.workdir,
            stop_signal=self.stop_signal,
            console=self.console,
            entrypoint=None if self.entrypoint is None else tuple(self.entrypoint),
            args=None if self.args is None else tuple(self.args),
            env=self.env,
            addresses=_addresses(self.interfaces),
            gateways=_gateways(self.interfaces),
            routes=tuple(self.routes.items()),
            dns=tuple(self.dns),
            sysctls=self.sysctls,
            modules=tuple(self.modules),
            folders=tuple(GuestFolder(path, entry.owner, entry.mode) for path, entry in self.folders.items()),
            files=tuple(files),
            commands=tuple(_command(command) for command in self.commands),
        )


def read_settings(path: Path) -> NodePayload:
    """Read a file of settings (blocking).  Raises ConfigError that names file, line and column of every mistake."""
    settings = read_document(path, what="a node's settings").read_as(NodeSettings, hint=_HINT)
    try:
        return settings.payload(path.parent)
    except UsageError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint or _HINT) from error


def _addresses(interfaces: Mapping[str, InterfaceSettings]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(interface.address) for name, interface in interfaces.items()}


def _gateways(interfaces: Mapping[str, InterfaceSettings]) -> tuple[str, ...]:
    return tuple(f"{gateway}%{name}" for name, interface in interfaces.items() for gateway in interface.gateway)


def _command(settings: CommandSettings) -> GuestCommand:
    return GuestCommand(_words(settings), When(settings.when))


def _words(settings: CommandSettings) -> str | tuple[str, ...]:
    return settings.run if isinstance(settings.run, str) else tuple(settings.run)


def _files(path: str, entry: FileSettings, folder: Path) -> Iterator[GuestFile]:
    if entry.source is not None:
        yield from _source_files(path, entry, folder / entry.source)
        return
    content = base64.b64decode(entry.base64) if entry.base64 is not None else (entry.content or "").encode()
    yield GuestFile(path=path, content=content, owner=entry.owner, mode=entry.mode, when=When(entry.when))


def _source_files(path: str, entry: FileSettings, source: Path) -> Iterator[GuestFile]:
    """A file of this machine, or all files below a folder; a program stays one."""
    try:
        if source.is_dir():
            for name in sorted(os.listdir(source)):
                yield from _source_files(f"{path}/{name}", entry, source / name)
            return
        if not source.is_file():
            raise ConfigError(f"{source}, the source of {path}, is not a file or folder", hint="Correct `source`.")
        mode = entry.mode if entry.mode is not None or not os.access(source, os.X_OK) else 0o755
        yield GuestFile(path=path, content=source.read_bytes(), owner=entry.owner, mode=mode, when=When(entry.when))
    except OSError as error:
        raise ConfigError(f"{source}, the source of {path}, cannot be read: {error.strerror}") from error
