"""Kernel bundles that were installed with pip: the package ``gns3-minivm-kernel``, which ``kernel pack`` makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGE = "gns3_minivm_kernel"
FOLDER = "bundle"
"""The bundle's folder below the package."""


def installed_folders() -> list[Path]:
    """Folders of installed bundles; the package is found, and not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return [path for place in places or () if (path := Path(place, FOLDER)).is_dir()]
