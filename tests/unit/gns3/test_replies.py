"""Servers' answers: newer ones may say more than we know, and that is no crash."""

from __future__ import annotations

import pytest

from gns3_minivm.base.errors import ServerFaultError
from gns3_minivm.gns3 import replies
from gns3_minivm.gns3.model import LinkEnd, Port

ID = "11111111-1111-5111-8111-111111111111"


def test_unknown_keys_and_values_are_taken_as_they_come() -> None:
    found = replies.template(
        {
            "template_id": ID,
            "name": "x",
            "template_type": "qemu",
            "adapter_type": "virtio-net-quantum",
            "console_type": "hologram",
            "category": 2,
            "on_close": None,
            "new_in_4.0": {"a": 1},
        }
    )
    assert found.values is not None
    assert (found.values.adapter_type, found.values.console_type) == ("virtio-net-quantum", "hologram")
    assert (found.values.category, found.values.on_close, found.values.linked_clone) == ("2", "", True)


def test_templates_of_other_emulators_have_no_values() -> None:
    for kind in ("docker", "something-new"):
        found = replies.template({"template_id": ID, "name": "x", "template_type": kind})
        assert (found.template_type, found.values) == (kind, None)


def test_a_node_of_an_unknown_state_is_read() -> None:
    found = replies.node(
        {
            "project_id": "p",
            "node_id": "n",
            "name": "x",
            "node_type": "qemu",
            "status": "hibernating",
            "console": None,
            "ports": [{"name": "eth0", "adapter_number": 0, "port_number": 0, "link_type": "optical"}],
        }
    )
    assert (found.status, found.console_port) == ("hibernating", None)
    assert found.ports == (Port(name="eth0", adapter=0, port=0, mac_address=None),)


def test_a_link_has_only_what_its_style_says() -> None:
    answer = {"link_id": "1", "nodes": [], "link_style": {"color": None, "width": 3, "type": None}}
    assert replies.link(answer, "p").style == {"width": 3}


def test_a_link_is_read_by_its_ends() -> None:
    end = {"node_id": "n", "adapter_number": 2, "port_number": 1, "label": {}}
    assert replies.link({"link_id": "l", "nodes": [end, end]}, "p").ends == (LinkEnd("n", 2, 1),) * 2
    made = {"link_id": "l", "nodes": [], "link_style": {"color": None, "width": 3, "type": None}}
    assert replies.link(made, "p").style == {"width": 3}


def test_a_checksum_that_is_no_md5_is_not_taken_for_one() -> None:
    answer = {"filename": "f", "image_size": 1, "checksum": "ab", "checksum_algorithm": "sha256"}
    assert replies.image_v3(answer).md5 is None


def test_an_answer_that_lacks_what_we_need_is_told_by_its_key() -> None:
    with pytest.raises(ServerFaultError, match=r"a template in an unknown way \(name: Field required\)") as caught:
        replies.template({"template_id": ID, "template_type": "qemu"})
    assert caught.value.hint
