"""An image, a kernel bundle and settings as a template."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from gns3_minivm.agent.desired import DesiredAppliance
from gns3_minivm.base.artifacts import Kind
from gns3_minivm.base.cache import Cache
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.kernels.choice import KernelChoice
from gns3_minivm.ops.templates.supply import BuiltSupply, Wanted
from gns3_minivm.settings import Settings
from gns3_minivm.template_settings.table import TemplateSettings, rows, usual
from tests.support.bundles import put_bundle
from tests.support.layers import file
from tests.support.layers import tar_bytes as tar

WHOLE = (Kind.KERNEL, Kind.INITRD, Kind.MODULES)


async def described(
    folder: Path, *, kinds: tuple[Kind, ...] = WHOLE, kernel: KernelChoice | None = None, **settings: Any
) -> DesiredAppliance:
    """The template of a root file, on a machine with one kernel bundle."""
    put_bundle(Cache(folder / "cache"), kinds=kinds)
    (folder / "root.tar").write_bytes(tar([file("data", b"data")]))
    supply = BuiltSupply(RunContext(settings=Settings(cache_root=folder / "cache"), kernel=kernel or KernelChoice()))
    try:
        wanted = Wanted(image=f"rootfs:{folder / 'root.tar'}", template=TemplateSettings(**settings))
        (found,) = await supply.find([wanted])
    finally:
        await supply.close()
    if found.error:
        raise found.error
    assert found.desired is not None
    return found.desired


async def test_a_template_gets_what_is_usual_where_nobody_says_anything(tmp_path: Path) -> None:
    found = await described(tmp_path)
    values = {row.name: getattr(found.template, row.field) for row in rows() if row.field}
    expected = {row.name: row.default for row in rows() if row.field} | {"default_name_format": "root-{0}"}
    assert {name: value for name, value in values.items() if name != "usage"} == {
        name: value for name, value in expected.items() if name != "usage"
    }
    assert usual().machine and f"-machine {usual().machine} " in found.template.options


async def test_the_machine_type_is_the_one_that_is_stated(tmp_path: Path) -> None:
    words = shlex.split((await described(tmp_path, machine="pc")).template.options)
    assert words[words.index("-machine") + 1] == "pc" and words.count("-machine") == 1


async def test_what_is_stated_is_not_the_users_any_more(tmp_path: Path) -> None:
    free = await described(tmp_path)
    assert {"ram_mb", "cpus", "kernel_command_line"} <= free.user_fields
    stated = await described(tmp_path, ram=300, kernel_args="quiet")
    assert free.user_fields - stated.user_fields == {"ram_mb", "kernel_command_line"}


async def test_a_kernel_that_a_catalogue_names_by_its_flavour_is_one_of_many(tmp_path: Path) -> None:
    """A template keeps any version of that flavour; of a kernel that is named for once, only that one."""
    choice = KernelChoice(name="debian", standing=True)
    found = await described(tmp_path, kernel=choice)
    assert found.kernel_stated and found.kernel_names == choice.kept_names != ""
    once = await described(tmp_path, kernel=KernelChoice(name="debian"))
    assert once.kernel_stated and once.kernel_names == ""


async def test_every_image_has_the_kernels_modules_unless_somebody_says_no(tmp_path: Path) -> None:
    found = (await described(tmp_path)).template
    assert found.hdb_disk_image.startswith("modules-") and found.hdb_disk_interface == "virtio"
    without = await described(tmp_path, module_disk=False)
    assert (without.template.hdb_disk_image, without.template.hdb_disk_interface) == ("", "none")
    assert {file.filename for file in without.files} == {
        without.template.kernel_image,
        without.template.initrd,
        without.template.hda_disk_image,
    }


async def test_a_kernel_without_modules_needs_no_disk_for_them(tmp_path: Path) -> None:
    assert (await described(tmp_path, kinds=(Kind.KERNEL,))).template.hdb_disk_image == ""
