"""Manifests are read strictly, and every mistake is told with file and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gns3_minivm.appliances import Appliance, Appliances, RootSource, read_appliance
from gns3_minivm.base.errors import ConfigError

GOOD = """\
name: mine
version: "1.0"
description: Something.
build: .
"""


def write(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / name / "appliance.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_appliance(path)
    assert caught.value.exit_status == 2
    return caught.value.message.replace(str(path), "FILE")


def test_a_short_manifest_has_defaults_that_boot(tmp_path: Path) -> None:
    appliance = read_appliance(write(tmp_path, GOOD))
    assert appliance.source is RootSource.BUILD
    assert appliance.folder == tmp_path / "mine"
    assert (appliance.settings.category, appliance.settings.ram, appliance.settings.adapters) == ("guest", 256, 1)
    assert appliance.settings.adapter_type == "virtio-net-pci"
    assert appliance.settings.default_name_format == "mine-{0}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "ramm: 5\n", "FILE:5:.*: unknown key 'ramm'"),
        (GOOD + "ram: much\n", "FILE:5:.*: ram: Input should be a valid integer.*, found 'much'"),
        (GOOD + "ram: 8\n", "FILE:5:.*: ram: Input should be greater than or equal to 32, found 8"),
        (GOOD + "category: toaster\n", "FILE:5:.*: category: Input should be 'guest', .*, found 'toaster'"),
        (GOOD + "adapter_type: e1000\n", "FILE:5:.*: adapter_type: Input should be 'virtio-net-pci', found 'e1000'"),
        (GOOD + "default_name_format: my_{0}\n", "FILE:5:.*: default_name_format: .*RFC 1123.*found 'my_{0}'"),
        (GOOD + "default_name_format: mine\n", 'FILE:5:.*: default_name_format: must hold "{0}"'),
        (GOOD + "kernel_args: 'a=\"b'\n", "FILE:5:.*: kernel_args: the kernel arguments"),
        (GOOD + "embedded: busybox\n", "FILE:1:.*: exactly one of build, embedded and image is needed, found "),
        (GOOD.replace("build: .\n", ""), "FILE:1:.*: exactly one of build, embedded and image .*, found none"),
        (GOOD.replace("build: .", "build: ../other"), "FILE:4:.*: build: "),
        (GOOD + "cmd: [/bin/sh]\n", "FILE:1:.*: cmd is allowed with embedded only"),
        (GOOD + "symbol: symbol.svg\n", "FILE:1:.*: symbol.svg is not in the appliance's folder"),
        (GOOD + "cmd: [/bin/sh, {a: b}]\n", "FILE:5:.*: cmd.1: "),
        (GOOD.replace('"1.0"', "1.0"), "FILE:2:.*: version: Input should be a valid string, found 1.0"),
        (GOOD.replace("name: mine\n", ""), "FILE:1:.*: the key 'name' is missing"),
        (GOOD.replace("name: mine", "name: other"), "FILE:1:.*: the appliance is named 'other' in a folder named"),
        (GOOD + "ram: 64\nram: 128\n", "FILE:6:.*: the key 'ram' appears twice (first in line 5"),
        (GOOD + "usage: [\n", "FILE:6:.*: "),
        (GOOD + "a: &a [*a]\n", "FILE:5:.*: "),
        ("- 1\n", "FILE:1:.*: an appliance must consist of `key: value` lines"),
        ("", "FILE:1:.*: an appliance must consist of `key: value` lines"),
        ("name: !!python/object:os.system x\n", "FILE:1:.*: could not determine a constructor"),
        ("name: \x07\n", "FILE"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    pattern = re.escape(message).replace(r"\.\*", ".*")
    assert re.match(pattern, refusal(tmp_path, text), re.DOTALL), refusal(tmp_path, text)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    lines = refusal(tmp_path, GOOD + "cpus: 0\nx: 1\nadapters: 900\n").splitlines()
    assert [line.split(":")[:2] for line in lines] == [["FILE", "5"], ["FILE", "6"], ["FILE", "7"]]


def test_a_manifest_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_appliance(path)


@pytest.mark.parametrize(
    ("svg", "message"),
    [
        ("<svg", "symbol.svg is not an SVG: unclosed token"),
        (
            '<!-- drawn --><svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
            "symbol.svg does not start with <svg or <?xml",
        ),
        ("<html/>", "symbol.svg has no width"),
        ('<svg xmlns="http://www.w3.org/2000/svg"/>', "symbol.svg has no width and height"),
        ("<!--" + 65536 * "x" + "-->", "symbol.svg has 65543 bytes; at most 65536"),
    ],
)
def test_a_picture_that_gns3_could_not_show_is_refused(tmp_path: Path, svg: str, message: str) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "mine" / "symbol.svg").write_text(svg)
    assert message in refusal(tmp_path, GOOD + "symbol: symbol.svg\n")


def test_another_picture_has_another_name_on_servers(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "symbol: symbol.svg\n")
    names = set()
    for width in "12":
        text = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="1"/>'
        (path.parent / "symbol.svg").write_text(text)
        appliance = read_appliance(path)
        assert appliance.symbol_svg == text.encode()
        names.add(appliance.settings.symbol)
    assert len(names) == 2 and all(re.fullmatch(r"mine-[0-9a-f]{12}\.svg", str(name)) for name in names)


def test_an_extra_folder_comes_before_the_own_one(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("name: mine", "name: debian-minivm"), "debian-minivm")
    write(tmp_path, GOOD)
    appliances = Appliances([tmp_path])
    assert {"mine", "debian-minivm", "busybox-minivm"} <= set(appliances.names())
    found = appliances.find("debian-minivm")
    assert found is not None and found.version == "1.0"
    assert appliances.find("nothing") is None


def test_a_broken_manifest_stops_nobody_who_wants_another(tmp_path: Path) -> None:
    write(tmp_path, "name: [\n", "broken")
    appliances = Appliances([tmp_path])
    assert appliances.find("busybox-minivm") is not None
    with pytest.raises(ConfigError):
        appliances.find("broken")


def test_an_appliance_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        Appliances([tmp_path / "no"]).names()


def test_the_documentation_lists_every_key() -> None:
    page = (Path(__file__).parents[3] / "docs" / "use" / "appliances.md").read_text(encoding="utf-8")
    documented = {
        word for line in page.splitlines() for word in re.findall(r"`(\w+)", line.partition("|")[2].split("|")[0])
    }
    assert set(Appliance.model_fields) - {"folder"} <= documented
