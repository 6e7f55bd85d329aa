"""Versions of Debian packages sort as dpkg sorts them."""

from __future__ import annotations

import subprocess
from itertools import pairwise

from gns3_minivm.bundle.packages.versions import version_key
from tests.support.tools import require_tool

ASCENDING = [
    "0",
    "5.15.0-100.110",
    "6.1~rc1-1",
    "6.1-1",
    "6.1.2",
    "6.1.2-1~deb12u1",
    "6.1.2-1",
    "6.1.2-1+b1",
    "6.1.2-2",
    "6.1.2-10",
    "6.1.2a-1",
    "6.1.2+git-1",
    "6.1.10-1",
    "6.12.9-1~bpo12+1",
    "1:0.1-1",
]


def test_versions_are_sorted() -> None:
    assert sorted(set(ASCENDING), key=version_key) == ASCENDING


def test_dpkg_agrees() -> None:
    dpkg = require_tool("dpkg")
    for older, newer in pairwise(ASCENDING):
        assert subprocess.run([dpkg, "--compare-versions", older, "lt", newer], check=False).returncode == 0
        assert version_key(older) < version_key(newer)
