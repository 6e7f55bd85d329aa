"""What GNS3 would refuse, or take and not stand, is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from gns3_minivm.base.errors import UsageError
from gns3_minivm.gns3.messages import NodeProperties, Strict, TemplateFields, checked


@pytest.mark.parametrize("model", [TemplateFields, NodeProperties])
@pytest.mark.parametrize(("name", "least", "most"), [("cpus", 1, 255), ("adapters", 0, 275)])
def test_numbers_have_the_bounds_of_the_servers_schemas(model: type[Strict], name: str, least: int, most: int) -> None:
    for value in (least, most):
        assert checked(model, {name: value}, "vm") == {name: value}
    for value in (least - 1, most + 1):
        with pytest.raises(UsageError, match=f"{name} = {value}"):
            checked(model, {name: value}, "vm")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ram": 0}, "ram = 0"),
        ({"ram": "256"}, "ram = '256'"),
        ({"adapter_type": "virtio-net-device"}, "adapter_type = 'virtio-net-device'"),
        ({"hda_disk_image": "folder/disk.qcow2"}, "hda_disk_image"),
        ({"options": "-machine q35 -drive file=x"}, "-drive"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_a_wrong_value_is_told_with_its_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checked(TemplateFields, values, "vm")
