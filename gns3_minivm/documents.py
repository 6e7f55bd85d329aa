"""The user's YAML documents: their values, and where in the file each of them stands.

Every mistake is told as ``FILE:LINE:COLUMN: what is wrong``; unknown and repeated keys are mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from gns3_minivm.base.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
Where = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""
Mark = tuple[int, int]
"""Line and column, counted from 1."""

_SECRETS = frozenset({"password"})
"""Keys whose values never get into a message."""


@dataclass(frozen=True)
class Document:
    """A mapping that was read from a file."""

    path: Path
    values: dict[str, Any]
    marks: dict[Where, Mark]

    def at(self, where: Where) -> str:
        """``FILE:LINE:COLUMN`` of a value; of its parent if the value is missing."""
        line, column = next(
            (self.marks[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self.marks), (1, 1)
        )
        return f"{self.path}:{line}:{column}"

    def error(self, where: Where, message: str, *, hint: str = "") -> ConfigError:
        """The error for a value that contradicts the rest of the document."""
        return ConfigError(f"{self.at(where)}: {message}", hint=hint)

    def read_as(self, model: type[M], *, hint: str) -> M:
        """The document as a model.  Raises ConfigError, one line for each mistake."""
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            mistakes = error.errors(include_url=False)
            places = [_place(mistake) for mistake in mistakes]
            said = [
                (self._order(where), f"{self.at(where)}: {_words(mistake, where)}")
                for mistake, where in zip(mistakes, places, strict=True)
            ]
            raise ConfigError("\n".join(dict.fromkeys(text for _, text in sorted(said))), hint=hint) from error

    def _order(self, where: Where) -> Mark:
        return next((self.marks[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self.marks), (1, 1))


def read_document(path: Path, *, what: str) -> Document:
    """Read a YAML file that holds a mapping; ``what`` says what it is, as in "a catalogue".  Raises ConfigError."""
    return parse_document(path, read_text(path), what=what)


def read_text(path: Path) -> str:
    """The text of a user's file.  Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8 text (byte {error.start})") from error


def parse_document(path: Path, text: str, *, what: str) -> Document:
    """The same for text that has already been read."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            found = "nothing" if node is None else "a list" if isinstance(node, yaml.SequenceNode) else "one value"
            raise ConfigError(f"{path}:1:1: {what} must consist of `key: value` lines, found {found}")
        marks: dict[Where, Mark] = {}
        for where, mark in _marks(node):
            if where in marks:
                line, column = marks[where]
                name = ".".join(str(part) for part in where)
                raise ConfigError(
                    f"{path}:{mark[0]}:{mark[1]}: the key {name!r} appears twice "
                    f"(first in line {line}, column {column})"
                )
            marks[where] = mark
        return Document(path, loader.construct_document(node), marks)
    except yaml.MarkedYAMLError as error:
        problem = error.problem_mark or error.context_mark
        line, column = (problem.line + 1, problem.column + 1) if problem else (1, 1)
        tab = "\\t" in (error.problem or "")
        hint = "Indent with spaces: YAML does not allow tabs there." if tab else ""
        raise ConfigError(f"{path}:{line}:{column}: {error.problem or error.context}", hint=hint) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        # Such as the date 2026-13-99, which YAML takes for one.
        raise ConfigError(f"{path}: {error}", hint="Put quotation marks around values that are text.") from error


class _Writer(yaml.SafeDumper):
    """Block style, texts of several lines as such, no aliases."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(writer: yaml.SafeDumper, value: str) -> yaml.Node:
    # What block style cannot carry unchanged (a space before a line's end ...), YAML writes in quotation marks itself.
    style = "|" if "\n" in value else None
    if any(one in value for one in "\x85\u2028\u2029"):
        style = '"'  # YAML 1.1 counts them as ends of lines, and reads a line feed or a space
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _list(writer: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    short = all(isinstance(item, str | int | float) and "\n" not in str(item) for item in value)
    return writer.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=short)


_Writer.add_representer(str, _text)
_Writer.add_representer(list, _list)


def yaml_text(values: dict[str, Any]) -> str:
    """Values as a YAML document, in their order."""
    return yaml.dump(values, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120)


def _marks(node: yaml.Node, where: Where = (), above: tuple[yaml.Node, ...] = ()) -> Iterator[tuple[Where, Mark]]:
    """The place of every value below a node."""
    if node in above:
        return  # an alias of what it is in
    above = (*above, node)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*where, str(key.value))
            yield inner, _mark(key)
            yield from _marks(value, inner, above)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            inner = (*where, number)
            yield inner, _mark(value)
            yield from _marks(value, inner, above)


def _mark(node: yaml.Node) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _place(mistake: Any) -> Where:
    return tuple(part for part in mistake["loc"] if part != "[key]")


def _words(mistake: Any, where: Where) -> str:
    name = ".".join(str(part) for part in where)
    if mistake["type"] == "extra_forbidden":
        return f"unknown key {name!r}"
    if mistake["type"] == "missing":
        return f"the key {name!r} is missing"
    message = str(mistake["msg"]).removeprefix("Value error, ")
    if mistake["type"] == "too_short" and mistake["ctx"].get("min_length") == 1:
        message = "should not be empty"
    if mistake["type"] in ("model_type", "model_attributes_type", "dict_type"):
        message = "should be `key: value` lines"
    seen = mistake["input"]
    tell = bool(where) and where[-1] not in _SECRETS and isinstance(seen, str | int | float | bool)
    # Such as the password 123456, a number for YAML.
    quote = mistake["type"] == "string_type" and isinstance(seen, int | float)
    more = "; put it in quotation marks" if quote else ""
    return (f"{name}: " if name else "") + message + (f", found {seen!r}" if tell else "") + more
