"""Programs that tests need: missing is a skip at home and a failure in CI."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import NoReturn

import pytest


def require_tool(name: str) -> str:
    """The path of a program; Debian keeps some of them outside an ordinary user's PATH."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path:
        return path
    _do_without(name)


def require_module(name: str) -> None:
    """A package that the Python of the tests must have."""
    if find_spec(name) is None:
        _do_without(f"the Python package {name}")


def _do_without(name: str) -> NoReturn:
    message = f"{name} is not installed (./test installs it)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
