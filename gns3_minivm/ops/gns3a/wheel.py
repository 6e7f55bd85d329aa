"""Files of a released kernel bundle: out of the Python package that carries it, which pip fetches."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from gns3_minivm.base.artifacts import Artifact, Kind, measure
from gns3_minivm.base.cache import disk_error
from gns3_minivm.base.cancel import on_cancel
from gns3_minivm.base.errors import DamagedImageError, HostError, ToolError
from gns3_minivm.bundle.installed import installed_folders
from gns3_minivm.bundle.model import Bundle, load
from gns3_minivm.bundle.wheel import DISTRIBUTION
from gns3_minivm.gns3a.model import WHEEL_PATTERN, ImageFile

_REQUIREMENT = re.compile(WHEEL_PATTERN)
_LAST_LINES = 3


def wheel_of(bundle: Bundle) -> str:
    """The installed package that holds a bundle, as pip names it; empty if none does."""
    for folder in installed_folders():
        try:
            if _contents(load(folder)) == _contents(bundle):
                return f"{DISTRIBUTION}=={metadata.version(DISTRIBUTION)}"
        except (DamagedImageError, metadata.PackageNotFoundError):
            continue
    return ""


def _contents(bundle: Bundle) -> list[tuple[str, str]]:
    return [(artifact.filename, artifact.sha256) for artifact in bundle.artifacts]


def file_from_wheel(requirement: str, image: ImageFile, folder: Path) -> Artifact:
    """Fetch the package with this user's pip, and take one file out of it (blocking).

    Nothing of the package is run.  Raises HostError, ToolError, DamagedImageError, DiskFullError.
    """
    if not _REQUIREMENT.fullmatch(requirement):
        raise HostError(f"{requirement[:80]!r} is not a version of {DISTRIBUTION}")
    place = folder / requirement
    if not place.is_dir():
        _download(requirement, place)
    target = folder / f"{image.md5sum}.part"
    for path in sorted(place.glob("*.whl")):
        try:
            with zipfile.ZipFile(path) as wheel:
                for member in wheel.infolist():
                    if member.file_size == image.filesize:
                        with wheel.open(member) as source, target.open("wb") as copy:
                            shutil.copyfileobj(source, copy)
                        found = measure(Kind.KERNEL, target, image.filename)
                        if found.md5 == image.md5sum:
                            return found
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise DamagedImageError(f"{path.name} is damaged: {error}") from error
        except OSError as error:
            raise (disk_error(error, folder) or error) from error
    raise DamagedImageError(f"{requirement} does not contain {image.filename}")


def _download(requirement: str, place: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input",
               "--disable-pip-version-check", "--dest", str(place), requirement]  # fmt: skip
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    with on_cancel(process.kill), process:
        said, _ = process.communicate()
    if process.returncode:
        last = " ".join(said.strip().splitlines()[-_LAST_LINES:])
        raise ToolError(f"pip cannot get {requirement}: {last}", hint=f"Try it by hand: pip download {requirement}")
