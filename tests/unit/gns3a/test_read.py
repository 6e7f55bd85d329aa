"""Appliance files are read as their authors meant them; whatever is wrong with one is a single error that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.gns3a.model import RECORD
from gns3_minivm.gns3a.read import SIZE_MAX, parse_gns3a, read_gns3a
from gns3_minivm.gns3a.write import gns3a_text
from tests.support.gns3a import original

PATH = Path("a.gns3a")


def parse(values: Any) -> Any:
    return parse_gns3a(PATH, json.dumps(values).encode())


def changed(where: str, value: Any) -> dict[str, Any]:
    """The original with one value replaced, or taken away."""
    values: dict[str, Any] = json.loads(json.dumps(original()))
    *parts, last = where.split(".")
    inner: Any = values
    for part in parts:
        inner = inner[int(part)] if part.isdigit() else inner[part]
    key = int(last) if last.isdigit() else last
    if value is None:
        del inner[key]
    else:
        inner[key] = value
    return values


def test_the_originals_files_are_read() -> None:
    found = parse(original())
    assert (found.name, found.qemu.ram, found.qemu.on_close) == ("Alpine-minivm", 256, "power_off")
    assert found.versions[0].images["kernel_image"] == "debian-vmlinuz-6.1.0-18-cloud-amd64"
    assert len(found.images) == 4 and found.record is None


def test_what_is_written_is_read_as_the_same_and_written_as_the_same_bytes() -> None:
    text = gns3a_text(parse(original()))
    assert gns3a_text(parse_gns3a(PATH, text.encode())) == text
    assert text.isascii() and text.endswith("}\n")


def test_a_byte_order_mark_and_tabs_do_no_harm() -> None:
    text = json.dumps(original(), indent="\t")
    assert parse_gns3a(PATH, b"\xef\xbb\xbf" + text.encode()).name == "Alpine-minivm"


def test_keys_that_nobody_knows_are_passed_over() -> None:
    assert parse(original(marketing={"a": [1]}, vendor_logo_url="x")).name == "Alpine-minivm"


def test_what_a_later_release_of_ours_has_added_is_passed_over() -> None:
    assert parse(original(**{RECORD: {"format": 2, "made": 7}})).record is None


def test_a_file_of_registry_version_8_is_read_with_its_default_settings() -> None:
    values = original(registry_version=8)
    properties = {key: value for key, value in values.pop("qemu").items() if key != "arch"}
    properties |= {"platform": "x86_64", "usage": "as told", "port_name_format": "ens{0}"}
    values["settings"] = [
        {"name": "other", "template_type": "qemu", "template_properties": {**properties, "ram": 1}},
        {"name": "this", "default": True, "template_type": "qemu", "template_properties": properties},
    ]
    found = parse(values)
    assert (found.qemu.ram, found.qemu.arch, found.port_name_format) == (256, "x86_64", "ens{0}")
    values["versions"][0]["settings"] = "other"
    with pytest.raises(ConfigError, match="different settings"):
        parse(values)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"\x7fELF\xff", "not UTF-8 text"),
        (b"<html>", "not JSON"),
        (b"[1]", "not a JSON object but list"),
        (b'{"registry_version": NaN}', "number NaN"),
        (b"{}", "no registry_version"),
        (b'{"registry_version": true}', "no registry_version"),
        (b'{"registry_version": 99}', "registry_version 99; import reads 1 to 8"),
        (b"[" * 200_000, "nested too deeply|not JSON"),
        (b'{"registry_version": ' + b"9" * 6000 + b"}", "not JSON|registry_version"),
        (b" " * (SIZE_MAX + 1), "more than 4 MiB"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_what_is_no_appliance_file_is_one_error(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_gns3a(PATH, data)
    assert caught.value.message.startswith("a.gns3a") and caught.value.hint


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("images.0.md5sum", "abc", r"images\[0\].md5sum.*found 'abc'"),
        ("images.0.md5sum", None, r"the key 'images\[0\].md5sum' is missing"),
        (
            "images.0.filename",
            "../x",
            r"images\[0\].filename: must be a plain file name, without folders, found '../x'",
        ),
        ("images.0.filename", "/etc/passwd", "plain file name"),
        ("images.0.filename", "a\\b", "plain file name"),
        ("images.0.filename", "..", "plain file name"),
        ("images.0.filename", "", "plain file name"),
        ("images.0.filename", "x\0y", "plain file name"),
        ("images.0.filename", "--force", "plain file name"),
        ("images.0.filename", "x" * 300, "plain file name"),
        ("images.0.filesize", -1, "greater than or equal to 1"),
        ("images.0.filesize", "12", r"images\[0\].filesize"),
        ("images.0.filesize", 1 << 80, r"images\[0\].filesize"),
        ("images", {}, "images: "),
        ("images.1", None, "needs debian-vmlinuz-6.1.0-18-cloud-amd64, which is not among the images"),
        ("versions", [], "versions: "),
        ("versions.0.images.initrd", "../../root/x", "plain file name"),
        ("versions.0.images", ["x"], r"versions\[0\].images"),
        ("versions.0.name", "", r"versions\[0\].name"),
        ("qemu", None, "no settings for QEMU"),
        ("qemu", 5, "qemu: "),
        ("qemu.ram", "256", "qemu.ram.*found '256'"),
        ("qemu.adapters", 1000, "qemu.adapters"),
        ("qemu.hda_disk_interface", "floppies", "qemu.hda_disk_interface"),
        ("qemu.arch", None, "the key 'qemu.arch' is missing"),
        ("category", "toaster", "category"),
        ("name", 7, "name: "),
        ("name", "\x1b]0;title\x07", "name: must be printable"),
        ("images.0.filename", "\ud800", "plain file name"),
        ("versions.0.images", {"\x1b[2J": 5}, r"versions\[0\].images.\?\[2J"),
    ],
)
def test_every_wrong_value_is_named(where: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse(changed(where, value))
    assert caught.value.message.startswith("a.gns3a: ") or caught.value.message.startswith("a.gns3a has")
    assert "\n" not in caught.value.message


def test_versions_of_one_name_are_refused() -> None:
    values = original()
    with pytest.raises(ConfigError, match="'3.19.1' appears twice"):
        parse({**values, "versions": values["versions"] * 2})


@pytest.mark.parametrize("kind", ["docker", "iou", "dynamips"])
def test_appliances_of_other_emulators_are_named(kind: str) -> None:
    values = original(**{kind: {}})
    del values["qemu"]
    with pytest.raises(ConfigError, match=f"is an appliance for {kind}; only QEMU appliances"):
        parse(values)


@pytest.mark.parametrize(
    "image",
    [
        "rootfs:/etc/shadow",
        "docker-archive:/x.tar",
        "docker://h/x:latest",
        "https://h/x",
        "../x",
        "docker://h/ x@sha256:a",
        "docker://h/\x1b[2J@sha256:a",
    ],
)
def test_a_record_names_images_by_digest_only(image: str) -> None:
    disk = {"image": image, "digest": f"sha256:{'a' * 64}", "recipe": "b" * 64, "size_bytes": 1, "compression": "zstd"}
    record = {"format": 1, "release": "1", "made": {"x": {"sha256": "c" * 64, "disk": disk}}}
    with pytest.raises(ConfigError, match="image"):
        parse(original(**{RECORD: record}))


@pytest.mark.parametrize("wheel", ["evil==1", "gns3-minivm-kernel==1 evil", "gns3-minivm-kernel==1\n", "\x1b[2J"])
def test_a_record_names_no_other_package_than_the_kernels(wheel: str) -> None:
    kernel = {"bundle": "a" * 64, "flavour": "debian", "version": "6.1", "wheel": wheel}
    record = {"format": 1, "release": "1", "made": {"x": {"sha256": "c" * 64, "kernel": kernel}}}
    with pytest.raises(ConfigError, match=r"wheel: String should match pattern"):
        parse(original(**{RECORD: record}))


def test_many_mistakes_are_told_in_a_few_words() -> None:
    values = original(images=[{"filename": 1} for _ in range(1000)])
    with pytest.raises(ConfigError, match="more mistakes") as caught:
        parse(values)
    assert len(caught.value.message) < 1000


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_gns3a(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_gns3a(tmp_path / "none.gns3a")


def test_a_huge_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="more than 4 MiB"):
        read_gns3a(Path("/dev/zero"))
