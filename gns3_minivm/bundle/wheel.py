"""A kernel bundle as a wheel, for machines without apt, Docker or a compiler.

Source: the binary distribution format (https://packaging.python.org/en/latest/specifications/binary-distribution-format/)
and the core metadata of Python packages.  The wheel holds data only: the bundle's folder below a package with one empty
module, where ``bundle.installed`` finds it.  Nothing is compressed (most of it is the kernel, which is already), so the
same bundle gives the same bytes everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from gns3_minivm.base import resources
from gns3_minivm.base.errors import UsageError
from gns3_minivm.bundle.installed import FOLDER, PACKAGE
from gns3_minivm.bundle.model import Bundle, PackageRecord
from gns3_minivm.bundle.packages.package_set import KERNEL_PREFIXES, SOURCE_PREFIX

DISTRIBUTION = "gns3-minivm-kernel"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can hold."""
_OWN_LICENCE = "gns3-minivm.txt"
"""Our init is in the kernel image, or in the initial RAM disk beside it."""
_INIT = b'"""A kernel bundle for gns3-minivm, which finds it here; see bundle/manifest.json."""\n'


def wheel_name(bundle: Bundle) -> str:
    """The wheel's file name: it follows from the kernel's version in the distribution."""
    return f"{PACKAGE}-{wheel_version(bundle)}-py3-none-any.whl"


def wheel_version(bundle: Bundle) -> str:
    """The distribution's version of the kernel as Python writes it (PEP 440): 6.1.192.2 for 6.1.192-2."""
    return ".".join(str(int(number)) for number in re.findall(r"\d+", kernel_package(bundle).version))


def kernel_package(bundle: Bundle) -> PackageRecord:
    """The package that the kernel comes from.  Raises UsageError if it comes from none."""
    for record in bundle.packages:
        if record.name.startswith((*KERNEL_PREFIXES, SOURCE_PREFIX)):
            return record
    raise UsageError(
        f"the kernel {bundle.flavour} {bundle.kernel_version} does not come from a distribution's package, so the "
        "wheel could not name its source",
        hint="Pack a bundle of the flavour monolithic or debian.",
    )


def write_wheel(bundle: Bundle, target: Path, generator: str) -> None:
    """Write the wheel (blocking)."""
    information = f"{PACKAGE}-{wheel_version(bundle)}.dist-info"
    rows = []
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in (*_package_files(bundle), *_information(bundle, information, generator)):
            _add(archive, name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(data)}\n")
        _add(archive, f"{information}/RECORD", "".join([*rows, f"{information}/RECORD,,\n"]).encode())


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


def _package_files(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    yield f"{PACKAGE}/__init__.py", _INIT
    for path in sorted(bundle.folder.rglob("*")):
        if path.is_file():
            yield f"{PACKAGE}/{FOLDER}/{path.relative_to(bundle.folder)}", path.read_bytes()
    if bundle.compiled:
        # With the reason of each line, which the kernel's own form of it has not.
        yield f"{PACKAGE}/{FOLDER}/monolithic.config", (resources.folder("kernel") / "monolithic.config").read_bytes()


def _information(bundle: Bundle, folder: str, generator: str) -> Iterator[tuple[str, bytes]]:
    licences = [record.licence_file for record in bundle.packages if record.licence_file]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {DISTRIBUTION}",
        f"Version: {wheel_version(bundle)}",
        f"Summary: A ready kernel for gns3-minivm: {bundle.flavour} {bundle.kernel_version}",
        "License-Expression: GPL-2.0-only AND GPL-2.0-or-later AND LGPL-2.1-or-later AND MIT",
        *(f"License-File: {name}" for name in (*licences, _OWN_LICENCE)),
        "Requires-Python: >=3.11",
        "Description-Content-Type: text/markdown",
    ]
    yield f"{folder}/METADATA", ("\n".join([*lines, "", _description(bundle)])).encode()
    wheel = ["Wheel-Version: 1.0", f"Generator: {generator}", "Root-Is-Purelib: true", "Tag: py3-none-any", ""]
    yield f"{folder}/WHEEL", "\n".join(wheel).encode()
    for name in licences:
        yield f"{folder}/licenses/{name}", (bundle.folder / name).read_bytes()
    yield f"{folder}/licenses/{_OWN_LICENCE}", resources.licence().encode()


def _description(bundle: Bundle) -> str:
    rows = [
        f"| {record.name} {record.version} | {record.source} | {record.sha256} |"
        for record in sorted(bundle.packages, key=lambda record: record.name)
    ]
    compiled = (
        f"The kernel was compiled with {bundle.compiled['compiler']}. Its configuration is `{FOLDER}/config` "
        f"(sha256 {bundle.compiled['configuration']}); `{FOLDER}/monolithic.config` says what each option is for.\n"
        if bundle.compiled
        else ""
    )
    return f"""\
# {DISTRIBUTION}

The kernel bundle {bundle.flavour} {bundle.kernel_version} of gns3-minivm, ready to use: with it, gns3-minivm needs
neither apt nor Docker nor a compiler for its kernel.

{compiled}
What is in it was made from these packages of the distribution; their sources are in its archive (Debian keeps every
version that there ever was). gns3-minivm's init is part of gns3-minivm.

| package | source package | sha256 of the package |
| --- | --- | --- |
{chr(10).join(rows)}
"""
