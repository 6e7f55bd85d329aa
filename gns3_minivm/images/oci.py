"""What an image's configuration says, in the words of the OCI image specification (config.md).

The Docker engine's inspection uses the same keys, so that every source of the same image gives the same GuestConfig.
Health checks, ONBUILD and the creation history are not carried: nothing in a guest would act on them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ArchitectureError, DamagedImageError
from gns3_minivm.guest.contract import GuestConfig

_DIFF_ID = re.compile(r"sha256:[0-9a-f]{64}")


def guest_config(config: Any) -> GuestConfig:
    """The part of an image's ``config`` object that its guest needs.

    An empty list is the same as none: sources of the same image differ in that.  Raises DamagedImageError for values
    of other types than the specification's.
    """
    if config is not None and not isinstance(config, Mapping):
        raise _damaged("config", config)
    values: Mapping[str, Any] = config or {}
    labels = values.get("Labels") or {}
    if not isinstance(labels, Mapping) or not all(isinstance(value, str) for value in labels.values()):
        raise _damaged("Labels", labels)
    return GuestConfig(
        entrypoint=_words(values, "Entrypoint"),
        cmd=_words(values, "Cmd"),
        env=_strings(values, "Env"),
        user=_string(values, "User"),
        working_dir=_string(values, "WorkingDir"),
        stop_signal=_string(values, "StopSignal"),
        exposed_ports=tuple(sorted(_strings(values, "ExposedPorts"))),
        volumes=tuple(sorted(_strings(values, "Volumes"))),
        labels=dict(sorted(labels.items())),
    )


def _words(values: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    value = values.get(key)
    # Very old images hold a plain string, which means a shell's command line.
    return ("/bin/sh", "-c", value) if value and isinstance(value, str) else _strings(values, key) or None


def _strings(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of strings, or the keys of an object."""
    value = values.get(key) or ()
    if not isinstance(value, (list, tuple, dict)) or not all(isinstance(item, str) for item in value):
        raise _damaged(key, value)
    return tuple(value)


def _string(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key) or ""
    if not isinstance(value, str):
        raise _damaged(key, value)
    return value


def _damaged(key: str, value: Any) -> DamagedImageError:
    return DamagedImageError(
        f"the image's configuration has {str(value)[:100]!r} as its {key}", hint="Build or pull the image again."
    )


def legible(text: str) -> str:
    """A text that came with an image, for messages: short, and without what a terminal would act on."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[:201])
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def check_platform(reference: str, operating_system: str, architecture: str) -> None:
    """Raise ArchitectureError for an image that no kernel bundle can run."""
    # Images made by `docker import` of old engines may name neither.
    found = legible(f"{operating_system or 'linux'}/{architecture or X86_64.oci}")
    if found == f"linux/{X86_64.oci}":
        return
    hint = "Only Linux images can run."
    if operating_system in ("", "linux"):
        hint = f"`docker pull --platform linux/{X86_64.oci} {reference}` gets the image for {X86_64.oci}, if it exists."
    raise ArchitectureError(f"the image {reference} is made for {found}; only linux/{X86_64.oci} can run", hint=hint)


def check_diff_ids(reference: str, diff_ids: Any) -> tuple[str, ...]:
    """The ordered diff IDs; raises DamagedImageError for anything that is not a list of sha256 digests."""
    found = tuple(diff_ids) if isinstance(diff_ids, (list, tuple)) else ()
    wrong = [item for item in found if not (isinstance(item, str) and _DIFF_ID.fullmatch(item))]
    if wrong or not found:
        what = f"names a layer {wrong[0]!r}, which is not a sha256 digest" if wrong else "has no layers"
        raise DamagedImageError(f"the image {reference} {what}", hint="Pull or build the image again.")
    return found


def short_name(reference: str) -> tuple[str, str]:
    """Split a reference into the last part of the repository's name and the version.

    The version is the tag, the first 12 digits of the digest, or "latest" where there is neither.

    >>> short_name("example.org:5000/team/app:1.2")
    ('app', '1.2')
    """
    rest, _, digest = reference.partition("@")
    last = rest.rpartition("/")[2]
    name, _, tag = last.partition(":")
    return name, tag or digest.rpartition(":")[2][:12] or "latest"


def sha256_id(data: bytes) -> str:
    """The digest of some bytes as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
