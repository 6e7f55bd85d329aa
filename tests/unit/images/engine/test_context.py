"""A Docker context is named by what it holds, and sent alike from every machine."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.images.engine.context import content_hash, scan, write_context
from gns3_minivm.images.oci import guest_config, short_name


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "etc" / "init.sh").write_text("#!/bin/sh\n")
    (tmp_path / "etc" / "init.sh").chmod(0o755)
    (tmp_path / "etc" / "link").symlink_to("init.sh")
    (tmp_path / "appliance.yaml").write_text("name: x\n")
    return tmp_path


def sent(folder: Path) -> bytes:
    stream = io.BytesIO()
    write_context(scan(folder), stream)
    return stream.getvalue()


def test_times_umask_and_owner_say_nothing(context: Path) -> None:
    before = content_hash(scan(context)), sent(context)
    (context / "Dockerfile").chmod(0o600)
    (context / "etc" / "init.sh").chmod(0o711)
    os.utime(context / "Dockerfile", (5, 5))
    assert (content_hash(scan(context)), sent(context)) == before


@pytest.mark.parametrize("change", ["content", "mode", "name", "target", "new", "kind"])
def test_everything_else_counts(context: Path, change: str) -> None:
    before = content_hash(scan(context))
    script = context / "etc" / "init.sh"
    if change == "content":
        script.write_text("#!/bin/sh\n\n")
    elif change == "mode":
        script.chmod(0o644)
    elif change == "name":
        script.rename(context / "etc" / "init")
    elif change == "target":
        (context / "etc" / "link").unlink()
        (context / "etc" / "link").symlink_to("init.s")
    elif change == "new":
        (context / "etc" / "empty").mkdir()
    else:
        (context / "etc" / "link").unlink()
        (context / "etc" / "link").write_text("init.sh")
    assert content_hash(scan(context)) != before


def test_the_manifest_can_be_left_out(context: Path) -> None:
    before = content_hash(scan(context, without={"appliance.yaml"}))
    (context / "appliance.yaml").write_text("name: y\n")
    assert content_hash(scan(context, without={"appliance.yaml"})) == before


def test_dockerignore_is_honoured(context: Path) -> None:
    (context / ".dockerignore").write_text("# a comment\netc/*\n!etc/link\n")
    names = [entry.path for entry in scan(context)]
    assert "etc/link" in names and "Dockerfile" in names
    assert "etc/init.sh" not in names


def test_the_archive_holds_what_was_scanned(context: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(sent(context))) as tar:
        found = {info.name: info for info in tar}
    assert sorted(found) == ["Dockerfile", "appliance.yaml", "etc", "etc/init.sh", "etc/link"]
    assert (found["etc/init.sh"].mode, found["Dockerfile"].mode) == (0o755, 0o644)
    assert found["etc/link"].linkname == "init.sh"
    assert {(info.uid, info.gid, info.mtime) for info in found.values()} == {(0, 0, 0)}


def test_a_folder_without_a_dockerfile_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no Dockerfile"):
        scan(tmp_path)


def test_a_socket_in_a_context_is_told(context: Path) -> None:
    os.mkfifo(context / "fifo")
    with pytest.raises(ConfigError, match="neither a file"):
        scan(context)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("debian", ("debian", "latest")),
        ("debian:12", ("debian", "12")),
        ("example.org:5000/team/app", ("app", "latest")),
        ("example.org:5000/team/app:1.2", ("app", "1.2")),
        ("app@sha256:0123456789abcdef", ("app", "0123456789ab")),
        ("app:1@sha256:0123456789abcdef", ("app", "1")),
    ],
)
def test_a_reference_has_a_short_name_and_a_version(reference: str, expected: tuple[str, str]) -> None:
    assert short_name(reference) == expected


def test_sources_that_write_nothing_differently_give_the_same_configuration() -> None:
    assert guest_config(None) == guest_config({}) == guest_config({"Cmd": [], "Env": None, "Labels": None, "User": ""})


def test_an_old_entrypoint_in_one_string_is_a_shells_command() -> None:
    assert guest_config({"Entrypoint": "run me"}).entrypoint == ("/bin/sh", "-c", "run me")
