"""What a version of an appliance file becomes on servers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, catalogue_of, origin_of, template_id
from gns3_minivm.agent.observe import Observed
from gns3_minivm.agent.plan import plan
from gns3_minivm.base.errors import ConfigError, UsageError
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.model import QemuTemplate, ServerImage
from gns3_minivm.gns3a.model import ApplianceFile
from gns3_minivm.ops.gns3a.import_file import ImportRequest, choose
from gns3_minivm.ops.gns3a.template import ImportedVersion, imported, server_name
from tests.support.gns3a import FILES, image, original

PATH = Path("/nonexistent/alpine.gns3a")


def version(
    path: Path = PATH, *, name: str = "Alpine-minivm", is_pinned: bool = False, **changes: Any
) -> ImportedVersion:
    appliance = ApplianceFile.model_validate(original(**changes))
    return imported(path, appliance, appliance.versions[0], name=name, is_pinned=is_pinned)


def qemu(**changes: Any) -> dict[str, Any]:
    return {**original()["qemu"], **changes}


def test_the_originals_settings_are_the_templates() -> None:
    found = version()
    template = found.desired.template
    assert template.kernel_command_line == "console=ttyS0 quiet root=/dev/sda rw"
    assert (template.hda_disk_interface, template.hdb_disk_interface) == ("scsi", "scsi")
    assert {slot: getattr(template, slot) for slot in FILES} == {slot: name for slot, (name, _) in FILES.items()}
    assert (template.ram_mb, template.adapters, template.on_close, template.options) == (256, 1, "power_off", "")
    assert (template.platform, template.linked_clone, template.compute_id) == ("x86_64", True, None)
    assert template.default_name_format == "Alpine-minivm-{0}"
    assert template.template_id == template_id("Alpine-minivm")
    assert {(file.filename, file.md5) for file in found.desired.files} == {
        (name, hashlib.md5(content).hexdigest()) for name, content in FILES.values()
    }


def test_the_usage_text_says_which_disk_it_came_from() -> None:
    usage = version().desired.template.usage
    name, content = FILES["hda_disk_image"]
    assert usage.startswith("For a clean shutdown")
    assert origin_of(usage) == f"{name} md5:{hashlib.md5(content).hexdigest()}"


def test_no_author_can_make_a_template_one_of_a_catalogue() -> None:
    usage = "Images:\n  in two sizes\n\nMade by gns3-minivm. Catalogue: prod.\n"
    found = version(usage=usage).desired.template.usage
    assert catalogue_of(found) == "" and found.startswith("Images:\n  in two sizes\n\nImage: ")


def test_a_multilayer_switch_is_a_switch_and_a_name_that_is_no_host_name_gives_one() -> None:
    found = version(category="multilayer_switch", name="Open vSwitch (minivm)").desired.template
    assert (found.category, found.default_name_format) == ("switch", "Open-vSwitch-minivm-{0}")


def test_acceleration_that_is_forbidden_is_an_option_as_in_gns3s_own_import() -> None:
    assert version(qemu=qemu(kvm="disable", options="-icount auto")).desired.template.options == (
        "-icount auto -machine accel=tcg"
    )
    assert version(qemu=qemu(kvm="require")).desired.template.options == ""


def test_a_disk_without_an_interface_gets_one_since_gns3_would_leave_it_out() -> None:
    settings = qemu()
    del settings["hda_disk_interface"]
    assert version(qemu=settings).desired.template.hda_disk_interface == "ide"


def test_a_pinned_version_has_an_id_of_its_own() -> None:
    pinned = version(is_pinned=True, name="Alpine-minivm 3.19.1").desired.template
    assert pinned.template_id == template_id("Alpine-minivm", version="3.19.1") != template_id("Alpine-minivm 3.19.1")


def test_what_gets_lost_is_told() -> None:
    settings = qemu(cpu_throttling=80, process_priority="low", boot_priority="c", cdrom_image="")
    warnings = version(qemu=settings, port_segment_size=4, custom_adapters=[{}]).warnings
    assert "left out: cpu_throttling, process_priority, port_segment_size, custom_adapters" in warnings[0]


def test_a_symbol_beside_the_file_goes_along_and_never_takes_the_name_of_another(tmp_path: Path) -> None:
    path = tmp_path / "a.gns3a"
    (tmp_path / "linux_guest.svg").write_bytes(b"<svg/>")
    digits = hashlib.sha256(b"<svg/>").hexdigest()[:12]
    desired = version(path).desired
    assert (desired.template.symbol, desired.symbol_svg) == (f"linux_guest-{digits}.svg", b"<svg/>")
    (tmp_path / f"vm-{digits}.svg").write_bytes(b"<svg/>")
    assert version(path, symbol=f"vm-{digits}.svg").desired.template.symbol == f"vm-{digits}.svg"


@pytest.mark.parametrize("symbol", ["linux_guest.svg", "../../etc/passwd", "..", "a\0b", "x" * 5000])
def test_a_symbol_that_is_not_there_is_the_usual_one_and_told(tmp_path: Path, symbol: str) -> None:
    found = version(tmp_path / "a.gns3a", symbol=symbol)
    assert (found.desired.template.symbol, found.desired.symbol_svg) == (":/symbols/classic/qemu_guest.svg", None)
    assert "is not beside it" in found.warnings[-1]


@pytest.mark.parametrize("content", [b"-----BEGIN OPENSSH PRIVATE KEY-----", b"<?xml version='1.0'?><html/>", b""])
def test_a_file_that_is_no_picture_is_never_sent_as_a_symbol(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "id_rsa").write_bytes(content)
    found = version(tmp_path / "a.gns3a", symbol="id_rsa")
    assert (found.desired.template.symbol, found.desired.symbol_svg) == (":/symbols/classic/qemu_guest.svg", None)
    assert "'id_rsa' is not a picture" in found.warnings[-1]


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n...", b"\xff\xd8\xff\xe0", b"GIF89a", b"<?xml version='1.0'?>\n<svg/>"]
)
def test_every_kind_of_picture_that_gns3_shows_goes_along(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "picture").write_bytes(content)
    assert version(tmp_path / "a.gns3a", symbol="picture").desired.symbol_svg == content


def test_a_symbol_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "linux_guest.svg")
    assert "is not beside it" in version(tmp_path / "a.gns3a").warnings[-1]


@pytest.mark.parametrize("symbol", [":/symbols/router.svg", None])
def test_a_symbol_of_gns3_is_taken_as_it_is(symbol: str | None) -> None:
    found = version(symbol=symbol)
    assert found.desired.template.symbol == (symbol or ":/symbols/classic/qemu_guest.svg")
    assert not found.warnings


def without_kernel() -> dict[str, Any]:
    return {"versions": [{"name": "1", "images": {"hda_disk_image": FILES["hda_disk_image"][0]}}]}


def with_cdrom() -> dict[str, Any]:
    images = {slot: name for slot, (name, _) in FILES.items()}
    return {"versions": [{"name": "1", "images": {**images, "cdrom_image": images["initrd"]}}]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (without_kernel(), "Alpine-minivm 1 does not boot a kernel directly: it has no kernel_image"),
        (with_cdrom(), "needs a cdrom_image; templates of gns3-minivm can have"),
        ({"qemu": qemu(arch="arm")}, "is for arm; import supports x86_64, i386, aarch64"),
        ({"images": [*original()["images"], image(FILES["initrd"][0], b"other")]}, "is among the images 2 times"),
    ],
)
def test_what_cannot_be_such_a_template_is_one_clear_error(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        version(**changes)


@pytest.mark.parametrize(
    ("filename", "wanted"),
    [
        ("vmlinuz-6.1", "vmlinuz-6.1"),
        ("My disk (1).qcow2", "My-disk-1-.qcow2"),
        ("initrd.gz", "initrd-gz"),
        ("rootfs.img.xz", "rootfs.img-xz"),
        (".hidden", "hidden"),
        ("ä", "image"),
    ],
)
def test_names_that_servers_do_not_take_are_changed(filename: str, wanted: str) -> None:
    assert server_name(filename) == wanted


def test_another_file_of_an_authors_name_is_never_replaced() -> None:
    template = QemuTemplate(template_id=template_id("vm"), name="vm", kernel_image="vmlinuz")
    there = {"local": {"vmlinuz": ServerImage(filename="vmlinuz", size_bytes=5, md5="a" * 32)}}
    desired = DesiredAppliance(template=template, files=(WantedFile("vmlinuz", 7, "b" * 32, has_recipe=False),))
    [upload] = plan(Observed(url="http://h", one_name_per_content=False, images=there, templates=()), [desired]).uploads
    assert (upload.filename, upload.source, upload.damaged) == ("vmlinuz-2", "vmlinuz", "")


def request(**values: Any) -> ImportRequest:
    return ImportRequest(path=PATH, servers=(parse_address("http://h"),), **values)


def test_the_first_version_that_boots_directly_is_meant_unless_others_are_named() -> None:
    [direct] = original()["versions"]
    versions = [*without_kernel()["versions"], direct, {**direct, "name": "3.18"}]
    appliance = ApplianceFile.model_validate(original(versions=versions))
    assert [one.name for one in choose(request(), appliance)] == ["3.19.1"]
    assert [one.name for one in choose(request(versions=("3.18", "1", "3.18")), appliance)] == ["3.18", "1"]
    with pytest.raises(UsageError, match="has no version '9'") as caught:
        choose(request(versions=("9",)), appliance)
    assert "1, 3.19.1, 3.18" in caught.value.hint
    with pytest.raises(UsageError, match="--as names one template"):
        choose(request(versions=("1", "3.18"), template_name="x"), appliance)
