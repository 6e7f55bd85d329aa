"""A container in which an engine runs programs: without privileges, without folders of the host.

It lives for as long as this process does: its only own program reads standard input, and the engine closes that when
the connection breaks, however this process ends.
"""

from __future__ import annotations

import codecs
import shlex
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import PurePosixPath
from typing import IO, Any

from gns3_minivm.base.errors import ToolError

_LINES_SHOWN = 12

Pump = Callable[[Callable[[], Iterator[Any]], str], Generator[Any, None, None]]
Translated = Callable[[str], AbstractContextManager[None]]


class Container:
    """A running container; made by ``Engine.container``.  All methods block."""

    def __init__(self, client: Any, streaming: Any, identifier: str, pump: Pump, translated: Translated) -> None:
        self._client = client
        self._streaming = streaming
        self._identifier = identifier
        self._pump = pump
        self._translated = translated

    def write(self, path: str, stream: IO[bytes], size_bytes: int) -> None:
        """Write a file; its folder is there already."""
        place = PurePosixPath(path)
        with tempfile.TemporaryFile() as spool:
            with tarfile.open(fileobj=spool, mode="w") as archive:
                entry = tarfile.TarInfo(place.name)
                entry.size = size_bytes
                archive.addfile(entry, stream)
            spool.seek(0)
            with self._translated(f"writing {path}"):
                self._streaming.put_archive(self._identifier, str(place.parent), spool)

    def read(self, path: str) -> bytes:
        """Read a file."""

        def pieces() -> Iterator[Any]:
            stream, _ = self._streaming.get_archive(self._identifier, path)
            yield from stream

        with tempfile.TemporaryFile() as spool:
            with closing(self._pump(pieces, f"reading {path}")) as parts:
                for part in parts:
                    spool.write(part)
            spool.seek(0)
            with tarfile.open(fileobj=spool) as archive:
                member = archive.next()
                content = archive.extractfile(member) if member else None
                return content.read() if content else b""

    def run(
        self,
        words: Sequence[str],
        *,
        folder: str = "/",
        on_line: Callable[[str], bool] | None = None,
        hint: str = "",
    ) -> str:
        """Run a program to its end and return what it wrote (both streams).

        ``on_line`` is as for ``base.command.run``.  Raises ToolError if the program fails.
        """
        shown = shlex.join(words)
        with self._translated(f"running {shown}"):
            made = self._client.exec_create(self._identifier, list(words), workdir=folder)["Id"]

        def pieces() -> Iterator[Any]:
            from docker.utils import socket

            frames: Any = socket.frames_iter
            held = self._streaming.exec_start(made, socket=True)
            try:
                for _, data in frames(held, tty=False):
                    yield data
            finally:
                close_socket(held)

        lines: list[str] = []
        with closing(self._pump(pieces, f"running {shown}")) as parts:
            for line in _lines(parts):
                if on_line is None or not on_line(line):
                    lines.append(line)
        with self._translated(f"running {shown}"):
            status = self._client.exec_inspect(made)["ExitCode"]
        if status:
            last = "\n".join(f"  {line}" for line in lines[-_LINES_SHOWN:] if line.strip())
            raise ToolError(f"in the container, `{shown}` ended with status {status}:\n{last}".rstrip(":\n"), hint=hint)
        return "\n".join(lines)


def close_socket(held: Any) -> None:
    """Close a connection that the ``docker`` package has handed over: what it is wrapped in does not do that."""
    # From the outside in; each of them forgets the next one.
    for one in (getattr(held, "_response", None), held, getattr(held, "_sock", None)):
        if one is not None:
            one.close()


def _lines(parts: Iterator[bytes]) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    rest = ""
    for part in parts:
        *whole, rest = (rest + decode(part)).split("\n")
        yield from whole
    if rest:
        yield rest
