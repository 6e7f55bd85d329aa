"""Writes ``.gns3a`` files: the same appliance gives the same bytes."""

from __future__ import annotations

import json

from gns3_minivm.gns3a.model import ApplianceFile


def gns3a_text(appliance: ApplianceFile) -> str:
    """The file's text: keys in the model's order, ASCII, without what is not set."""
    values = appliance.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(values, indent=4, ensure_ascii=True) + "\n"
