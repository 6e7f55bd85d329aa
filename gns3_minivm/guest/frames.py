"""Frames of the exec protocol as they stand on a guest's serial line (``kernel/CONTRACT.md``, "Exec"), without I/O.

A frame from the guest is an operating system command of ECMA-48 (8.3.89) with a number that no terminal knows, so it
may come between anything that is shown to people.  A frame to the guest stands between two control characters.  Between
them are fields, parted by semicolons: mark, version, kind, identifier, number, base64 data, CRC-32 of all before it.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from dataclasses import dataclass

VERSION = 1
DATA_MAX = 1024
"""Bytes of data in a frame, as both sides take them; the guest sends 512 at most."""
REQUEST_DATA_MAX = 672
"""Bytes of data in a frame to the guest: GNS3's console reads 1024 bytes at a time from each of its clients, and what
is cut there may be parted by what another client types."""

KNOCK = b"\x1e\x1f"
"""An empty frame: a guest that is there says so.  A terminal that echoes, or is no guest's, shows four characters."""
ANNOUNCEMENT = "0" * 16
"""The identifier of what a guest says then, and whenever its console starts something."""

_MARK = "7411"
_ID_SIZE = 16
_SIZE_MAX = 1536
_START, _END = b"\x1e", b"\x1f"
_BEFORE, _BEHIND = b"\x1b]" + _MARK.encode() + b";", b"\x1b\\"
_BODY = re.compile(rb"[A-Za-z0-9+/=;]*")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """``kind`` is one letter; ``id`` is 16 characters that the host has chosen for one conversation."""

    kind: str
    id: str
    number: int = 0
    data: bytes = b""
    version: int = VERSION


def encode_request(frame: Frame) -> bytes:
    """A frame as the host sends it."""
    return _START + _body(frame) + _END


def encode_reply(frame: Frame) -> bytes:
    """A frame as the guest sends it."""
    return b"\x1b]" + _body(frame) + _BEHIND


def decode_body(body: bytes) -> Frame | None:
    """Read what stands between a frame's start and end; None if it is damaged."""
    covered, _, checksum = body.rpartition(b";")
    if len(body) > _SIZE_MAX or checksum != b"%08x" % zlib.crc32(covered):
        return None
    fields = covered.decode("ascii", "replace").split(";")
    if len(fields) != 6 or fields[0] != _MARK or len(fields[2]) != 1 or len(fields[3]) != _ID_SIZE:
        return None
    if not re.fullmatch("[0-9]{1,3}", fields[1]) or not re.fullmatch("[0-9]{1,9}", fields[4]):
        return None
    try:
        data = base64.b64decode(fields[5], validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(data) > DATA_MAX:
        return None
    return Frame(kind=fields[2], id=fields[3], number=int(fields[4]), data=data, version=int(fields[1]))


class ReplyReader:
    """Takes frames out of what a console shows.

    ``damaged`` counts frames that were cut, interrupted or changed on the way; they are left out like the others.
    """

    def __init__(self) -> None:
        self._held = b""
        self.damaged = 0

    def feed(self, data: bytes) -> tuple[bytes, list[Frame]]:
        """What is left for people of ``data`` and of what was held back before, and the frames."""
        rest, self._held = self._held + data, b""
        text, frames = bytearray(), []
        while (start := rest.find(b"\x1b")) >= 0:
            text += rest[:start]
            rest = rest[start:]
            if not rest.startswith(_BEFORE):
                if _BEFORE.startswith(rest):
                    break
                text += rest[:1]
                rest = rest[1:]
                continue
            end = _body_end(rest)
            if end > _SIZE_MAX or _is_interrupted(rest, end):
                self.damaged += 1
                rest = rest[end:]
            elif len(rest) < end + len(_BEHIND):
                break
            else:
                frame = decode_body(rest[2:end])
                self.damaged += frame is None
                frames += [frame] if frame else []
                rest = rest[end + len(_BEHIND) :]
        if rest.startswith(b"\x1b"):
            self._held = rest
        else:
            text += rest
        return bytes(text), frames


def _body(frame: Frame) -> bytes:
    fields = (_MARK, str(frame.version), frame.kind, frame.id, str(frame.number), base64.b64encode(frame.data).decode())
    covered = ";".join(fields).encode("ascii")
    return b"%s;%08x" % (covered, zlib.crc32(covered))


def _body_end(rest: bytes) -> int:
    """Where the characters end that a frame may have, in bytes that begin with the start of one."""
    match = _BODY.match(rest, 2)
    assert match is not None
    return match.end()


def _is_interrupted(rest: bytes, end: int) -> bool:
    """Whether something else than the frame's end, or its first half, follows."""
    follows = rest[end : end + len(_BEHIND)]
    return not _BEHIND.startswith(follows)
