"""A template keeps its kernel, unless the user names another one.

Which kernels there are in a cache is an accident of the machine that an agent runs on; what a template boots is not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from gns3_minivm.agent.desired import NOT_BUILT, DesiredAppliance, WantedFile
from gns3_minivm.agent.files import is_numbered
from gns3_minivm.gns3.model import QemuTemplate

_FILES = ("kernel_image", "initrd", "hdb_disk_image")


def keep_kernel(appliance: DesiredAppliance, existing: QemuTemplate, images: Collection[str]) -> DesiredAppliance:
    """The appliance with the kernel of the template that a server has, if that one is whole; ``images`` are by name."""
    has = {field: getattr(existing, field) for field in _FILES}
    ours = {field: getattr(appliance.template, field) for field in _FILES}
    same = all(is_numbered(has[field], ours[field]) for field in _FILES)
    whole = bool(existing.kernel_image) and all(name in images for name in has.values() if name)
    if _is_stated(appliance, existing) or same or not whole or _lacks_modules(has, ours):
        return appliance
    if _wants_no_modules(ours):
        has["hdb_disk_image"] = ""
    files = [file for file in appliance.files if file.filename not in ours.values()]
    files += [WantedFile(name) for name in has.values() if name]
    offered = tuple((f, ours[f]) for f in _FILES if has[f] != ours[f] and not ours[f].endswith(NOT_BUILT))
    kept = {**has, "hdb_disk_interface": existing.hdb_disk_interface if has["hdb_disk_image"] else "none"}
    return replace(
        appliance,
        template=replace(appliance.template, **kept),
        files=tuple(files),
        offered=appliance.offered + offered,
    )


def _is_stated(appliance: DesiredAppliance, existing: QemuTemplate) -> bool:
    """Whether the user has named a kernel, and the template's is not one of that name."""
    names = appliance.kernel_names
    return appliance.kernel_stated and not (names and re.fullmatch(names, existing.kernel_image))


def _lacks_modules(has: Mapping[str, str], ours: Mapping[str, str]) -> bool:
    """Whether a module disk is wanted that the kernel does not have, which has modules.

    Kernels without an initial RAM disk have everything built in.
    """
    both_have_initrd = bool(has["initrd"]) and bool(ours["initrd"])
    return both_have_initrd and not has["hdb_disk_image"] and bool(ours["hdb_disk_image"])


def _wants_no_modules(ours: Mapping[str, str]) -> bool:
    return bool(ours["initrd"]) and not ours["hdb_disk_image"]
