"""What differs between a template on a server and the one that is wanted, field by field: whose turn it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gns3_minivm.agent.desired import EXTENSIBLE_FIELDS, DesiredAppliance, catalogue_of, with_mark, without_mark
from gns3_minivm.gns3.model import QemuTemplate

Changes = Mapping[str, tuple[Any, Any]]
"""Field -> (what the server has, what it shall have)."""


def differences(template: QemuTemplate, desired: DesiredAppliance) -> tuple[Changes, Changes]:
    """What differs on the server: the fields to be changed, and those that are left to the user."""
    changes: dict[str, tuple[Any, Any]] = {}
    left: dict[str, tuple[Any, Any]] = {}
    for name in (field.name for field in fields(QemuTemplate)):
        old, new = getattr(template, name), getattr(desired.template, name)
        if name == "usage":
            _compare_usage(old, desired, changes, left)
        elif old != new:
            users = name in desired.user_fields
            if name in EXTENSIBLE_FIELDS:
                users = users and old.startswith(f"{new} ")
            (left if users else changes)[name] = (old, new)
    left |= {name: (getattr(template, name), new) for name, new in desired.offered if name not in changes}
    return changes, left


def _compare_usage(
    old: str, desired: DesiredAppliance, changes: dict[str, tuple[Any, Any]], left: dict[str, tuple[Any, Any]]
) -> None:
    """Text and mark are two things in one field: the text may be the user's, and the mark a catalogue's.

    A mark that the user took out of his own text is not put back, so that template is never pruned.
    """
    wanted = desired.template.usage
    has = catalogue_of(old)
    # Without a catalogue of our own, the one that the template belongs to keeps it.
    catalogue = desired.catalogue or has or ""
    same_text = without_mark(old) == without_mark(wanted)
    if "usage" in desired.user_fields and not same_text:
        if has is None or has == catalogue:
            left["usage"] = (old, wanted)
        else:
            changes["usage"] = (old, with_mark(old, catalogue))
    elif not same_text or has != catalogue:
        changes["usage"] = (old, with_mark(wanted, catalogue))
