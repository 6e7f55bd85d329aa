"""Image files as a server has them: by the name of their recipe, or by a numbered one where that was damaged."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from gns3_minivm.agent.desired import WantedFile
from gns3_minivm.gns3.model import ServerImage


def numbered(filename: str, number: int) -> str:
    """The name under which a file is sent again if the one with its own name is damaged: ``web-1-ab12-2.qcow2``."""
    stem, dot, ending = filename.partition(".qcow2")
    return filename if number == 1 else f"{stem}-{number}{dot}{ending}"


def is_numbered(name: str, filename: str) -> bool:
    """Whether a name is a file's own or a numbered one."""
    stem, dot, ending = filename.partition(".qcow2")
    pattern = f"{re.escape(stem)}(-[0-9]+)?{re.escape(dot + ending)}"
    return name == filename or (bool(filename) and re.fullmatch(pattern, name) is not None)


def newest(images: Mapping[str, ServerImage], file: WantedFile, in_use: Collection[str] = ()) -> str | None:
    """The name under which a server has a file: one of ``in_use``, else the last one it was sent under.

    Names whose content is known to be another one do not count.
    """
    found = [name for name in numbered_names(images, file) if not differs(images[name], file)]
    # A template is not moved from one copy to another: which of them is the better one is not known here.
    return next((name for name in found if name in in_use), found[-1] if found else None)


def differs(image: ServerImage, file: WantedFile) -> bool:
    """Whether an image has other bytes than it should; what either side does not say is no difference."""
    if image.state != "whole":
        return True
    pairs = ((image.size_bytes, file.size_bytes), (image.md5, file.md5))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def numbered_names(images: Mapping[str, ServerImage], file: WantedFile) -> list[str]:
    """The file's own name and its numbered ones, as far as the server has them without a gap."""
    names: list[str] = []
    while (name := numbered(file.filename, len(names) + 1)) in images:
        names.append(name)
    return names
