"""Makes the agents of one user on this machine take turns for what a server cannot stand twice at once.

Uploads of one name share a temporary file (``uploads``).  Two changes of a template's images may leave 3.0.6 with a row
too many in its database, after which that template cannot be changed any more (db/repositories/templates.py; "expected
to delete 1 row(s); Only 2 were matched").
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gns3_minivm.base.locks import give, take

_POLL_S = 0.1


@asynccontextmanager
async def exclusive(*what: str) -> AsyncIterator[None]:
    """Hold the lock of something, which the words name; without a folder for locks there is none."""
    key = hashlib.sha256("\0".join(what).encode()).hexdigest()[:32]
    try:
        path = _folder() / key
        while (descriptor := _try(path)) is None:
            await asyncio.sleep(_POLL_S)
    except OSError:
        # What others leave behind is looked after as far as that goes, as it is for those on other machines.
        yield
        return
    try:
        yield
    finally:
        give(path, descriptor)


def _try(path: Path) -> int | None:
    try:
        return take(path)
    except BlockingIOError:
        return None


def _folder() -> Path:
    """Where this user's locks are, on this machine; raises OSError if there is no place for them."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "gns3-minivm" if runtime else Path(tempfile.gettempdir()) / f"gns3-minivm-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # In a folder for all, another user may have made it.
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder
