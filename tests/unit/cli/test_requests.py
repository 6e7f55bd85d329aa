"""Every option and argument of every command reaches the field of the request that it is meant for, and no other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest

import gns3_minivm.cli.labs.guests
from gns3_minivm.cli.frame.run import run_command_line
from gns3_minivm.gns3.address import parse_address
from tests.support.commands import COMMANDS, label
from tests.support.requests import Asked, ask_only, assert_handed_on

HERE, THERE = "http://127.0.0.1:9", "http://127.0.0.1:8"
OF_THE_SESSION = {"--json", "--quiet", "--verbose"}
"""Options that say how results are shown."""
ALSO = {"boot --template": frozenset({"image", "servers"})}
"""Fields that an option changes beside its own: this one is instead of an image, and asks a server."""
OF_THE_SETTINGS = {"--cache", "--cache-size", "--appliances"}
"""Options for the session's settings, which not every operation is given."""
NO_OPERATION = {"list": "reads folders", "kernel list": "reads the cache, and asks apt", "server --find": "reads files"}
"""What is not done by an operation of which something is asked."""
ANOTHER_OPERATION = {"inspect --files": "list_disk_files", "inspect --cat": "read_disk_file"}
"""Options that choose the operation."""
WITH = {
    "boot --server": "--template", "boot --ca-file": "--template", "boot --insecure": "--template",
    "lab graph --server": "--live", "lab graph --ca-file": "--live", "lab graph --insecure": "--live",
}  # fmt: skip
"""Options that mean something only together with another one."""
NEEDED = {"boot image": "--template", "kernel pack name": ""}
"""Arguments that are given though they may be left out, unless there is this option."""
WORDS = {"--server": (THERE,), "server url": (THERE,), "--env": ("OTHER=1",), "--size": ("9G",),
         "--cache-size": ("9G",), "lab exec words": ("other", "words"), "lab graph lab": ("other.yml",)}  # fmt: skip
"""Values where not every text does."""
FIELDS: dict[str, tuple[str, Any]] = {
    "--server": ("url", THERE), "sync --server": ("servers", THERE),
    "status --server": ("servers", THERE), "server url": ("url", THERE), "--insecure": ("verify", False),
    "lab graph --live": ("address", parse_address(HERE)), "--flavour": ("monolithic", True),
    "lab exec --env": ("environment", {"OTHER": "1"}), "lab exec --no-stdin": ("stdin", None),
}  # fmt: skip
"""Fields that have another name than the parameter, and another value than the word that is given."""
NAMES = {"cache": "cache_root", "lab up file": "path", "import file": "path", "inspect file": "path",
         "project import file": "path", "lab exec words": "argv", "lab exec workdir": "working_dir",
         "lab exec timeout": "timeout_s"}  # fmt: skip
"""Fields that only have another name."""

NOT_ASKED_FOR = {
    "username": "in the URL", "password": "in the URL", "confirm": "asks at a terminal",
    "appliances": "the session's settings", "user_appliances": "the session's settings",
}  # fmt: skip
"""Fields that options set in another way, or that are no options."""
_OF_FILES = {"adapter_type", "category", "compute", "default_name_format", "first_port_name", "port_name_format",
             "symbol", "usage"}  # fmt: skip
"""Settings of templates that stand in catalogues and manifests only."""
NOT_OFFERED = {
    "register": _OF_FILES, "export": _OF_FILES, "boot": _OF_FILES,
    "lab exec": {"shell"}, "lab graph": {"address"}, "new": {"folder"}, "status": {"adopt", "prune"},
}  # fmt: skip
"""Fields that no option of a command sets; whoever adds one offers it, or says here that it is not."""


CASES = [(name, label(one)) for name, command in COMMANDS.items() for one in command.params
         if label(one) not in OF_THE_SESSION and not {name, f"{name} {label(one)}"} & NO_OPERATION.keys()]  # fmt: skip


