"""``export`` and ``import`` on the command line, without servers: what they say, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.cache import Cache
from gns3_minivm.cli.frame.run import run_command_line
from tests.support.bundles import put_bundle
from tests.support.catalogue import write_root
from tests.support.gns3a import original, write_original

NOBODY = ("--server", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GNS3_MINIVM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.delenv("GNS3_MINIVM_SERVER", raising=False)


def result_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html>", "is not an appliance file: not JSON"),
        (json.dumps({"registry_version": 4, "docker": {}}), "is an appliance for docker; only QEMU appliances"),
        (json.dumps(original(images=[])), "which is not among the images"),
        (
            json.dumps(original(versions=[{"name": "1", "images": {"hda_disk_image": "alpine-minivm-3.19.1.qcow2"}}])),
            "Alpine-minivm 1 does not boot a kernel directly: it has no kernel_image",
        ),
    ],
)
def test_a_bad_file_is_one_error_before_any_server_is_asked(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.gns3a"
    path.write_text(text)
    assert run_command_line(["import", str(path), *NOBODY]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {path}") and said in err and err.count("\n") == 2 and "\nhint: " in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--version", "7", *NOBODY], "has no version '7'"),
        (["--version", "3.19.1", "--version", "7", "--as", "x", *NOBODY], "has no version '7'"),
        ([], "no GNS3 server is named"),
        (["--images", "/no/such", *NOBODY], "'/no/such' does not exist"),
    ],
)
def test_wrong_options_of_import_are_one_error(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["import", str(write_original(tmp_path)), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told_and_nothing_else_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["import", str(write_original(tmp_path)), *NOBODY, "--json"]) == 1
    result = result_of(capsys)
    assert result["servers"][0]["error"]["code"] == "server-unreachable" and result["images"] == []


def test_export_shows_what_it_has_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_bundle(Cache(tmp_path / "cache"))
    write_root(tmp_path / "root.tar", "hello")
    words = ["export", f"rootfs:{tmp_path / 'root.tar'}", "--as", "vm", "-o", str(tmp_path / "out")]
    assert run_command_line([*words, "-q", "--dry-run"]) == 0
    assert "dry run: nothing was written" in capsys.readouterr().out and not (tmp_path / "out").exists()
    assert run_command_line([*words, "-q"]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/out/vm.gns3a: " in out and "written" in out and "sha256:" in out
    assert run_command_line([*words, "--portable", "--force", "--json"]) == 0
    [appliance] = result_of(capsys)["appliances"]
    assert not appliance["portable"] and {file["state"] for file in appliance["files"]} == {"there"}
    assert run_command_line(["export", "-o", str(tmp_path / "out")]) == 2
    assert "Missing argument 'NAME...'" in capsys.readouterr().err
