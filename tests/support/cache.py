"""What tests make once per machine and keep: ``$GNS3_MINIVM_TEST_CACHE``, else below the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder, made if it was not there; ./test keeps the GNS3 servers there too."""
    named = os.environ.get("GNS3_MINIVM_TEST_CACHE")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named) if named else caches / "gns3-minivm-test"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
