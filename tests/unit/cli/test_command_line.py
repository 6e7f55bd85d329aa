"""What the command line says and how it ends, without servers, engines and guests."""

from __future__ import annotations

import io
import json
from pathlib import Path

import click
import pytest

from gns3_minivm.base.errors import DiskFullError
from gns3_minivm.base.events import Events, Note
from gns3_minivm.cli.frame import progress
from gns3_minivm.cli.frame.run import run_command_line
from tests.support.commands import COMMANDS, options_of

NO_ENGINE = "unix:///nonexistent/docker.sock"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GNS3_MINIVM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    monkeypatch.delenv("GNS3_MINIVM_SERVER", raising=False)


BAD_INPUT = [
    (["register", "busybox-minivm"], 2, "error: no GNS3 server is named\n"),
    (["register", "busybox-minivm", "--server", "ftp://x"], 2,
     "error: server URL 'ftp://x': the scheme is 'ftp', not http or https\n"),
    (["register", "a", "b", "--as", "c", "--server", "http://127.0.0.1:1"], 2,
     "error: --as names one template, but several images are given\n"),
    (["register", "x", "--server", "http://127.0.0.1:1", "--size", "many"], 2,
     "error: the disk size 'many' is not a size\n"),
    (["register", "x", "--server", "http://127.0.0.1:1", "--kernel-args", 'run="x'], 2,
     "error: the kernel arguments 'run=\"x' are malformed: a quotation mark is not closed\n"),
    (["register"], 2, "Error: Missing argument 'NAME...'.\n"),
    (["convert", "debian-minivm", "-o", "/no such/x.qcow2"], 2, "error: the folder /no such does not exist\n"),
    (["boot"], 2, "error: no image or template is named\n"),
    (["server"], 2, "error: no GNS3 server is named\n"),
    (["kernel", "build", "--deb", "/nonexistent.deb"], 2, "File '/nonexistent.deb' does not exist."),
    (["register", "--ram", "1", "x"], 2, "Error: Invalid value for '--ram': 1 is not in the range 32<=x<=1048576.\n"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "status", "text"), BAD_INPUT, ids=lambda value: str(value)[:40])
def test_bad_input_is_one_clear_error(
    words: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_command_line(words) == status
    captured = capsys.readouterr()
    assert text in captured.err and captured.out == ""
    assert not (tmp_path / "cache").exists()


def test_an_engine_that_is_not_there_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["engine"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "/nonexistent/docker.sock" in err and "\nhint: " in err


def test_with_json_an_error_is_a_json_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["server", "--json"]) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["event"] == "error" and document["code"] == "usage" and document["hint"]
    assert captured.err == ""


def test_appliances_are_listed_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["list"]) == 0
    text = capsys.readouterr().out
    assert run_command_line(["list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    names = [appliance["name"] for appliance in document["appliances"]]
    assert {"busybox-minivm", "debian-minivm"} <= set(names)
    assert [line.split()[0] for line in text.splitlines()] == names


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_and_help(name: str) -> None:
    command = COMMANDS[name]
    assert {"--json", "--quiet", "--cache"} <= options_of(name)
    assert command.help
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_progress_without_a_terminal_is_plain_lines() -> None:
    stream = io.StringIO()
    events = Events(progress.PlainLines(stream))
    with events.step("Outer"), events.step("Inner", total=2_000_000, unit="bytes") as step:
        step.advance(2_000_000)
        step.detail = "all of it"
    events.warn("mind the gap")
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["Outer ...", "  Inner ..."]
    assert lines[2].startswith("  Inner: done in ") and lines[2].endswith(" s, all of it")
    assert lines[3].startswith("Outer: done in ")
    assert lines[4] == "warning: mind the gap"


def test_progress_as_json_names_each_event() -> None:
    stream = io.StringIO()
    events = Events(progress.JsonLines(stream))
    with pytest.raises(DiskFullError), events.step("Write", total=1):
        raise DiskFullError("full")
    documents = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [document["event"] for document in documents] == ["step-started", "step-finished"]
    assert documents[1]["outcome"] == "failed"


def test_quiet_shows_warnings_only() -> None:
    stream = io.StringIO()
    renderer = progress.Quiet(stream)
    renderer(Note("info", "nothing"))
    renderer(Note("warning", "something"))
    assert stream.getvalue() == "warning: something\n"
