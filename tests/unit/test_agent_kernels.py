"""A template keeps the kernel that it has, unless the user names one."""

from __future__ import annotations

from dataclasses import replace

from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, template_id
from gns3_minivm.agent.differences import differences
from gns3_minivm.agent.kernels import keep_kernel
from gns3_minivm.gns3.model import QemuTemplate

HAS = {"kernel_image": "vmlinuz-a", "initrd": "initrd-a", "hdb_disk_image": "modules-a.qcow2"}
OURS = {"kernel_image": "vmlinuz-b", "initrd": "initrd-b", "hdb_disk_image": "modules-b.qcow2"}
IMAGES = {"disk.qcow2", *HAS.values()}


def appliance(**files: str) -> DesiredAppliance:
    names = {name: value for name, value in (files or OURS).items() if value}
    template = QemuTemplate(template_id("vm"), "vm", hda_disk_image="disk.qcow2", hdb_disk_interface="virtio", **names)  # type: ignore[arg-type]
    return DesiredAppliance(template, tuple(WantedFile(name, 1, "m") for name in ("disk.qcow2", *names.values())))


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
    without = appliance(**(OURS | {"hdb_disk_image": ""}))
    assert keep_kernel(without, existing(), IMAGES).template == without.template


def test_a_kernel_without_an_initial_ram_disk_is_kept_as_well() -> None:
    kept = keep_kernel(appliance(), existing(initrd=""), IMAGES)
    assert kept.template.initrd == "" and kept.template.kernel_image == "vmlinuz-a"


def test_the_same_kernel_is_looked_at_as_usual_also_under_a_numbered_name() -> None:
    wanted = appliance()
    numbered = {"kernel_image": "vmlinuz-b-2", "initrd": "initrd-b", "hdb_disk_image": "modules-b-3.qcow2"}
    for names in (OURS, numbered):
        there = existing(**names)
        assert keep_kernel(wanted, there, {"disk.qcow2", *names.values()}) is wanted
