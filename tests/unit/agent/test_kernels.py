"""A template keeps the kernel that it has, unless the user names one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, template_id
from gns3_minivm.agent.differences import differences
from gns3_minivm.agent.kernels import keep_kernel
from gns3_minivm.gns3.model import QemuTemplate
from gns3_minivm.ops.kernels.choice import KernelChoice

HAS = {"kernel_image": "vmlinuz-a", "initrd": "initrd-a", "hdb_disk_image": "modules-a.qcow2"}
OURS = {"kernel_image": "vmlinuz-b", "initrd": "initrd-b", "hdb_disk_image": "modules-b.qcow2"}
IMAGES = {"disk.qcow2", *HAS.values()}


def appliance(**files: str) -> DesiredAppliance:
    names: dict[str, Any] = {name: value for name, value in (files or OURS).items() if value}
    template = QemuTemplate(
        template_id=template_id("vm"), name="vm", hda_disk_image="disk.qcow2", hdb_disk_interface="virtio", **names
    )
    return DesiredAppliance(
        template=template, files=tuple(WantedFile(name, 1, "m") for name in ("disk.qcow2", *names.values()))
    )


def existing(**values: str) -> QemuTemplate:
    return replace(appliance(**HAS).template, **values)  # type: ignore[arg-type]


def test_a_whole_kernel_is_kept_and_the_other_one_is_told() -> None:
    kept = keep_kernel(appliance(), existing(), IMAGES)
    assert {name: getattr(kept.template, name) for name in HAS} == HAS
    assert {file.filename for file in kept.files} == IMAGES
    changes, left = differences(existing(), kept)
    assert not changes
    assert left == {name: (HAS[name], OURS[name]) for name in HAS}


def test_a_kernel_that_is_stated_takes_its_place() -> None:
    stated = replace(appliance(), kernel_stated=True)
    assert keep_kernel(stated, existing(), IMAGES) is stated


def test_a_kernel_of_which_a_file_is_missing_is_replaced() -> None:
    for name in HAS.values():
        assert keep_kernel(appliance(), existing(), IMAGES - {name}).template == appliance().template
    assert keep_kernel(appliance(), existing(kernel_image=""), IMAGES).template == appliance().template


def test_a_template_that_lacks_the_module_disk_gets_a_whole_set() -> None:
    assert keep_kernel(appliance(), existing(hdb_disk_image=""), IMAGES).template == appliance().template


def test_a_template_that_shall_have_no_module_disk_keeps_its_kernel_and_loses_the_disk() -> None:
    kept = keep_kernel(appliance(**(OURS | {"hdb_disk_image": ""})), existing(), IMAGES)
    assert {name: getattr(kept.template, name) for name in HAS} == HAS | {"hdb_disk_image": ""}
    assert (kept.template.hdb_disk_interface, {file.filename for file in kept.files}) == (
        "none",
        IMAGES - {HAS["hdb_disk_image"]},
    )


def test_a_kernel_without_an_initial_ram_disk_is_kept_as_well() -> None:
    kept = keep_kernel(appliance(), existing(initrd=""), IMAGES)
    assert kept.template.initrd == "" and kept.template.kernel_image == "vmlinuz-a"


def test_the_same_kernel_is_looked_at_as_usual_also_under_a_numbered_name() -> None:
    wanted = appliance()
    numbered = {"kernel_image": "vmlinuz-b-2", "initrd": "initrd-b", "hdb_disk_image": "modules-b-3.qcow2"}
    for names in (OURS, numbered):
        there = existing(**names)
        assert keep_kernel(wanted, there, {"disk.qcow2", *names.values()}) is wanted


ONE_FILE = {
    "kernel_image": "vmlinuz-6.1.5-2-monolithic-0123456789ab",
    "initrd": "",
    "hdb_disk_image": "",
    "hdb_disk_interface": "none",
}


def test_a_kernel_of_one_file_is_kept_though_ours_has_a_module_disk() -> None:
    there = existing(**ONE_FILE)
    kept = keep_kernel(appliance(), there, {"disk.qcow2", ONE_FILE["kernel_image"]})
    assert {file.filename for file in kept.files} == {"disk.qcow2", ONE_FILE["kernel_image"]}
    assert not differences(there, kept)[0]


def test_a_kernel_with_a_module_disk_is_kept_though_ours_is_one_file() -> None:
    kept = keep_kernel(appliance(kernel_image="vmlinuz-6.1.5-2-monolithic-0123456789ab"), existing(), IMAGES)
    assert {name: getattr(kept.template, name) for name in HAS} == HAS
    assert not differences(existing(), kept)[0]


def test_where_only_a_flavour_is_stated_any_version_of_it_is_kept() -> None:
    for name, kept_ones in {
        "monolithic": [ONE_FILE["kernel_image"]],
        "debian": ["vmlinuz-6.1.0-56-cloud-amd64-0123456789ab-2"],
    }.items():
        choice = KernelChoice(name=name, standing=True)
        stated = replace(appliance(), kernel_stated=True, kernel_names=choice.kept_names)
        for image in (
            ONE_FILE["kernel_image"],
            "vmlinuz-6.1.0-56-cloud-amd64-0123456789ab-2",
            "vmlinuz-6.12.1-0123456789ab",
        ):
            there = existing(kernel_image=image)
            kept = keep_kernel(stated, there, {*IMAGES, image}).template.kernel_image
            assert kept == (image if image in kept_ones else OURS["kernel_image"])


def test_a_version_or_a_flavour_named_for_once_is_exact() -> None:
    for choice in (
        KernelChoice(name="monolithic"),
        KernelChoice(name="monolithic:6.1.5-2-monolithic", standing=True),
        KernelChoice(name="custom", standing=True),
    ):
        assert choice.kept_names == ""
