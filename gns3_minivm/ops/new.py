"""``new``: a folder for an appliance of the user's own, made from an image."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gns3_minivm.appliances import MANIFEST, NAME_PATTERN, Appliances
from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import DiskFullError, UsageError
from gns3_minivm.images.registry.reference import is_reference
from gns3_minivm.images.resolve import ENGINE_SCHEME, REGISTRY_SCHEME, split_scheme
from gns3_minivm.ops.context import RunContext
from gns3_minivm.settings import Settings

_MANIFEST = """\
name: {name}
version: "1.0"
maintainer: ""
description: {image} as a MiniVM.
category: guest         # guest, router, switch, firewall
symbol: ":/symbols/classic/computer.svg"  # or symbol.svg, a picture in this folder
ram: 256                # MB
cpus: 1
adapters: 1
build: .
usage: |
  Text for the people who use the template; GNS3 shows it with the template.
  Settings of a node are words on its kernel command line: ip.eth0=10.0.0.1/24, NAME=value.
"""
_DOCKERFILE = """\
FROM {image}

# Software that the image lacks:
#RUN apt-get update \\
# && DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends install iproute2 iputils-ping \\
# && rm -rf /var/lib/apt/lists/*

# Files: the folder etc beside this file becomes part of /etc.
#COPY etc /etc

# What runs on the console is the image's ENTRYPOINT and CMD, as in Docker, or /etc/init.sh if there is one.
"""


@dataclass(frozen=True)
class NewAppliance:
    """The folder of an appliance that was made, or would be."""

    name: str
    folder: Path
    files: tuple[str, ...]
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "folder": str(self.folder),
            "files": list(self.files),
            "dry_run": self.dry_run,
        }


async def new_appliance(name: str, image: str, context: RunContext, *, folder: Path | None = None) -> NewAppliance:
    """Make the folder ``name`` of an appliance whose Dockerfile starts from ``image``.

    It is made in ``folder``, else in the first folder with the user's own appliances.  Raises UsageError for a name
    that is none or is taken, and for an image that no Dockerfile can start from.
    """
    return await run_blocking(
        _make, name, image, context.settings, folder or _own_folder(context.settings), context.dry_run
    )


def _own_folder(settings: Settings) -> Path:
    return settings.appliances[0] if settings.appliances else settings.user_appliances.expanduser()


def _make(name: str, image: str, settings: Settings, parent: Path, dry_run: bool) -> NewAppliance:
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            f"{name!r} is not a name for an appliance",
            hint='Use lower-case letters, digits, "-", "_" and "." (at most 63), as in my-router.',
        )
    base = _base_image(image)
    target = parent / name
    known = [folder for folder in (parent, *settings.appliance_folders) if folder.is_dir()]
    if os.path.lexists(target) or name in Appliances(known).names():
        raise UsageError(
            f"there is an appliance {name!r} already" if not os.path.lexists(target) else f"{target} exists already",
            hint="Choose another name (gns3-minivm list shows those that are taken), or change the existing one.",
        )
    files = {MANIFEST: _MANIFEST.format(name=name, image=base), "Dockerfile": _DOCKERFILE.format(image=base)}
    if not dry_run:
        try:
            _write(target, files)
        except OSError as error:
            raise DiskFullError(
                f"{target} cannot be created: {error.strerror or error}",
                hint="Name a folder that you can write to: --appliances DIR.",
            ) from error
    return NewAppliance(name, target, tuple(sorted(files)), dry_run)


def _base_image(image: str) -> str:
    """The name of this image in a Dockerfile's FROM."""
    scheme, rest = split_scheme(image)
    if scheme not in ("", ENGINE_SCHEME, REGISTRY_SCHEME):
        raise UsageError(
            f"a Dockerfile cannot start from {image!r}",
            hint="Give an image of the Docker engine or of a registry (`docker load` brings one from a file).",
        )
    if not is_reference(rest):
        raise UsageError(
            f"{rest!r} does not name an image", hint="Write it as for docker pull, for example debian:bookworm-slim."
        )
    return rest


def _write(target: Path, files: dict[str, str]) -> None:
    """Write a folder whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, text in files.items():
            (part / name).write_text(text, encoding="utf-8")
        part.chmod(0o755)
        # Fails if somebody has made the folder meanwhile and put something into it.
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
