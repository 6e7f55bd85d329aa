"""Whose turn it is: what the catalogue states is kept up, the rest is the user's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gns3_minivm.agent.desired import MARK, DesiredAppliance, catalogue_of, template_id, with_mark, without_mark
from gns3_minivm.agent.differences import differences
from gns3_minivm.gns3.model import QemuTemplate

USERS = frozenset({"name", "ram_mb", "usage", "kernel_command_line", "options"})
OURS = f"{MARK} Catalogue: lab."


def wanted(catalogue: str = "lab", users: frozenset[str] = USERS) -> DesiredAppliance:
    template = QemuTemplate(
        template_id=template_id("vm"), name="vm", usage="Log in.", kernel_command_line="quiet rw", options="-m q35"
    )
    return DesiredAppliance(template=template, files=(), user_fields=users, catalogue=catalogue)


def changed(appliance: DesiredAppliance, **values: object) -> tuple[dict[str, object], set[str]]:
    """The new values of what is changed, and the fields that are left, for a template with these values."""
    changes, left = differences(replace(appliance.template, **values), appliance)  # type: ignore[arg-type]
    return {name: new for name, (_, new) in changes.items()}, set(left)


def test_a_users_field_is_left_and_a_stated_one_is_changed() -> None:
    assert changed(wanted(), ram_mb=1, adapters=9) == ({"adapters": 1}, {"ram_mb"})
    assert changed(wanted(users=USERS - {"ram_mb"}), ram_mb=1) == ({"ram_mb": 256}, set())


@pytest.mark.parametrize("field", ["kernel_command_line", "options"])
def test_words_at_the_end_of_a_line_are_the_users_and_ours_are_not(field: str) -> None:
    line = getattr(wanted().template, field)
    assert changed(wanted(), **{field: f"{line} more words"}) == ({}, {field})
    assert changed(wanted(), **{field: f"{line}more"}) == ({field: line}, set())
    assert changed(wanted(), **{field: "other"}) == ({field: line}, set())
    assert changed(wanted(users=USERS - {field}), **{field: f"{line} more"}) == ({field: line}, set())


def test_a_users_usage_text_is_left_whatever_became_of_the_mark() -> None:
    for usage in (f"Mine.\n\n{OURS}", "Mine.", ""):
        assert changed(wanted(), usage=usage) == ({}, {"usage"})


def test_the_catalogues_mark_is_put_on_a_template_of_ours_and_the_text_is_kept() -> None:
    assert changed(wanted(), usage=f"Mine.\n\n{MARK}") == ({"usage": f"Mine.\n\n{OURS}"}, set())
    assert changed(wanted(), usage=f"Log in.\n\n{MARK}") == ({"usage": f"Log in.\n\n{OURS}"}, set())
    assert changed(wanted(), usage=f"Mine.\n\n{MARK} Catalogue: old.") == ({"usage": f"Mine.\n\n{OURS}"}, set())


def test_without_a_catalogue_the_mark_of_one_stays() -> None:
    plain = wanted(catalogue="")
    assert changed(plain, usage=f"Log in.\n\n{OURS}") == ({}, set())
    stated = wanted(catalogue="", users=USERS - {"usage"})
    assert changed(stated, usage=f"Mine.\n\n{OURS}") == ({"usage": f"Log in.\n\n{OURS}"}, set())


def test_a_stated_usage_text_is_written_with_the_mark() -> None:
    stated = wanted(users=USERS - {"usage"})
    for usage in ("Mine.", "", f"Mine.\n\n{MARK}", f"Log in.\n\n{MARK}"):
        assert changed(stated, usage=usage) == ({"usage": f"Log in.\n\n{OURS}"}, set())


def test_white_space_at_the_ends_of_a_usage_text_is_no_difference() -> None:
    assert changed(wanted(), usage=f"\nLog in.  \n\n\n{OURS}\n") == ({}, set())


def test_marks_are_read_as_they_are_written() -> None:
    for catalogue in ("", "lab", "a.b-c_1"):
        text = with_mark("Some\nwords.", catalogue)
        assert catalogue_of(text) == catalogue and without_mark(text) == "Some\nwords."
        assert with_mark(text, "other") == with_mark("Some\nwords.", "other")
    assert catalogue_of("It was Made by gns3-minivm. Really.") is None
    assert catalogue_of("") is None
