"""Runs inside the GNS3 servers of the tests, which find it by PYTHONPATH: their disk is as full as a file says.

How full the machine's own disk is would otherwise decide what ``doctor`` says of a server.
"""

import os
from pathlib import Path
from typing import Any

import psutil

_real = psutil.disk_usage
_told = Path(os.environ["GNS3_TEST_DISK_USED"])
# The programs that a server starts are none of this module's affair.
del os.environ["PYTHONPATH"]


def _as_told(path: Any) -> Any:
    return _real(path)._replace(percent=float(_told.read_text()))


psutil.disk_usage = _as_told
