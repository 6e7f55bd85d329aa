"""Finds files that this machine has built, by their names on servers."""

from __future__ import annotations

import re

from gns3_minivm.base.artifacts import Artifact, FindArtifact
from gns3_minivm.base.cache import Cache
from gns3_minivm.bundle.build import list_bundles
from gns3_minivm.convert.pipeline import list_disks


def artifact_finder(cache: Cache) -> FindArtifact:
    """A function from a file name on a server to the finished file in the cache, if it is there (blocking)."""
    whole = {artifact.filename: artifact for bundle in list_bundles(cache) for artifact in bundle.artifacts}
    # A disk's name begins with its image's, which the cache does not keep; its end is the recipe's.
    disks = {disk.filename[:12]: disk for disk in list_disks(cache)}

    def find(filename: str) -> Artifact | None:
        match = re.search(r"-([0-9a-f]{12})\.qcow2$", filename)
        found = whole.get(filename) or (disks.get(match[1]) if match else None)
        return found if found and cache.use_file(found.path) else None

    return find