class CommandLine:
    """Writes the lines of one command, and says what its operation was asked for."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.parameters = {label(one): one for one in COMMANDS[name].params}

    def ask(self, *others: str) -> Asked:
        """Run it with what it needs, and these parameters other than usual."""
        options: list[str] = []
        arguments: list[str] = []
        for name, one in self.parameters.items():
            words = self.other(one) if name in others else self.needed(one, others)
            if not isinstance(one, click.Option):
                arguments += words
            elif one.is_flag:
                options += words
            else:
                options += [name, *words] if words else []
        with pytest.raises(Asked) as caught:
            run_command_line([*self.name.split(), *options, *(["--", *arguments] if arguments else [])])
        return caught.value

    def needed(self, one: click.Parameter, others: tuple[str, ...]) -> tuple[str, ...]:
        if label(one) == "--server":
            return (HERE,)
        instead = NEEDED.get(f"{self.name} {label(one)}")
        if not one.required and (instead is None or instead in others):
            return ()
        if isinstance(one.type, click.Choice):
            return (str(one.type.choices[0]),)
        return (self.path("one", one.type),) if isinstance(one.type, click.Path) else ("one",)

    def other(self, one: click.Parameter) -> tuple[str, ...]:
        """Words that say something else than the default."""
        if isinstance(one, click.Option) and one.is_flag:
            return (one.secondary_opts[0] if one.default is True else label(one),)
        known = WORDS.get(f"{self.name} {label(one)}") or WORDS.get(label(one))
        if known is not None:
            return known
        if isinstance(one.type, click.Choice):
            return (str(next(word for word in reversed(one.type.choices) if word != one.default)),)
        if isinstance(one.type, click.types.IntParamType | click.types.FloatParamType):
            return ("57",)
        return (self.path("other", one.type),) if isinstance(one.type, click.Path) else ("other",)

    def path(self, name: str, kind: click.Path) -> str:
        path = self.folder / (name if kind.file_okay else f"{name}-folder")
        if kind.exists and not kind.file_okay:
            path.mkdir(exist_ok=True)
        elif kind.exists:
            path.touch()
        return str(path)

    def given(self, one: click.Parameter) -> tuple[str, Any]:
        """The field that is meant, and what has to be in it."""
        for name in (f"{self.name} {label(one)}", label(one)):
            if name in FIELDS:
                return FIELDS[name]
        field = NAMES.get(f"{self.name} {one.name}") or NAMES.get(str(one.name)) or str(one.name)
        if isinstance(one, click.Option) and one.is_flag:
            return field, one.default is not True
        words = self.other(one)
        if isinstance(one.type, click.types.IntParamType | click.types.FloatParamType):
            return field, float(words[0])
        return field, words if len(words) > 1 else words[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a lab; nothing is set in the environment, and something comes on standard input."""
    for name in os.environ:
        if name.startswith("GNS3_MINIVM_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gns3_minivm.cli.labs.guests, "_piped_in", lambda: b"piped in")
    (tmp_path / "lab.yml").touch()
    ask_only(monkeypatch)
    return tmp_path


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_every_parameter_of_a_command_is_handed_on_as_what_it_is(name: str, parameter: str, folder: Path) -> None:
    line = CommandLine(name, folder)
    more = tuple(filter(None, [WITH.get(f"{name} {parameter}")]))
    without = line.ask(*more)
    asked = line.ask(parameter, *more)
    if f"{name} {parameter}" in ANOTHER_OPERATION:
        assert asked.operation == ANOTHER_OPERATION[f"{name} {parameter}"] != without.operation
        return
    if parameter in OF_THE_SETTINGS and not without.places("cache_root"):
        return
    assert_handed_on(
        *line.given(line.parameters[parameter]), without, asked, also=ALSO.get(f"{name} {parameter}", frozenset())
    )


@pytest.mark.parametrize("name", NO_OPERATION)
def test_what_is_said_to_ask_no_operation_is_still_there(name: str) -> None:
    command = name.partition(" --")[0]
    assert command in COMMANDS
    assert command == name or name.removeprefix(f"{command} ") in {label(one) for one in COMMANDS[command].params}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NO_OPERATION])
def test_every_field_of_a_request_can_be_set(name: str, folder: Path) -> None:
    line = CommandLine(name, folder)
    changed: set[tuple[str, ...]] = set()
    known: dict[tuple[str, ...], Any] = {}
    for parameter in line.parameters:
        if parameter in OF_THE_SESSION or f"{name} {parameter}" in {**NO_OPERATION, **ANOTHER_OPERATION}:
            continue
        more = tuple(filter(None, [WITH.get(f"{name} {parameter}")]))
        before, after = line.ask(*more).leaves, line.ask(parameter, *more).leaves
        known |= before
        changed |= {path for path in {**before, **after} if before.get(path) != after.get(path)}
    left = {path[-1] for path in known if path not in changed and path[0] != "context"}
    assert left <= {*NOT_ASKED_FOR, *NOT_OFFERED.get(name, ())}
