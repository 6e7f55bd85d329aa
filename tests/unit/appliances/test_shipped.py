"""What every appliance that is shipped has to be, as far as its folder tells."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gns3_minivm.appliances import Appliance, Appliances

ROOT = Path(__file__).parents[3]
SHIPPED = Appliances().all()
BUILT = [appliance for appliance in SHIPPED if appliance.build]
# One registry's default, so that no host has to be named; a release, so that next year's build is the same system.
BASES = {"debian:bookworm-slim", "alpine:3.20"}
SVG = "{http://www.w3.org/2000/svg}"


def named(appliance: Appliance) -> str:
    return appliance.name


def test_the_catalogue_is_complete() -> None:
    assert [appliance.name for appliance in SHIPPED] == [
        "alpine-minivm",
        "busybox-minivm",
        "debian-minivm",
        "frr-minivm",
        "network-automation-minivm",
        "openvswitch-minivm",
        "services-minivm",
        "traffic-minivm",
    ]


@pytest.mark.parametrize("appliance", SHIPPED, ids=named)
def test_a_user_is_told_what_it_is_and_how_it_is_used(appliance: Appliance) -> None:
    assert appliance.maintainer and appliance.usage and appliance.description.endswith(".")
    assert "poweroff" in appliance.usage
    # Names of nodes are host names of at most 63 characters, with a number at the end.
    assert len(appliance.settings.default_name_format or "") <= 30
    # GNS3 shows the text in a narrow window, and does not fold it.
    assert not [line for line in appliance.usage.splitlines() if len(line) > 120]


@pytest.mark.parametrize("appliance", SHIPPED, ids=named)
def test_its_symbol_is_a_drawing_of_its_own_that_every_gns3_can_show(appliance: Appliance) -> None:
    svg = appliance.symbol_svg
    assert svg is not None and (appliance.settings.symbol or "").startswith(f"{appliance.name}-")
    root = ElementTree.fromstring(svg)
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("64", "64", "0 0 64 64")
    # Qt knows SVG Tiny: no style sheets, masks, filters or text in a font that is not there; nothing from elsewhere.
    used = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert used <= {"svg", "title", "g", "rect", "circle", "path"}
    assert not [name for element in root.iter() for name in element.attrib if "href" in name or name == "style"]


def test_no_two_symbols_are_alike() -> None:
    drawings = [re.sub(rb"<title>.*</title>", b"", appliance.symbol_svg or b"") for appliance in SHIPPED]
    assert len(set(drawings)) == len(SHIPPED)


@pytest.mark.parametrize("appliance", BUILT, ids=named)
def test_its_dockerfile_starts_from_a_release_and_names_no_host(appliance: Appliance) -> None:
    lines = (appliance.folder / "Dockerfile").read_text(encoding="utf-8").splitlines()
    instructions = [line.split(None, 1) for line in lines if line and not line.startswith(("#", " "))]
    assert [rest for word, rest in instructions if word == "FROM"] == [instructions[0][1]]
    assert instructions[0][1] in BASES
    for path in [appliance.folder / "Dockerfile", appliance.folder / "requirements.txt"]:
        if path.exists():
            text = path.read_text(encoding="utf-8")
            assert not re.findall(r"https?://|--(?:extra-)?index-url|--trusted-host|\b\w+\.(?:org|com|io|net)\b", text)


@pytest.mark.parametrize("appliance", BUILT, ids=named)
def test_its_image_stays_small(appliance: Appliance) -> None:
    dockerfile = (appliance.folder / "Dockerfile").read_text(encoding="utf-8")
    for step in re.split(r"(?m)^RUN ", dockerfile)[1:]:
        if "apt-get" in step and " install " in step:
            assert "--no-install-recommends" in step and "rm -rf /var/lib/apt/lists/*" in step
        if "pip install" in step:
            assert "--no-cache-dir" in step
        if "apk add" in step:
            assert "--no-cache" in step


@pytest.mark.parametrize("appliance", BUILT, ids=named)
def test_requirements_are_pinned(appliance: Appliance) -> None:
    requirements = appliance.folder / "requirements.txt"
    if requirements.exists():
        for line in requirements.read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line


@pytest.mark.parametrize("appliance", SHIPPED, ids=named)
def test_its_scripts_are_executable_and_have_no_syntax_error(appliance: Appliance) -> None:
    scripts = [path for path in appliance.folder.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!")]
    assert scripts
    for script in scripts:
        assert script.stat().st_mode & 0o111, f"{script} is not executable"
        shell = "bash" if script.read_bytes().startswith(b"#!/bin/bash") else "sh"
        subprocess.run([shell, "-n", str(script)], check=True)


def test_switch_and_router_are_in_their_places_of_the_device_list() -> None:
    places = {appliance.name: appliance.category for appliance in SHIPPED}
    assert places["openvswitch-minivm"] == "switch"
    assert places["frr-minivm"] == "router"


def test_the_switch_has_sixteen_adapters_and_its_kernel_module() -> None:
    switch = Appliances().find("openvswitch-minivm")
    assert switch is not None
    assert (switch.settings.adapters, switch.settings.module_disk) == (16, True)
    for word in ("tag=10", "trunks=", "lacp=active", "mirror"):
        assert word in switch.usage


@pytest.mark.parametrize(("words", "status"), [((), 0), (("status",), 0), (("nonsense",), 2)])
def test_the_services_are_shown_without_a_word(tmp_path: Path, words: tuple[str, ...], status: int) -> None:
    for name in ("ip", "pgrep"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / "appliances" / "services-minivm" / "services", *words],
        check=False,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    shown = re.findall(r"^(\w+) +not running", done.stdout, re.MULTILINE)
    assert shown == ([] if status else ["dhcp", "dns", "tftp", "http", "ntp", "syslog"])


def test_every_appliance_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "use" / "appliances.md").read_text(encoding="utf-8")
    assert not [appliance.name for appliance in SHIPPED if f"`{appliance.name}`" not in page]
