"""What a guest's console has shown, as plain text: for messages that say why something failed."""

from __future__ import annotations

import codecs
import re

_LINES_SHOWN = 15
_ESCAPE_MAX = 64
_KEPT = 65536
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()*+][A-Z0-9]|[@-Z\\-_=>])")


class Transcript:
    """Follows a console; ``text`` is the end of what it has shown, without the terminal's control sequences."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._cut_off = ""
        self.text = ""

    def feed(self, data: bytes) -> None:
        """Take what the console shows next; no bytes at all mean its end."""
        text = self._cut_off + self._decoder.decode(data, final=not data)
        whole = len(text)
        escape = text.rfind("\x1b", max(0, whole - _ESCAPE_MAX))
        if data and escape >= 0 and not _ESCAPES.match(text, escape):
            whole = escape
        elif data and text.endswith("\r"):
            whole -= 1
        self._cut_off = text[whole:]
        self.text = (self.text + plain(text[:whole]))[-_KEPT:]

    def last_lines(self) -> str:
        """The last lines, for a message: each on a line of its own, indented."""
        lines = [line for line in self.text.splitlines() if line.strip()][-_LINES_SHOWN:]
        return "\n".join(f"  {line}" for line in lines)


def plain(text: str) -> str:
    """Terminal output without control sequences, with newlines as line ends."""
    return _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "").replace("\x07", "")
