"""Which package of this machine a file belongs to, for the manifest of a bundle made from this machine's own kernel."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_FORMAT = "${Package}\t${Version}\t${source:Package} ${source:Version}"


@dataclass(frozen=True)
class Owner:
    """An installed package; ``source`` is its source package as ``NAME VERSION``."""

    name: str
    version: str
    source: str

    @property
    def copyright(self) -> Path:
        return Path("/usr/share/doc", self.name, "copyright")


def owning_package(path: Path) -> Owner | None:
    """The package that dpkg knows to have installed a file; None where there is no dpkg or no such package."""
    real = path.resolve()
    # Where /lib is a link to /usr/lib, dpkg knows the name that the package has.
    for name in dict.fromkeys((path, real, Path("/", *real.parts[2:]) if real.parts[1:2] == ("usr",) else real)):
        said = _ask("-S", str(name))
        if said and ": " in said and ", " not in said.partition(": ")[0]:
            fields = _ask("-W", f"-f={_FORMAT}", said.partition(": ")[0]).split("\t")
            if len(fields) == 3:
                return Owner(*fields)
    return None


def _ask(*words: str) -> str:
    try:
        done = subprocess.run(("dpkg-query", *words), capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
