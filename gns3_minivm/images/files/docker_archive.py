"""``docker-archive:FILE[:NAME:TAG]``: images in the files that ``docker save`` writes, in both of its layouts.

manifest.json lists the images: the name of the configuration's member, of the layers' members, and the tags (moby's
image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format").  A name may be left out where there is one
image; ``@N`` takes the image at position N, from 0.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gns3_minivm.base.architecture import X86_64
from gns3_minivm.base.errors import ArchitectureError, DamagedImageError, ImageNotFoundError
from gns3_minivm.base.plurals import counted
from gns3_minivm.images.files.archive_file import HINT, ArchiveImage, read_documents, split_place
from gns3_minivm.images.model import ImageInfo
from gns3_minivm.images.oci import check_diff_ids, check_platform, guest_config, legible, short_name
from gns3_minivm.images.registry.manifests import digest_of, parse_object

_DIGEST_IN_NAME = re.compile(r"(?:^|/)([0-9a-f]{64})(?:\.json)?$")


def find_in_docker_archive(place: str) -> ArchiveImage:
    """Find an image in an archive (blocking).

    Raises ImageNotFoundError, ArchitectureError, DamagedImageError.
    """
    path, wanted = split_place(place)
    documents = read_documents(path)
    entry = _choose(path, _entries(path, documents), wanted)
    member = os.path.normpath(str(entry.get("Config") or "?"))
    data = documents.get(member)
    if data is None:
        raise DamagedImageError(f"{path} does not contain the image's configuration, {member}", hint=HINT)
    named = _DIGEST_IN_NAME.search(member)
    if named and digest_of(data, "sha256:") != f"sha256:{named[1]}":
        raise DamagedImageError(f"{path}: the configuration {member} does not have the digest in its name", hint=HINT)
    reference = f"docker-archive:{place}"
    config = parse_object(reference, data)
    try:
        check_platform(reference, str(config.get("os") or ""), str(config.get("architecture") or ""))
    except ArchitectureError as error:
        raise ArchitectureError(error.message, hint="Save the image for the other platform.") from error
    rootfs = config.get("rootfs")
    tags = _tags(entry)
    name, version = short_name(wanted if wanted and not wanted.startswith("@") else tags[0] if tags else path.stem)
    info = ImageInfo(
        reference=reference,
        name=name,
        version=version if tags else digest_of(data, "sha256:")[7:19],
        architecture=str(config.get("architecture") or X86_64.oci),
        diff_ids=check_diff_ids(reference, rootfs.get("diff_ids") if isinstance(rootfs, dict) else None),
        config=guest_config(config.get("config")),
        size_bytes=path.stat().st_size,
    )
    return ArchiveImage(info, path)


def _entries(path: Path, documents: Mapping[str, bytes]) -> list[dict[str, Any]]:
    data = documents.get("manifest.json")
    if data is None:
        hint = "Use oci-archive:FILE for an archive in the OCI layout." if "index.json" in documents else HINT
        raise DamagedImageError(f"{path} is not an archive of docker save: it has no manifest.json", hint=hint)
    try:
        entries = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedImageError(f"{path}: manifest.json is not JSON: {error}", hint=HINT) from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise DamagedImageError(f"{path}: manifest.json lists no images", hint=HINT)
    return entries


def _tags(entry: Mapping[str, Any]) -> list[str]:
    tags = entry.get("RepoTags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _choose(path: Path, entries: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    there = (
        legible(", ".join(tag for entry in entries for tag in _tags(entry)))
        or f"{counted(len(entries), 'image')} without a name"
    )
    if wanted.startswith("@") and wanted[1:].isdecimal() and int(wanted[1:]) < len(entries):
        return entries[int(wanted[1:])]
    if not wanted:
        if len(entries) == 1:
            return entries[0]
        raise ImageNotFoundError(
            f"{path} holds {counted(len(entries), 'image')}: {there}",
            hint=f"Choose one: docker-archive:{path}:NAME:TAG or :@0.",
        )
    last = wanted.rpartition("/")[2]
    full = wanted if ":" in last else f"{wanted}:latest"
    exact = [entry for entry in entries if full in _tags(entry)]
    # Podman and skopeo write whole names, Docker short ones.
    longer = [entry for entry in entries if any(tag.endswith(f"/{full}") for tag in _tags(entry))]
    found = exact or longer
    if len(found) == 1:
        return found[0]
    raise ImageNotFoundError(f"{path} has no image {full!r}; those there are: {there}")
