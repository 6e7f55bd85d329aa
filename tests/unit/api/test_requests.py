"""Every parameter of the Python API reaches the field of the request that it is meant for, and no other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gns3_minivm.api.agent
import gns3_minivm.api.lab
from gns3_minivm import Agent
from gns3_minivm.api.lab import Lab
from gns3_minivm.base.events import Event, Events, Note
from gns3_minivm.gns3.address import Address, parse_address
from gns3_minivm.ops.context import ImageSettings
from gns3_minivm.ops.kernels.bundles import KernelOrigin
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.settings import Settings
from gns3_minivm.template_settings.table import TemplateSettings
from tests.support.requests import Asked, ask_only, assert_handed_on

SERVER = "http://127.0.0.1:9"
AT_LEAST: dict[str, Any] = {"str": "one", "str | Path": "one", "Path": Path("one"),
                            "Literal['ansible', 'nornir']": "ansible"}  # fmt: skip
"""Values for parameters that must be given, by their types."""
OTHER: dict[str, Any] = {
    "str": "other", "str | None": "other", "str | Path": "other", "Path": Path("other"), "Path | None": Path("other"),
    "int": 7, "float": 7.5, "float | None": 7.5, "bytes | None": b"other", "Iterable[str]": ("other",),
    "Iterable[Path]": (Path("other"),), "Mapping[str, str] | None": {"OTHER": "1"},
    "Literal['ansible', 'nornir']": "nornir", "TemplateSettings | None": TemplateSettings(ram=77),
    "KernelOrigin | None": KernelOrigin(monolithic=True),
}  # fmt: skip
"""Values that are no parameter's default."""
CALLED = {
    "Agent.import_appliance file": "path",
    "Lab.exec words": "argv", "Lab.exec env": "environment", "Lab.exec workdir": "working_dir",
    "Lab.graph live": "address",
}  # fmt: skip
"""Fields that are called otherwise than the parameter."""
NO_OPERATION = {"Agent.lab", "Agent.gns3fy", "Agent.newer_kernels", "Lab.gns3fy_project"}
"""They make a request of nothing that they are given, but of the servers."""
NOT_OFFERED = {
    "announce": "the plan is in the result of a dry run",
    "confirm": "a program says yes, or does not",
    "on_output": "the result has the output",
    "on_result": "the report has the results",
}
"""Arguments of operations that are for people at terminals."""
A_TEXT = {"output", "force", "dry_run"}
"""What a method does not offer that returns its text instead of writing it."""
LEFT_OUT = {
    "Agent.status": {"prune", "adopt", "dry_run"}, "Agent.doctor": {"dry_run"},
    "Lab.wait": {"dry_run"}, "Lab.graph": A_TEXT, "Lab.inventory": A_TEXT, "Lab.save": A_TEXT,
}  # fmt: skip
"""Fields of a request that mean nothing for this method."""
THE_AGENTS = (Settings, ImageSettings, KernelChoice, Events, Address)
"""What an agent hands to all operations."""


def methods() -> Iterator[tuple[type, str]]:
    for kind in (Agent, Lab):
        for name, _ in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                yield kind, name


METHODS = [pytest.param(kind, name, id=f"{kind.__name__}.{name}") for kind, name in methods()
           if f"{kind.__name__}.{name}" not in NO_OPERATION]  # fmt: skip


class Caller:
    """Calls one method, and says what its operation was asked for."""

    def __init__(self, kind: type, name: str, cache: Path) -> None:
        self.agent = Agent(
            SERVER,
            cache=cache,
            appliances=[cache / "mine"],
            image=ImageSettings(registry="an.example"),
            kernel=KernelChoice(name="monolithic"),
        )
        target = self.agent if kind is Agent else self.agent.lab("lab.yml")
        self.method = getattr(target, name)
        self.parameters = inspect.signature(self.method).parameters
        needed = {one.name: AT_LEAST[one.annotation] for one in self.parameters.values()
                  if one.default is one.empty and one.kind is not one.VAR_POSITIONAL}  # fmt: skip
        self.needed = needed

    def ask(self, **values: Any) -> Asked:
        given = {**self.needed, **values}
        words: tuple[str, ...] = ()
        for one in self.parameters.values():
            if one.kind is inspect.Parameter.VAR_POSITIONAL:
                words = given.pop(one.name, ())
        places = (
            [one.name for one in self.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD] if words else []
        )
        before = [given.pop(name) for name in places if name in given]
        with pytest.raises(Asked) as caught:
            asyncio.run(self.method(*before, *words, **given))
        return caught.value

    def other(self, parameter: inspect.Parameter) -> Any:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return ("other", "words")
        return not parameter.default if parameter.annotation == "bool" else OTHER[parameter.annotation]


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    ask_only(monkeypatch, gns3_minivm.api.agent, gns3_minivm.api.lab)
    return tmp_path


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_every_parameter_of_a_method_is_handed_on_as_what_it_is(kind: type, name: str, patched: Path) -> None:
    caller = Caller(kind, name, patched)
    without = caller.ask()
    handed_on = set()
    for parameter in caller.parameters.values():
        given = caller.other(parameter)
        asked = caller.ask(**{parameter.name: given})
        method = f"{kind.__name__}.{name}"
        field = CALLED.get(f"{method} {parameter.name}", parameter.name)
        wanted = parse_address(SERVER) if field == "address" else given
        handed_on.add(assert_handed_on(field, wanted, without, asked))
    left_out = {*NOT_OFFERED, *LEFT_OUT.get(f"{kind.__name__}.{name}", ())}
    for place, value in without.leaves.items():
        offered = any(place[: len(one)] == one for one in handed_on)
        assert offered or place[-1] in left_out or _is_the_agents(without, place), (
            f"{kind.__name__}.{name} does not offer {'.'.join(place)} (now {value!r})"
        )


def _is_the_agents(asked: Asked, place: tuple[str, ...]) -> bool:
    """Whether a value is of what the agent knows itself: its servers, its settings, the lab."""
    above = [asked.everything[place[:length]] for length in range(1, len(place) + 1)]
    return any(isinstance(value, THE_AGENTS) or value in ("lab.yml", Path("lab.yml")) for value in above)


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_what_an_agent_was_made_with_reaches_every_operation(kind: type, name: str, patched: Path) -> None:
    caller = Caller(kind, name, patched)
    asked = caller.ask()
    for value in asked.everything.values():
        if isinstance(value, Settings):
            assert (value.cache_root, value.appliances[0]) == (patched, patched / "mine")
        elif isinstance(value, ImageSettings):
            assert value.registry == "an.example"
        elif isinstance(value, KernelChoice):
            assert value.name == "monolithic"
        elif isinstance(value, Address):
            assert value == parse_address(SERVER)


async def test_a_lab_is_on_the_server_that_is_named_for_it(patched: Path) -> None:
    there = "http://127.0.0.1:8"
    with pytest.raises(Asked) as caught:
        await Agent(SERVER, cache=patched).lab("lab.yml", there).status()
    assert caught.value.values["address"] == parse_address(there)


async def test_events_of_an_operation_reach_who_asked_for_them(patched: Path) -> None:
    told: list[Event] = []
    with pytest.raises(Asked) as caught:
        await Agent(SERVER, cache=patched, on_event=told.append).register("one")
    [events] = [value for value in caught.value.everything.values() if isinstance(value, Events)]
    events.warn("mind the gap")
    assert told == [Note("warning", "mind the gap")]
