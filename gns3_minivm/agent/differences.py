"""Compares a template on a server with the desired one, field by field, and says who may change each field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gns3_minivm.agent.desired import (
    EXTENSIBLE_FIELDS,
    DesiredAppliance,
    catalogue_of,
    origin_of,
    with_mark,
    without_mark,
)
from gns3_minivm.gns3.model import QemuTemplate

Changes = Mapping[str, tuple[Any, Any]]
"""Field -> (value on the server, desired value)."""


def differences(template: QemuTemplate, desired: DesiredAppliance) -> tuple[Changes, Changes]:
    """The differing fields: those to change, and those that are left to the user."""
    changes: dict[str, tuple[Any, Any]] = {}
    left: dict[str, tuple[Any, Any]] = {}
    moved = template.hda_disk_image != desired.template.hda_disk_image
    for name in (field.name for field in fields(QemuTemplate)):
        old, new = getattr(template, name), getattr(desired.template, name)
        if name == "version" and not moved:
            continue  # goes with the disk, as the line of its origin does
        if name == "usage":
            _compare_usage(old, desired, desired.origin if moved else origin_of(old), changes, left)
        elif old != new:
            users = name in desired.user_fields
            if name in EXTENSIBLE_FIELDS:
                users = users and old.startswith(f"{new} ")
            (left if users else changes)[name] = (old, new)
    left |= {name: (getattr(template, name), new) for name, new in desired.offered if name not in changes}
    return changes, left


def _compare_usage(
    old: str, desired: DesiredAppliance, origin: str, changes: dict[str, Any], left: dict[str, Any]
) -> None:
    """Text and mark are two things in one field: the text may be the user's, and the mark a catalogue's.

    A mark that the user took out of his own text is not put back, so that template is never pruned.  ``origin`` goes
    with the disk: one image has several digests (of an index, of a manifest, of an engine's), and two agents that know
    others shall not change the line to and fro.
    """
    wanted = desired.template.usage
    has = catalogue_of(old)
    # Without a catalogue of our own, the one that the template belongs to keeps it.
    catalogue = desired.catalogue or has or ""
    same_text = without_mark(old) == without_mark(wanted)
    same_mark = has == catalogue and origin == origin_of(old)
    if "usage" in desired.user_fields and not same_text:
        if has is None or same_mark:
            left["usage"] = (old, wanted)
        else:
            changes["usage"] = (old, with_mark(old, catalogue, origin))
    elif not same_text or not same_mark:
        changes["usage"] = (old, with_mark(wanted, catalogue, origin))
