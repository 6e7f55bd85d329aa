"""What an operation of ``ops`` was asked for: taken down instead of carried out, and compared field by field."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from types import ModuleType
from typing import Any

import pytest

import gns3_minivm.ops
from gns3_minivm.base.events import Events


@dataclass
class Asked(BaseException):
    """Ends a command or method at the operation that it calls; ``values`` are the operation's arguments by name.

    No ``Exception``, so that nobody on the way takes it for a failure.
    """

    operation: str
    values: dict[str, Any]

    @property
    def everything(self) -> dict[tuple[str, ...], Any]:
        """Every value by its place, as in ("request", "kernel", "name"): single ones, and those with fields."""
        return dict(_walk((), self.values))

    @property
    def leaves(self) -> dict[tuple[str, ...], Any]:
        """Every single value by its place; whom to tell is none."""
        return {path: value for path, value in self.everything.items()
                if not (_is_of_parts(value) or callable(value) or isinstance(value, Events))}  # fmt: skip

    def places(self, name: str) -> dict[tuple[str, ...], Any]:
        """What is called so, at any depth."""
        return {path: value for path, value in self.everything.items() if path[-1] == name}


def _walk(path: tuple[str, ...], values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        yield (*path, name), value
        if is_dataclass(value):
            yield from _walk((*path, name), {each.name: getattr(value, each.name) for each in fields(value)})
        elif _is_of_parts(value):
            yield from _walk((*path, name), {str(number): one for number, one in enumerate(value)})


def _is_of_parts(value: Any) -> bool:
    return is_dataclass(value) or (isinstance(value, tuple) and any(is_dataclass(one) for one in value))


def ask_only(patch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Let the operations that these modules name raise ``Asked``; without modules, all that ``ops`` has."""
    for module in modules or tuple(_ops()):
        for name, operation in inspect.getmembers(module, inspect.iscoroutinefunction):
            is_operation = operation.__module__.startswith("gns3_minivm.ops.") and not name.startswith("_")
            if is_operation and (modules or operation.__module__ == module.__name__):
                patch.setattr(module, name, _asked_for(operation))


def _ops() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(gns3_minivm.ops.__path__, "gns3_minivm.ops."):
        yield importlib.import_module(found.name)


def _asked_for(operation: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(operation)

    @functools.wraps(operation)
    def asked(*arguments: Any, **values: Any) -> Any:
        bound = signature.bind(*arguments, **values)
        bound.apply_defaults()
        raise Asked(operation.__name__, bound.arguments)

    return asked


def assert_handed_on(
    name: str, given: Any, without: Asked, asked: Asked, *, also: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Assert that ``given`` stands in the field ``name`` and changes no other but ``also``; returned is its place."""
    before, after = without.everything, asked.everything
    named = asked.places(name)
    places = [path for path, value in named.items() if _is_as_given(value, given) and before.get(path) != value]
    assert places, f"{given!r} is new in no field {name!r} of {asked.operation}: {named or after}"
    before, after = without.leaves, asked.leaves
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    strays = [
        path
        for path in changed
        if not (also.intersection(path) or any(path[: len(place)] == place for place in places))
    ]
    assert not strays, f"{name} changes {strays} of {asked.operation}"
    return places[0]


def _is_as_given(value: Any, given: Any) -> bool:
    """``given`` may be a word of a command line."""
    if isinstance(given, bool) or isinstance(value, bool):
        return value is given
    if isinstance(value, tuple | list) and not isinstance(given, tuple | list):
        return len(value) == 1 and _is_as_given(value[0], given)
    return bool(value == given or str(value) == str(given))
