"""Compiles the guest's init into the wheel; everything else about the package is in setup.cfg."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

KERNEL = Path(__file__).resolve().parent / "kernel"
PINNED = [line for line in (KERNEL / "compiler.txt").read_text().splitlines() if line and not line.startswith("#")]


class BuildWithInit(build_py):
    """Adds ``_kernel/init-x86_64``, so that a machine with the wheel needs no compiler."""

    def run(self):
        super().run()
        # An editable install uses the checkout, where the init is compiled from the sources of the moment.
        if self.editable_mode:
            return
        output = Path(self.build_lib) / "gns3_minivm" / "_kernel" / "init-x86_64"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.unlink(missing_ok=True)  # of an earlier build, perhaps of other sources
        words = ["sh", str(KERNEL / "build-init.sh"), str(output)]
        try:
            subprocess.run(words, check=True, env={**os.environ, "PYTHON": sys.executable})
        except (OSError, subprocess.CalledProcessError) as error:
            warnings.warn(
                f"the guest's init is not in this wheel and will be compiled on first use: {error}", stacklevel=1
            )


# Through pyproject.toml these are requirements for building only, which pip meets in a place of its own; without that
# (pip --no-build-isolation) nothing is fetched, and what is there compiles the init.
setup(cmdclass={"build_py": BuildWithInit}, setup_requires=PINNED)
