"""Names of images in registries: ``HOST[:PORT]/PATH[:TAG][@DIGEST]``.

The grammar is that of Docker's distribution/reference.  What the first part of a name is follows from its letters: a
host has a dot or a port, or is "localhost".

https://github.com/distribution/reference/blob/main/reference.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from gns3_minivm.base.errors import UsageError

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_PATH_MAX = 255


@dataclass(frozen=True)
class Reference:
    """``host`` is empty for a name without one; a digest takes precedence over a tag."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def target(self) -> str:
        """What to ask the registry for: digest or tag."""
        return self.digest or self.tag or "latest"

    def at(self, host: str, path: str) -> Reference:
        """The same tag and digest elsewhere."""
        return replace(self, host=host, path=path)

    def __str__(self) -> str:
        host = f"{self.host}/" if self.host else ""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{host}{self.path}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Take a name apart; raises UsageError if it is not one."""
    rest, at, digest = text.partition("@")
    host, slash, path = rest.partition("/")
    if not slash or not (set(host) & set(".:[") or host == "localhost" or host != host.lower()):
        host, path = "", rest
    path, colon, tag = path.partition(":")
    if (
        (host and not _is_host(host))
        or not _PATH.fullmatch(path)
        or len(path) > _PATH_MAX
        or (colon and not _TAG.fullmatch(tag))
        or (at and not _DIGEST.fullmatch(digest))
    ):
        # Not the text itself if it may hold a password.
        shown = repr(text[:200]) if "@" not in rest and not (at and not digest.startswith("sha")) else "this"
        raise UsageError(
            f"{shown} is not the name of an image in a registry",
            hint="A name looks like example.org:5000/team/app:1.2 or example.org/team/app@sha256:<64 digits>.",
        )
    return Reference(host, path, tag, digest)


def is_reference(text: str) -> bool:
    """Whether this may be the name of an image in a registry (an engine's image ID is not)."""
    try:
        parse_reference(text)
    except UsageError:
        return False
    return True


def parse_place(text: str) -> tuple[str, str]:
    """Split ``HOST[:PORT][/PATH]``, the place of a registry or mirror; raises UsageError."""
    host, _, path = text.strip().rstrip("/").partition("/")
    if not _is_host(host) or (path and not _PATH.fullmatch(path)):
        raise UsageError(
            "a registry or mirror is not of the form HOST[:PORT][/PATH]", hint="Write it as in mirror.example.org:5000."
        )
    return host, path


def _is_host(text: str) -> bool:
    if not _HOST.fullmatch(text):
        return False
    try:
        # Raises ValueError for ports and addresses that there cannot be.
        _ = urlsplit(f"//{text}").port
    except ValueError:
        return False
    return True
